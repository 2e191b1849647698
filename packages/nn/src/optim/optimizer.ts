/**
 * What an optimizer is: data. It never touches a weight itself. The update is written once in tensor ops, all of them
 * elementwise, so that the compiler makes one pass over memory of it; the numbers that change from step to step are
 * computed on the main thread in double and reach the update as scalars.
 */
import { add, clamp, isfinite, mul, type Tensor, where } from '@lockstep/autograd';
import { ConfigError, expectNumber, expectOptions } from '../common/errors.ts';
import { type Match, matcher, type NamedShape } from '../model/match.ts';
import { byLayer, type LayerRule } from './layerwise.ts';
import { type Json, type LearningRate, toSchedule, type Validation } from './schedule.ts';

/** All tensors are f32 of one shape [n], except the scalars: [1]. */
export interface UpdateInput<Slot extends string = string, Scalar extends string = string> {
  readonly weight: Tensor;
  /** Mean over the batch, clipped. */
  readonly gradient: Tensor;
  readonly slots: Readonly<Record<Slot, Tensor>>;
  readonly scalars: Readonly<Record<Scalar, Tensor>>;
}

export interface UpdateOutput<Slot extends string = string> {
  readonly weight: Tensor;
  readonly slots: Readonly<Record<Slot, Tensor>>;
}

/** How the parameters of one group are updated. */
export interface UpdateGroup<Slot extends string = string, Scalar extends string = string> {
  /** State kept for each weight, such as `momentum`; starts at 0. */
  readonly slots: readonly Slot[];
  /** Names of the group's numbers per step. */
  readonly scalars: readonly Scalar[];
  /** Where they begin in what the optimizer's `scalarsAt` gives. */
  readonly firstScalar: number;
  /** Whether a parameter belongs here; the first of the groups from 1 on that says so has it, else group 0. */
  matches(parameter: NamedShape): boolean;
  /** New weight and slots: elementwise ops only, or, with `layer`, of one whole parameter. */
  update(input: UpdateInput<Slot, Scalar>): UpdateOutput<Slot>;
  /** The update in two passes with norms over a parameter in between. */
  readonly layer?: LayerRule<Slot, Scalar>;
}

export interface Optimizer<Slot extends string = string, Scalar extends string = string>
  extends Omit<UpdateGroup<Slot, Scalar>, 'matches' | 'firstScalar'> {
  readonly name: string;
  /** Group 0 has what no other group matches. At least one. */
  readonly groups: readonly UpdateGroup[];
  /** Largest global norm of the gradient: a longer one is scaled down to it. */
  readonly clipNorm?: number;
  /** The slot with the moving average of the weights, if one is kept: these are validated and saved. */
  readonly average?: string;
  /** What the learning rate depends on beside the step: `loss` or a metric of the validation part. */
  readonly watches?: string;
  /** All that defines the optimizer, for the definition of a run. */
  readonly config: { readonly [key: string]: Json };
  /**
   * The learning rate of group 0 at an optimizer step (0-based), where `validations` came before. Throws ConfigError
   * where a schedule gives no rate.
   */
  learningRate(step: number, totalSteps: number, validations?: readonly Validation[]): number;
  /** The scalars of all groups at an optimizer step (0-based), in double. */
  scalarsAt(step: number, totalSteps: number, validations?: readonly Validation[]): number[];
}

/** Options that every optimizer takes; `R` are those of its formula, which a group may set anew. */
export interface CommonOptions<R = unknown> {
  /** Clips the gradient's global norm over all parameters to this (Pascanu et al., 2013). Default: no clipping. */
  readonly clipNorm?: number;
  /** Clips every element of the gradient to ± this, after the norm. Default: no clipping. */
  readonly clipValue?: number;
  /**
   * Keeps a moving average of the weights, a := average · a + (1 − average) · w after each step (the first a is w);
   * validation and the run's result take it. From 0 to below 1. Default: none.
   */
  readonly average?: number;
  /** Parameters with options of their own; the first group that matches has a parameter. */
  readonly groups?: readonly Group<R>[];
}

/** Parameters that are treated otherwise than the rest: `{ match: '*.bias', weightDecay: 0 }`. */
export type Group<R = unknown> = {
  /** Which: see {@link Match}. */
  readonly match: Match;
  /** Factor on the learning rate, at least 0. Default 1. */
  readonly lrScale?: number;
} & Partial<R>;

/** The formula of an update: what `sgd` and the others fill in. */
export interface Formula<Slot extends string = string, Scalar extends string = string> {
  readonly slots: readonly Slot[];
  /** `step` counts from 0. */
  readonly scalars: { readonly [K in Scalar]: (lr: number, step: number) => number };
  /** Its options, for the definition of a run. */
  readonly config: { readonly [key: string]: Json };
  /** Elementwise. */
  update?(input: UpdateInput<Slot, Scalar>): UpdateOutput<Slot>;
  /** Instead of `update`, where norms over whole parameters are needed. */
  readonly layer?: LayerRule<Slot, Scalar>;
}

/** One rule with its numbers, for an optimizer of your own: see {@link defineOptimizer}. */
export interface OptimizerRule<Slot extends string = string, Scalar extends string = string>
  extends Omit<Formula<Slot, Scalar>, 'config'> {
  readonly name: string;
  readonly lr: LearningRate;
  readonly clipNorm?: number | undefined;
  readonly clipValue?: number | undefined;
  readonly average?: number | undefined;
  /** The rule's own options, for the definition of a run. */
  readonly config?: { readonly [key: string]: Json };
}

/** An optimizer of your own, its update written in elementwise tensor ops. Throws ConfigError. */
export function defineOptimizer<Slot extends string, Scalar extends string>(
  rule: OptimizerRule<Slot, Scalar>,
): Optimizer<Slot, Scalar> {
  const formula: Formula<Slot, Scalar> = { ...rule, config: rule.config ?? {} };
  return assemble(rule.name, rule, [formula as Formula], [{}]) as unknown as Optimizer<Slot, Scalar>;
}

/**
 * An optimizer from its options, and from the formula that a set of them makes. `keys`: the formula's own options.
 * Throws ConfigError.
 */
export function fromFormula<R extends object>(
  name: string,
  options: R & CommonOptions<R> & { readonly lr?: LearningRate },
  keys: readonly (keyof R & string)[],
  formula: (who: string, own: R) => unknown,
  defaultLr?: number,
): Optimizer {
  const who = `optim.${name}`;
  expectOptions(who, options, ['lr', ...keys, 'clipNorm', 'clipValue', 'average', 'groups']);
  const { groups = [], lr = defaultLr } = options;
  if (!Array.isArray(groups))
    throw new ConfigError(who, 'got groups that are not an array, expected [{ match, … }, …]');
  const own = groups.map((group: Group<R>, i) => {
    const place = `${who}, group ${i + 1}`;
    expectOptions(place, group, ['match', 'lrScale', ...keys]);
    return formula(place, { ...options, ...group }) as Formula;
  });
  const all = [formula(who, options) as Formula, ...own];
  return assemble(name, { ...options, lr: lr as LearningRate }, all, [{}, ...(groups as Group[])]);
}

type Parts = Pick<OptimizerRule, 'lr' | 'clipNorm' | 'clipValue' | 'average'>;

function assemble(
  name: string,
  { lr: rate, clipNorm, clipValue, average }: Parts,
  formulas: readonly Formula[],
  groups: readonly Partial<Group>[],
): Optimizer {
  const who = `optim.${name}`;
  if (clipNorm !== undefined) expectNumber(who, 'clipNorm', clipNorm, { above: 0 });
  if (clipValue !== undefined) expectNumber(who, 'clipValue', clipValue, { above: 0 });
  if (average !== undefined) expectNumber(who, 'average', average, { min: 0, below: 1 });
  const lr = toSchedule(who, rate);
  const whole = formulas.map((formula) => averaged(clipped(formula, clipValue), average));
  const scales = groups.map(({ lrScale = 1 }, i) =>
    expectNumber(`${who}, group ${i}`, 'lrScale', lrScale, { min: 0 }),
  );
  let firstScalar = 0;
  const built = whole.map((formula, i): UpdateGroup => {
    const { slots, layer } = formula;
    const scalars = Object.keys(formula.scalars);
    const { match } = groups[i]!;
    const group = {
      slots,
      scalars,
      firstScalar,
      matches: i === 0 ? () => true : matcher(`${who}, group ${i}`, match!),
      update: layer ? byLayer(layer) : formula.update!,
      ...(layer && { layer }),
    };
    firstScalar += scalars.length;
    return group;
  });
  const learningRate = (
    step: number,
    totalSteps: number,
    validations: readonly Validation[] = [],
  ): number => {
    const now = lr(step, totalSteps, validations);
    if (Number.isFinite(now) && now >= 0) return now;
    throw new ConfigError(who, `got ${now} from the schedule of lr at step ${step}, expected a number >= 0`);
  };
  const grouped = whole.slice(1).map(({ config }, i) => {
    const { match, lrScale = 1 } = groups[i + 1]!;
    return { match: String(match), lrScale, ...config };
  });
  return {
    name,
    groups: built,
    slots: [...new Set(built.flatMap(({ slots }) => slots))],
    scalars: built.flatMap(({ scalars }, i) =>
      i === 0 ? scalars : scalars.map((scalar) => `${scalar} ${i}`),
    ),
    update: built[0]!.update,
    ...(built[0]!.layer && { layer: built[0]!.layer }),
    ...(clipNorm !== undefined && { clipNorm }),
    ...(average !== undefined && { average: AVERAGE }),
    ...(lr.watches !== undefined && { watches: lr.watches }),
    config: {
      name,
      lr: lr.config,
      clipNorm: clipNorm ?? null,
      ...(clipValue !== undefined && { clipValue }),
      ...(average !== undefined && { average }),
      ...whole[0]!.config,
      ...(grouped.length > 0 && { groups: grouped }),
    },
    learningRate,
    scalarsAt: (step, totalSteps, validations) => {
      const now = learningRate(step, totalSteps, validations);
      return whole.flatMap(({ scalars }, i) =>
        Object.values(scalars).map((scalar) => scalar(now * scales[i]!, step)),
      );
    },
  };
}

/** The formula on a gradient within ± limit. What is not finite stays so: it must be noticed. */
function clipped(formula: Formula, limit: number | undefined): Formula {
  if (limit === undefined) return formula;
  const clip = <I extends UpdateInput>(input: I): I => {
    const { gradient: g } = input;
    return { ...input, gradient: where(isfinite(g), clamp(g, -limit, limit), g) };
  };
  const { update, layer } = formula;
  return {
    ...formula,
    ...(update && { update: (input) => update(clip(input)) }),
    ...(layer && { layer: { ...layer, measure: (input) => layer.measure(clip(input)) } }),
  };
}

/** The slot of the weights' moving average. */
const AVERAGE = 'average';

/** The formula that also keeps the moving average of the weights. */
function averaged(formula: Formula, decay: number | undefined): Formula {
  if (decay === undefined) return formula;
  const { update, layer } = formula;
  const keep = (
    { weight, slots }: UpdateOutput,
    { slots: old, scalars }: Pick<UpdateInput, 'slots' | 'scalars'>,
  ): UpdateOutput => {
    const average = add(mul(old[AVERAGE]!, scalars.averageKeep!), mul(weight, scalars.averageTake!));
    return { weight, slots: { ...slots, [AVERAGE]: average } };
  };
  return {
    ...formula,
    slots: [...formula.slots, AVERAGE],
    scalars: {
      ...formula.scalars,
      averageKeep: (_, step) => (step === 0 ? 0 : decay),
      averageTake: (_, step) => (step === 0 ? 1 : 1 - decay),
    },
    ...(update && { update: (input) => keep(update(input), input) }),
    ...(layer && { layer: { ...layer, apply: (input) => keep(layer.apply(input), input) } }),
  };
}
