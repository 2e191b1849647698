/** Cases of convolution and pooling for the comparison of kernels and reference; `convolution.test.ts` has the many. */

import {
  type ConvolutionShape,
  convInputGradScratchBytes,
  type convolutions,
  convScratchBytes,
  convWeightGradScratchBytes,
} from '../src/instructions/convolution.ts';
import type { Address } from '../src/instructions/program.ts';
import type { ProgramBuilder } from '../src/program/builder.ts';
import { floats } from './rig.ts';

interface ConvolutionCase {
  readonly title: string;
  readonly outputs: number;
  readonly inputs: readonly Float32Array[];
  readonly write: (builder: ProgramBuilder, output: Address, inputs: Address[]) => void;
}

const window = {
  ...{ h: 5, w: 7, oh: 3, ow: 7, kh: 3, kw: 3 },
  ...{ strideH: 2, strideW: 1, padH: 1, padW: 1, dilationH: 1, dilationW: 1 },
};
const shape: ConvolutionShape = { rows: 2, c: 4, o: 6, groups: 2, ...window };
const sizes = { image: 2 * 4 * 5 * 7, output: 2 * 6 * 3 * 7, weight: 6 * 2 * 3 * 3 };
const segments = 3;

/** A region after all others, of which only the size matters. */
const scratch = (builder: ProgramBuilder, bytes: number): Address => {
  const region = builder.addRegion('scratch', 'write');
  builder.reserve(region, bytes);
  return { region, offset: 0 };
};

const pooling = (name: 'sumPool2d' | 'sumPool2dGrad', inputs: number, outputs: number): ConvolutionCase[] => [
  {
    title: 'windows over the border',
    outputs: 8 * outputs,
    inputs: [floats(8 * inputs)],
    write: (b, out, [x]) => b.call(name, { out, in: x!, images: 8, ...window }),
  },
];

export const convolutionCases: { readonly [N in keyof typeof convolutions]: readonly ConvolutionCase[] } = {
  conv2d: [
    {
      title: 'two groups',
      outputs: sizes.output,
      inputs: [floats(sizes.image), floats(sizes.weight, 2)],
      write: (b, out, [x, w]) =>
        b.call('conv2d', { out, a: x!, b: w!, scratch: scratch(b, convScratchBytes(shape)), ...shape }),
    },
  ],
  conv2dInputGrad: [
    {
      title: 'two groups',
      outputs: sizes.image,
      inputs: [floats(sizes.output), floats(sizes.weight, 2)],
      write: (b, out, [g, w]) =>
        b.call('conv2dInputGrad', {
          ...{ out, a: g!, b: w!, ...shape },
          scratch: scratch(b, convInputGradScratchBytes(shape)),
        }),
    },
  ],
  conv2dWeightGrad: [0, 1].map((tree) => ({
    title: `two groups, tree ${tree}`,
    outputs: sizes.weight * (tree ? 1 : segments),
    inputs: [floats(segments * sizes.image), floats(segments * sizes.output, 2)],
    write: (b, out, [x, g]) =>
      b.call('conv2dWeightGrad', {
        ...{ out, a: x!, b: g!, ...shape, segments, tree },
        scratch: scratch(b, convWeightGradScratchBytes(shape, segments)),
      }),
  })),
  maxPool2d: [
    {
      title: 'windows over the border',
      outputs: 8 * 21,
      inputs: [floats(8 * 35), floats(8 * 35, 2)],
      write: (b, out, [x, y]) => b.call('maxPool2d', { out, in: x!, values: y!, images: 8, ...window }),
    },
  ],
  maxPool2dGrad: [
    {
      title: 'windows over the border',
      outputs: 8 * 35,
      inputs: [floats(8 * 35), floats(8 * 21, 2)],
      write: (b, out, [x, g]) => b.call('maxPool2dGrad', { out, in: x!, grad: g!, images: 8, ...window }),
    },
  ],
  sumPool2d: pooling('sumPool2d', 35, 21),
  sumPool2dGrad: pooling('sumPool2dGrad', 21, 35),
};
