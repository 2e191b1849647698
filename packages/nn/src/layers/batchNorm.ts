/** Batch normalisation (Ioffe and Szegedy, 2015). */
import {
  add,
  detach,
  div,
  expectDType,
  formatSpec,
  full,
  isTraining,
  mean,
  mul,
  OpError,
  type Parameter,
  reshape,
  StateBuffer,
  sqrt,
  square,
  sub,
  type Tensor,
  updateBuffer,
} from '@lockstep/autograd';
import { expectNumber, expectOptions } from '../common/errors.ts';
import { ones, zeros } from '../common/init.ts';
import { type Module, module, parameter, placeOf } from '../model/module.ts';

export interface BatchNormOptions {
  /** Added to the variance. Default 1e-5. */
  readonly eps?: number;
  /** The part of a new batch in the running statistics, from 0 to 1. Default 0.1. (There is no PyTorch's `None`.) */
  readonly momentum?: number;
  /** Learn a scale and a shift for each channel. Default true. */
  readonly affine?: boolean;
  /** Keep running statistics, and use them outside of training. Default true. */
  readonly trackRunningStats?: boolean;
}

export interface BatchNorm extends Module {
  /** [channels] γ, 1 at first */
  readonly weight?: Parameter;
  /** [channels] β, 0 at first */
  readonly bias?: Parameter;
  /** [channels], 0 at first */
  readonly running_mean?: StateBuffer;
  /** [channels], 1 at first */
  readonly running_var?: StateBuffer;
  /** [] */
  readonly num_batches_tracked?: StateBuffer;
}

/**
 * y = (x − E[x]) / √(Var[x] + ε) · γ + β for each channel, axis 1. While training, mean and (biased) variance are those of a
 * shard: its rows and all positions. So the result does not depend on who computes which shards; `shards` of the definition
 * says how many rows are normalised together. The running statistics take the mean over the shards of a batch (of the
 * unbiased variance, as in PyTorch), and stand in for them outside of training.
 */
function batchNorm(
  name: string,
  ranks: readonly number[],
  channels: number,
  options: BatchNormOptions,
): BatchNorm {
  const who = `nn.${name}`;
  expectNumber(who, 'channels', channels, { min: 1, integer: true });
  expectOptions(who, options, ['eps', 'momentum', 'affine', 'trackRunningStats']);
  const eps = expectNumber(who, 'eps', options.eps ?? 1e-5, { min: 0 });
  // Not `??`: PyTorch's None, a mean over all batches, is not 0.1.
  const { momentum = 0.1, affine = true, trackRunningStats = true } = options;
  expectNumber(who, 'momentum', momentum, { min: 0, max: 1 });
  const follow = { keep: 1 - momentum, add: momentum };
  const learnt = affine
    ? { weight: parameter(ones()([channels])), bias: parameter(zeros()([channels])) }
    : {};
  const running = trackRunningStats
    ? {
        running_mean: new StateBuffer(new Float32Array(channels), [channels], follow),
        running_var: new StateBuffer(new Float32Array(channels).fill(1), [channels], follow),
        num_batches_tracked: new StateBuffer(new Float32Array(1), [], { keep: 1, add: 1 }),
      }
    : undefined;
  const kind = `${name}(${channels})`;

  const forward = (x: Tensor): Tensor => {
    expectDType(placeOf(kind), 'input', x, 'f32');
    if (!ranks.includes(x.rank) || x.shape[1] !== channels) {
      throw new OpError(
        placeOf(kind),
        `got ${formatSpec(x)}, expected ${ranks.join(' or ')} axes with ${channels} channels in axis 1`,
      );
    }
    const perChannel = [channels, ...new Array<number>(x.rank - 2).fill(1)];
    const shaped = (t: Tensor): Tensor => reshape(t, perChannel);
    const own = isTraining() || !running;
    const centre = own ? channelMean(x) : shaped(running.running_mean);
    const centred = sub(x, centre);
    const variance = own ? channelMean(square(centred)) : shaped(running.running_var);
    if (isTraining() && running) track(kind, running, x, centre, variance);
    const normal = div(centred, sqrt(add(variance, eps)));
    const { weight, bias } = learnt;
    return weight && bias ? add(mul(normal, shaped(weight)), shaped(bias)) : normal;
  };
  return module(kind, { ...learnt, ...running }, forward);
}

/** Mean over all axes but 1, as [1, channels, 1, …]. */
const channelMean = (x: Tensor): Tensor =>
  mean(
    x,
    [...x.shape.keys()].filter((axis) => axis !== 1),
    { keepDims: true },
  );

function track(
  kind: string,
  running: Required<Pick<BatchNorm, 'running_mean' | 'running_var' | 'num_batches_tracked'>>,
  x: Tensor,
  centre: Tensor,
  variance: Tensor,
): void {
  const channels = x.shape[1]!;
  const count = x.size / channels;
  if (count < 2) {
    throw new OpError(
      kind,
      `got ${formatSpec(x)} in a shard, expected more than one number per channel, or there is no variance; take fewer ` +
        'shards, larger batches, or dropLast',
    );
  }
  updateBuffer(running.running_mean, reshape(detach(centre), [channels]));
  updateBuffer(running.running_var, mul(reshape(detach(variance), [channels]), count / (count - 1)));
  updateBuffer(running.num_batches_tracked, full([], 1));
}

/** Batch normalisation of [rows, channels] or [rows, channels, length]. Throws ConfigError, and OpError on other inputs. */
export const batchNorm1d = (channels: number, options: BatchNormOptions = {}): BatchNorm =>
  batchNorm('batchNorm1d', [2, 3], channels, options);

/** Batch normalisation of images [rows, channels, height, width]. Throws ConfigError, and OpError on other inputs. */
export const batchNorm2d = (channels: number, options: BatchNormOptions = {}): BatchNorm =>
  batchNorm('batchNorm2d', [4], channels, options);
