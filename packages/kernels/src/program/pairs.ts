/**
 * Two steps in one: where a step is the only reader of the one before, the pair becomes one micro-op that keeps the first
 * result in a CPU register. A step of a chain is bound by the store of its tile, so a pair costs half. The bits are those
 * of the two steps: both results are rounded.
 */

import type { MicroOpName } from '../instructions/microops.ts';
import type { Chain, ChainStep } from './chain.ts';

interface Pair {
  readonly name: MicroOpName;
  /** Arguments of the second step that the first may give; of the others, the fused micro-op's last is made. */
  readonly at: readonly number[];
}

/** Where a step of the first kind and one of the second read the same value, the second costs next to nothing right behind. */
const besides = {
  gelu: 'geluSlope',
  geluTanh: 'geluTanhSlope',
  silu: 'siluSlope',
  mish: 'mishSlope',
} as const satisfies Partial<Record<MicroOpName, MicroOpName>>;

/** The chain with every slope right behind its function (see `run_sloped` in `native/steps.h`). */
export const slopesBeside = (chain: Chain): Chain => {
  const { inputs, steps, outputs } = chain;
  const follower = (at: number): number => {
    const { op, args } = steps[at]!;
    const slope = (besides as Partial<Record<MicroOpName, MicroOpName>>)[op];
    return slope ? steps.findIndex((step, s) => s > at && step.op === slope && step.args[0] === args[0]) : -1;
  };
  const order = new Set<number>();
  steps.forEach((_, s) => {
    order.add(s);
    const next = follower(s);
    if (next > 0) order.add(next);
  });
  const moved = new Map([...order].map((from, to) => [inputs.length + from, inputs.length + to]));
  const renamed = (id: number): number => moved.get(id) ?? id;
  return {
    ...chain,
    steps: [...order].map((s) => ({ ...steps[s]!, args: steps[s]!.args.map(renamed) })),
    outputs: outputs.map((output) => ({ ...output, value: renamed(output.value) })),
  };
};

/** `second/first` → what both are. */
const pairs: Readonly<Record<string, Pair>> = {
  'add/mul': { name: 'mulAdd', at: [1, 0] },
  'sub/mul': { name: 'mulSub', at: [0] },
  'div/mul': { name: 'mulDiv', at: [0] },
  'mul/mul': { name: 'mulMul', at: [0, 1] },
  'mul/add': { name: 'addMul', at: [0, 1] },
  'mul/sub': { name: 'subMul', at: [0, 1] },
  'add/sqrt': { name: 'sqrtAdd', at: [0, 1] },
};

/** The chain with pairs; ids of values stay, the first steps of pairs have no reader any more. */
export const pairSteps = (chain: Chain): Chain => {
  const { inputs, outputs } = chain;
  const first = inputs.length;
  const steps: ChainStep[] = [...chain.steps];
  const reads = new Array<number>(first + steps.length).fill(0);
  const read = (id: number): number => ++reads[id]!;
  for (const { value } of outputs) read(value);
  // Of steps that nothing reads, the arguments do not count: backwards, readers are known before what they read.
  for (let s = steps.length - 1; s >= 0; s--)
    if (reads[first + s]! > 0) for (const id of steps[s]!.args) read(id);
  const written = new Set(outputs.map(({ value }) => value));

  steps.forEach((second, s) => {
    const id = first + s;
    if (reads[id] === 0) return;
    for (const at of [0, 1]) {
      const from = second.args[at];
      const before = from === undefined ? undefined : steps[from - first];
      const pair = before && pairs[`${second.op}/${before.op}`];
      if (!pair?.at.includes(at) || reads[from!] !== 1 || written.has(from!)) continue;
      steps[s] = { op: pair.name, args: [...before!.args, second.args[1 - at]!] };
      return;
    }
  });
  return { ...chain, steps };
};
