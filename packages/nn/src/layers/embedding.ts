/** Vectors for tokens and for positions. */
import {
  add,
  arange,
  detach,
  eq,
  expectDType,
  expectTensors,
  formatSpec,
  narrow,
  OpError,
  type Parameter,
  type Tensor,
  take,
  tensor,
  unsqueeze,
  where,
} from '@lockstep/autograd';
import { ConfigError, expectNumber, expectOptions } from '../common/errors.ts';
import { cosPi, exp, log } from '../common/exactMath.ts';
import { type Initialiser, normal } from '../common/init.ts';
import { type Module, module, parameter, placeOf } from '../model/module.ts';

export interface EmbeddingOptions {
  /** A token whose vector starts at zeros and is not trained. */
  readonly paddingIndex?: number;
  /** How the weight [tokens, features] starts. Default: standard normal. */
  readonly weightInit?: Initialiser;
}

export interface Embedding extends Module {
  /** [tokens, features] */
  readonly weight: Parameter;
}

/**
 * A learnt vector per token: i32 [...] with numbers from 0 to tokens − 1 → [..., features]. Names and start values are
 * PyTorch's. Throws ConfigError; data out of range are refused before training.
 */
export function embedding(tokens: number, features: number, options: EmbeddingOptions = {}): Embedding {
  const who = 'nn.embedding';
  expectNumber(who, 'tokens', tokens, { min: 1, integer: true });
  expectNumber(who, 'features', features, { min: 1, integer: true });
  expectOptions(who, options, ['paddingIndex', 'weightInit']);
  const { paddingIndex, weightInit = normal() } = options;
  const start = weightInit([tokens, features]);
  const isPadding = (): Tensor => unsqueeze(eq(arange(tokens, 'i32'), paddingIndex!), -1);
  if (paddingIndex !== undefined) {
    expectNumber(who, 'paddingIndex', paddingIndex, { min: 0, below: tokens, integer: true });
  }
  const weight = parameter(paddingIndex === undefined ? start : where(isPadding(), 0, start));
  const kind = `embedding(${tokens}, ${features})`;
  return module(kind, { weight }, (index: Tensor) => {
    expectTensors(placeOf(kind), index);
    if (index.dtype !== 'i32') {
      throw new OpError(placeOf(kind), `got ${formatSpec(index)}, expected i32; convert with cast(x, 'i32')`);
    }
    return take(paddingIndex === undefined ? weight : where(isPadding(), detach(weight), weight), index);
  });
}

/** The table's first rows, as many as the input has steps. */
function firstRows(kind: string, table: Tensor, x: Tensor): Tensor {
  expectDType(placeOf(kind), 'input', x, 'f32');
  const [steps, features] = [x.shape.at(-2) ?? 0, x.shape.at(-1)];
  if (x.rank < 2 || steps > table.shape[0]! || features !== table.shape[1]) {
    throw new OpError(
      placeOf(kind),
      `got ${formatSpec(x)}, expected [..., steps, ${table.shape[1]}] with at most ${table.shape[0]} steps`,
    );
  }
  return narrow(table, 0, 0, steps);
}

/** Adds a learnt vector per position: x [..., T, features] + weight[0 … T − 1]. Throws ConfigError and OpError. */
export function learnedPositions(
  length: number,
  features: number,
  options: Pick<EmbeddingOptions, 'weightInit'> = {},
): Embedding {
  const who = 'nn.learnedPositions';
  expectNumber(who, 'length', length, { min: 1, integer: true });
  expectNumber(who, 'features', features, { min: 1, integer: true });
  expectOptions(who, options, ['weightInit']);
  const { weightInit = normal({ std: 0.02 }) } = options;
  const weight = parameter(weightInit([length, features]));
  const kind = `learnedPositions(${length}, ${features})`;
  return module(kind, { weight }, (x: Tensor) => add(x, firstRows(kind, weight, x)));
}

/**
 * Adds fixed waves (Vaswani et al., 2017): sin(t / 10000^(i / features)) at even features i, its cosine after it. Throws
 * ConfigError and OpError.
 */
export function sinusoidalPositions(length: number, features: number): Module {
  const who = 'nn.sinusoidalPositions';
  expectNumber(who, 'length', length, { min: 1, integer: true });
  expectNumber(who, 'features', features, { min: 2, integer: true });
  if (features % 2 !== 0) throw new ConfigError(who, `got features = ${features}, expected an even number`);
  const values = Float32Array.from({ length: length * features }, (_, at) => {
    const [t, i] = [Math.floor(at / features), at % features];
    const angle = t * exp((-log(10000) * (i - (i % 2))) / features);
    return cosPi(angle / Math.PI - (i % 2 === 0 ? 0.5 : 0));
  });
  const table = tensor(values, { shape: [length, features] });
  const kind = `sinusoidalPositions(${length}, ${features})`;
  return module(kind, {}, (x: Tensor) => add(x, firstRows(kind, table, x)));
}
