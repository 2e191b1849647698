/** Convolutional layers. Layouts, names and start values are PyTorch's. */
import * as ops from '@lockstep/autograd';
import {
  add,
  type Conv1dOptions,
  type ConvOptions,
  type ConvTransposeOptions,
  expectTensors,
  formatSpec,
  OpError,
  type Parameter,
  type PerAxis,
  reshape,
  type Shape,
  type Tensor,
} from '@lockstep/autograd';
import { ConfigError, expectNumber, expectOptions, expectPair } from '../common/errors.ts';
import { type Initialiser, uniform } from '../common/init.ts';
import { type Module, module, parameter, placeOf } from '../model/module.ts';

interface LayerOptions {
  /** Add a learnt bias for each channel. Default true. */
  readonly bias?: boolean;
  /** How the weight starts. Default: uniform in ±1/√fan, fan = the inputs of one output. */
  readonly weightInit?: Initialiser;
  /** How the bias [out] starts. Default: as the weight. */
  readonly biasInit?: Initialiser;
}
export interface Conv1dLayerOptions extends Conv1dOptions, LayerOptions {}
export interface Conv2dLayerOptions extends ConvOptions, LayerOptions {}
export interface ConvTranspose2dLayerOptions extends ConvTransposeOptions, LayerOptions {}

/** A convolution; the weight is [out, in / groups, ...kernel], transposed [in, out / groups, ...kernel]. */
export interface Convolution extends Module {
  readonly weight: Parameter;
  /** [out] */
  readonly bias?: Parameter;
}

/** A layer's fixed facts, and what it computes from input and weight. */
interface Recipe {
  readonly name: string;
  readonly channels: readonly [inputs: number, outputs: number];
  readonly kernel: readonly number[];
  readonly transposed: boolean;
  readonly options: LayerOptions & { readonly groups?: number };
  readonly apply: (x: Tensor, weight: Tensor) => Tensor;
}

const SETTINGS = ['stride', 'padding', 'dilation', 'groups', 'bias', 'weightInit', 'biasInit'];

function layer({ name, channels, kernel, transposed, options, apply }: Recipe): Convolution {
  const who = `nn.${name}`;
  const [inputs, outputs] = channels;
  const { groups = 1, bias: hasBias = true } = options;
  expectNumber(who, 'inChannels', inputs, { min: 1, integer: true });
  expectNumber(who, 'outChannels', outputs, { min: 1, integer: true });
  expectNumber(who, 'groups', groups, { min: 1, integer: true });
  for (const n of kernel) expectNumber(who, 'kernelSize', n, { min: 1, integer: true });
  if (inputs % groups !== 0 || outputs % groups !== 0) {
    throw new ConfigError(
      who,
      `got groups = ${groups}, expected a divisor of ${inputs} and ${outputs} channels`,
    );
  }
  const shape: Shape = transposed
    ? [inputs, outputs / groups, ...kernel]
    : [outputs, inputs / groups, ...kernel];
  const bound = 1 / Math.sqrt(ops.sizeOf(shape.slice(1)));
  const { weightInit = uniform(-bound, bound), biasInit = uniform(-bound, bound) } = options;
  const weight = parameter(weightInit(shape));
  const bias = hasBias ? parameter(biasInit([outputs])) : undefined;
  const kind = `${name}(${inputs}, ${outputs}, ${kernel.join(' × ')})`;
  const rank = kernel.length + 2;

  return module(kind, bias ? { weight, bias } : { weight }, (x: Tensor) => {
    expectTensors(placeOf(kind), x);
    if (x.rank !== rank || x.shape[1] !== inputs) {
      const axes = kernel.length === 1 ? 'length' : 'height, width';
      throw new OpError(
        placeOf(kind),
        `got ${formatSpec(x)}, expected [rows, ${inputs}, ${axes}]; change inChannels or reshape the input`,
      );
    }
    const y = apply(x, weight);
    return bias ? add(y, reshape(bias, [outputs, ...kernel.map(() => 1)])) : y;
  });
}

/** Convolution along one axis: [rows, in, length] → [rows, out, …]. Throws ConfigError, and OpError on an input that does not fit. */
export function conv1d(
  inChannels: number,
  outChannels: number,
  kernelSize: number,
  options: Conv1dLayerOptions = {},
): Convolution {
  expectOptions('nn.conv1d', options, SETTINGS);
  return layer({
    ...{
      name: 'conv1d',
      channels: [inChannels, outChannels],
      kernel: [kernelSize],
      transposed: false,
      options,
    },
    apply: (x, weight) => ops.conv1d(x, weight, options),
  });
}

/**
 * Convolution of images: [rows, in, height, width] → [rows, out, …], see `conv2d` for sizes. Throws ConfigError, and
 * OpError on an input that does not fit.
 */
export function conv2d(
  inChannels: number,
  outChannels: number,
  kernelSize: PerAxis,
  options: Conv2dLayerOptions = {},
): Convolution {
  expectOptions('nn.conv2d', options, SETTINGS);
  return layer({
    ...{
      name: 'conv2d',
      channels: [inChannels, outChannels],
      kernel: expectPair('nn.conv2d', 'kernelSize', kernelSize),
      transposed: false,
      options,
    },
    apply: (x, weight) => ops.conv2d(x, weight, options),
  });
}

/** The transposed convolution, which makes images larger with a stride; see `convTranspose2d`. Throws as `nn.conv2d`. */
export function convTranspose2d(
  inChannels: number,
  outChannels: number,
  kernelSize: PerAxis,
  options: ConvTranspose2dLayerOptions = {},
): Convolution {
  const name = 'convTranspose2d';
  expectOptions(`nn.${name}`, options, [...SETTINGS, 'outputPadding']);
  return layer({
    ...{
      name,
      channels: [inChannels, outChannels],
      kernel: expectPair(`nn.${name}`, 'kernelSize', kernelSize),
      transposed: true,
      options,
    },
    apply: (x, weight) => ops.convTranspose2d(x, weight, options),
  });
}
