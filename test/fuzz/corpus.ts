/** Valid programs to begin with: real steps of many models, updates of optimizers, and single calls of every instruction. */
import {
  add,
  argmax,
  argsort,
  cumsum,
  gather,
  matmul,
  max,
  mean,
  mul,
  reshape,
  scatterAdd,
  softmax,
  square,
  sum,
  type Tensor,
  take,
  topK,
  transpose,
} from '@lockstep/autograd';
import { arrays, column } from '@lockstep/data';
import type { Program } from '@lockstep/kernels';
import { loss, nn, type Optimizer, optim } from '@lockstep/nn';
import { at, compileUnit, defineTraining, MemoryProgram, prepare, traceStep } from '@lockstep/trainer';
import { definitions } from '../exactness/definitions.ts';

const ROWS = 12;
const floats = (n: number): Float32Array =>
  Float32Array.from({ length: n }, (_, i) => ((i * 7919) % 101) / 101);
const whole = (n: number, below: number): Int32Array =>
  Int32Array.from({ length: n }, (_, i) => (i * 31) % below);

const fields = {
  image: column(floats(ROWS * 3 * 9 * 8), { shape: [3, 9, 8] }),
  sequence: column(floats(ROWS * 5 * 6), { shape: [5, 6] }),
  tokens: column(whole(ROWS * 7, 11), { shape: [7] }),
  label: column(whole(ROWS, 3)),
  bytes: column(Uint8Array.from(whole(ROWS * 16, 255)), { shape: [16], as: 'f32' }),
};
type Rows = Readonly<Record<keyof typeof fields, Tensor>>;

const one = <M>(model: () => M, lossOf: (model: M, rows: Rows) => Tensor) =>
  defineTraining({
    batch: ROWS,
    shards: 4,
    data: () => arrays(fields),
    model,
    loss: lossOf,
    optimizer: optim.sgd({ lr: 0.1 }),
  });

const classes = (out: Tensor, { label }: Rows): Tensor => loss.crossEntropy(out, label);
const flat = (x: Tensor): Tensor => reshape(x, [x.shape[0]!, -1]);

/** Models that between them use every kind of layer. */
const models = {
  convolutions: one(
    () =>
      nn.sequential(
        nn.conv2d(3, 6, 3, { padding: 1, stride: 2 }),
        nn.batchNorm2d(6),
        nn.relu(),
        nn.conv2d(6, 4, 3, { padding: 2, dilation: 2, groups: 2 }),
        nn.maxPool2d(2),
        nn.flatten(),
        nn.linear(16, 3),
      ),
    (model, rows) => classes(model(rows.image), rows),
  ),
  pools: one(
    () => ({ conv: nn.conv2d(3, 5, 1), head: nn.linear(5, 3) }),
    ({ conv, head }, rows) =>
      classes(
        head(flat(nn.avgPool2d(4, { padding: 1 })(nn.maxPool2d(3, { stride: 2 })(conv(rows.image))))),
        rows,
      ),
  ),
  lstm: one(
    () => ({ lstm: nn.lstm(6, 7), head: nn.linear(35, 3) }),
    ({ lstm, head }, rows) => classes(head(flat(lstm(rows.sequence).output)), rows),
  ),
  gru: one(
    () => ({ gru: nn.gru(6, 5, { bidirectional: true }), head: nn.linear(50, 3) }),
    ({ gru, head }, rows) => classes(head(flat(gru(rows.sequence).output)), rows),
  ),
  transformer: one(
    () => ({
      embedding: nn.embedding(11, 8),
      norm: nn.layerNorm(8),
      attention: nn.multiHeadAttention(8, 2, { causal: true }),
      out: nn.linear(8, 11),
    }),
    ({ embedding, norm, attention, out }, { tokens }) => {
      const x = embedding(tokens);
      const y = add(x, attention(norm(x)));
      return loss.crossEntropy(reshape(out(y), [-1, 11]), reshape(tokens, [-1]));
    },
  ),
  indexing: one(
    () => nn.linear(16, 12),
    (model, { bytes }) => {
      const h = model(bytes);
      const order = argsort(h);
      const sorted = gather(h, 1, order);
      const spread = scatterAdd(h, 1, order, sorted);
      const picked = take(transpose(spread), argmax(h, 1), 0);
      const terms = [mean(square(cumsum(sorted, 1))), sum(softmax(topK(h, 4).values)), mean(mul(spread, h))];
      return [...terms, mean(square(picked)), mean(max(h, 0)), mean(matmul(h, h, { transB: true }))].reduce(
        (a, b) => add(a, b),
      );
    },
  ),
};

async function unitPrograms(definition: Parameters<typeof prepare>[0]): Promise<Program[]> {
  const prepared = await prepare(definition, {});
  const { model, layout, data } = prepared;
  const indexes = 2 * data.length;
  return [
    [1, 3],
    [2, 4],
  ].flatMap(([segments, rows]) =>
    [true, false].map((training) => {
      const step = traceStep(prepared.definition, model, layout, data, rows!, training);
      return compileUnit(step, layout, { part: data, indexes }, rows!, segments!, undefined).program;
    }),
  );
}

const optimizers: Readonly<Record<string, Optimizer>> = {
  sgd: optim.sgd({ lr: 0.1, momentum: 0.9, nesterov: true }),
  adamw: optim.adamw({ lr: 0.01, amsgrad: true, average: 0.9 }),
  rmsprop: optim.rmsprop({ lr: 0.01 }),
  adagrad: optim.adagrad({ lr: 0.01 }),
};

/** An update in place, journaled, behind a guard. */
function updateProgram({ groups: [group] }: Optimizer, size: number): Program {
  const program = new MemoryProgram();
  const input = (name: string, n = size): Tensor => program.input(at(name), n);
  const [weight, gradient] = [input('weights'), input('gradient 0')];
  const named = (names: readonly string[], make: (name: string, i: number) => Tensor) =>
    Object.fromEntries(names.map((name, i) => [name, make(name, i)]));
  const slots = named(group!.slots, (name) => input(`slot ${name}`));
  const scalars = named(group!.scalars, (_, i) => program.input(at('record', 6 + i), 1));
  const tick = at('record', 2);
  return program.compile(
    () => {
      const updated = group!.update({ weight, gradient, slots, scalars });
      return [
        [updated.weight, at('weights')],
        ...Object.entries(updated.slots).map(([name, value]) => [value, at(`slot ${name}`)] as const),
      ];
    },
    {
      journal: { state: at('journal'), tick },
      guard: { kind: 'finite', halt: at('halt'), tick, values: at('all sums'), count: 4, stride: 16 },
    },
  );
}

/** Steps of all models, forward alone and with gradients, and updates. */
export async function realPrograms(): Promise<Program[]> {
  const all = [...Object.values(models), ...Object.values(definitions)] as Parameters<typeof prepare>[0][];
  const units = await Promise.all(all.map(unitPrograms));
  const updates = Object.values(optimizers).flatMap((each) =>
    [7, 700, 1600].map((size) => updateProgram(each, size)),
  );
  return [...units.flat(), ...updates];
}
