/** Whether an optimizer may be run on slices: tried once on a few weights, before anything starts. */
import { formatSpec, type GraphNode, type Tensor, Trace, withTrace } from '@lockstep/autograd';
import { MAX_SLOTS } from '@lockstep/kernels';
import { ConfigError, type Optimizer, type UpdateGroup } from '@lockstep/nn';

const SIZE = 8;

/** An update writes its weight and slots in one call, which reads and writes this many arrays. */
const MAX_STATE = MAX_SLOTS / 2 - 1;

/**
 * Throws ConfigError where an update does more than element by element. Each worker updates a slice of the weights, so
 * an op that looks beyond one element would see other numbers with another number of workers.
 */
export function checkOptimizer(optimizer: Optimizer): void {
  const { groups, name } = optimizer;
  groups.forEach((group, i) => {
    checkGroup(`optimizer ${name}${i === 0 ? '' : `, group ${i}`}`, group);
  });
}

type Results = Readonly<Record<string, Tensor | undefined>>;

/** The update of a group as a graph, over a few weights; what it gives, by name. */
export function traceUpdate({ slots, scalars, update, layer }: UpdateGroup): {
  readonly trace: Trace;
  readonly results: Results;
} {
  const trace = new Trace();
  const input = (name: string, size: number): Tensor =>
    trace.input('scalar', name, { shape: [size], dtype: 'f32' });
  const named = (names: readonly string[], size: number): Record<string, Tensor> =>
    Object.fromEntries(names.map((name) => [name, input(name, size)]));
  const inputs = {
    weight: input('weight', SIZE),
    gradient: input('gradient', SIZE),
    slots: named(slots, SIZE),
    scalars: named(scalars, 1),
  };
  const results = withTrace(trace, (): Results => {
    if (!layer) {
      const updated = update(inputs);
      return { weight: updated?.weight, ...updated?.slots };
    }
    const first = layer.measure(inputs);
    const norms = { weightNorm: input('norm', 1), measuredNorm: input('norm', 1) };
    const last = layer.apply({ ...inputs, measured: first.measured, ...norms });
    return { weight: last.weight, measured: first.measured, ...first.slots, ...last.slots };
  });
  return { trace, results };
}

function checkGroup(who: string, group: UpdateGroup): void {
  const { trace, results } = traceUpdate(group);
  const mixes = (node: GraphNode): boolean => node.kind === 'op' && node.op.kind !== 'elementwise';
  const mixing = trace.nodes.find(mixes);
  if (mixing) {
    throw new ConfigError(
      who,
      `its update uses ${mixing.label}, expected element-wise ops only: a worker sees a slice of the weights, and the result ` +
        'must not depend on how they are cut; use clipNorm for the norm of the gradient',
    );
  }
  const constant = trace.nodes.find((node) => node.kind === 'constant' && node.data.length > 1);
  if (constant) {
    throw new ConfigError(
      who,
      `its update uses a constant ${formatSpec(constant)}, expected numbers or tensors of one element: a worker sees a slice of ` +
        'the weights; keep what differs between weights in a slot',
    );
  }
  if (group.slots.length > MAX_STATE) {
    throw new ConfigError(who, `got ${group.slots.length} slots, expected at most ${MAX_STATE}`);
  }
  for (const name of ['weight', ...group.slots]) {
    const result = results[name];
    if (result?.dtype === 'f32' && result.rank === 1 && result.size === SIZE) continue;
    const got = result ? `${name} of ${formatSpec(result)}` : `no ${name}`;
    throw new ConfigError(
      who,
      `its update gave ${got} for weights of f32[${SIZE}], expected that type and shape; return { weight, slots }`,
    );
  }
}
