/** Attention with several heads. Names, layouts and start values are those of PyTorch's MultiheadAttention. */
import {
  add,
  expectTensors,
  formatSpec,
  matmul,
  narrow,
  OpError,
  type Parameter,
  reshape,
  scaledDotProductAttention,
  selfAttention,
  type Tensor,
  transpose,
} from '@lockstep/autograd';
import { ConfigError, expectNumber, expectOptions } from '../common/errors.ts';
import { xavierUniform, zeros } from '../common/init.ts';
import { type Module, module, parameter, placeOf } from '../model/module.ts';
import { type Linear, linear } from './linear.ts';

export interface MultiHeadAttentionOptions {
  /** Each position sees itself and what is before it. Default false. */
  readonly causal?: boolean;
  /** Learnt biases of all projections. Default true. */
  readonly bias?: boolean;
  /**
   * Share of the attention that dropout sets to 0 while training, from 0 to below 1. Default 0; above, the memory of a
   * training step grows with T².
   */
  readonly dropout?: number;
}

/** What to attend with; a tensor alone stands for { query: x, key: x, value: x }. */
export interface AttentionInput {
  /** [batch, Tq, features] */
  readonly query: Tensor;
  /** [batch, Tk, features]. Default: the query. */
  readonly key?: Tensor;
  /** [batch, Tk, features]. Default: the key. */
  readonly value?: Tensor;
  /** Added to the scores (f32), or where a query may see a key (bool); broadcasts to [batch, heads, Tq, Tk]. */
  readonly mask?: Tensor;
}

const isAttentionInput = (input: Tensor | AttentionInput): input is AttentionInput =>
  typeof input === 'object' && Boolean(input) && 'query' in input;

export interface MultiHeadAttention extends Module<Tensor | AttentionInput> {
  /** [3 · features, features]: q, k, v. */
  readonly in_proj_weight: Parameter;
  /** [3 · features] */
  readonly in_proj_bias?: Parameter;
  readonly out_proj: Linear;
}

/**
 * softmax(q kᵀ / √size) v in `heads` parallel parts of the features, between learnt projections (Vaswani et al., 2017):
 * [batch, T, features] → the same. Without dropout, memory is linear in T. Throws ConfigError and
 * OpError.
 */
export function multiHeadAttention(
  features: number,
  heads: number,
  options: MultiHeadAttentionOptions = {},
): MultiHeadAttention {
  const who = 'nn.multiHeadAttention';
  expectNumber(who, 'features', features, { min: 1, integer: true });
  expectNumber(who, 'heads', heads, { min: 1, integer: true });
  expectOptions(who, options, ['causal', 'bias', 'dropout']);
  const dropout = expectNumber(who, 'dropout', options.dropout ?? 0, { min: 0, below: 1 });
  if (features % heads !== 0) {
    throw new ConfigError(who, `got ${features} features for ${heads} heads, expected a multiple`);
  }
  const { causal = false, bias = true } = options;
  const kind = `multiHeadAttention(${features}, ${heads}${causal ? ', { causal: true }' : ''})`;
  const in_proj_weight = parameter(xavierUniform()([3 * features, features]));
  const in_proj_bias = bias ? parameter(zeros()([3 * features])) : undefined;
  const out_proj = linear(features, features, { bias, ...(bias ? { biasInit: zeros() } : {}) });
  const size = features / heads;

  /** Parts [first, first + count) of the projection of x. */
  const project = (x: Tensor, first: number, count: number): Tensor => {
    expectTensors(placeOf(kind), x);
    if (x.rank !== 3 || x.shape[2] !== features) {
      throw new OpError(placeOf(kind), `got ${formatSpec(x)}, expected [batch, T, ${features}]`);
    }
    const part = (p: Tensor): Tensor => (count === 3 ? p : narrow(p, 0, first * features, count * features));
    const y = matmul(x, part(in_proj_weight), { transB: true });
    return in_proj_bias ? add(y, part(in_proj_bias)) : y;
  };
  const toHeads = (x: Tensor): Tensor => transpose(reshape(x, [...x.shape.slice(0, 2), heads, size]), 1, 2);

  const attend = ({ query, key = query, value = key, mask }: AttentionInput): Tensor => {
    const settings = { causal, dropout, ...(mask ? { mask } : {}) };
    if (key === query && value === query && !mask?.requiresGrad) {
      const [batch, steps] = query.shape as readonly [number, number];
      return selfAttention(reshape(project(query, 0, 3), [batch, steps, 3, heads, size]), settings);
    }
    const [q, k, v] = [query, key, value].map((x, i) => toHeads(project(x, i, 1))) as [
      Tensor,
      Tensor,
      Tensor,
    ];
    return transpose(scaledDotProductAttention(q, k, v, settings), 1, 2);
  };
  const fields = in_proj_bias ? { in_proj_weight, in_proj_bias, out_proj } : { in_proj_weight, out_proj };
  return module(kind, fields, (input: Tensor | AttentionInput) => {
    const given = isAttentionInput(input) ? input : { query: input };
    expectTensors(placeOf(kind), given.query);
    return out_proj(reshape(attend(given), given.query.shape));
  });
}
