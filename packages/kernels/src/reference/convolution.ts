/** The naive twins of convolution and pooling. */
import type { convolutions as instructions } from '../instructions/convolution.ts';
import type { Values } from '../instructions/instruction.ts';
import { forEach, type Machine, tree } from './machine.ts';

type Name = keyof typeof instructions;
type Operands<N extends Name> = Values<(typeof instructions)[N]['fields']>;
type Window = Operands<'sumPool2d'>;

/** Where tap i of output y looks; undefined outside of the image. */
const position = (y: number, i: number, stride: number, dilation: number, pad: number, size: number) => {
  const at = y * stride + i * dilation - pad;
  return at >= 0 && at < size ? at : undefined;
};
type Geometry = Pick<Window, Exclude<keyof Window, 'out' | 'in' | 'images'>>;
const place = (v: Geometry, y: number, x: number, i: number, j: number): number | undefined => {
  const row = position(y, i, v.strideH, v.dilationH, v.padH, v.h);
  const column = position(x, j, v.strideW, v.dilationW, v.padW, v.w);
  return row === undefined || column === undefined ? undefined : row * v.w + column;
};

/** The output that tap i of which adds to position `at`: outside of the outputs counts as one of zeros. */
const outputOf = (at: number, i: number, stride: number, dilation: number, pad: number) => {
  const distance = at + pad - i * dilation;
  return distance % stride === 0 ? distance / stride : undefined;
};

/** Places of a window that are inside, in the order of rows. */
function placesOf(v: Geometry, y: number, x: number): number[] {
  const places: number[] = [];
  forEach([v.kh, v.kw], ([i, j]) => {
    const at = place(v, y, x, i, j);
    if (at !== undefined) places.push(at);
  });
  return places;
}

/** The first greatest, or the first NaN. */
const greatest = (image: Float64Array, places: readonly number[]): number | undefined => {
  const nan = places.find((at) => Number.isNaN(image[at]));
  return (
    nan ??
    places.reduce<number | undefined>(
      (best, at) => (best === undefined || image[at]! > image[best]! ? at : best),
      undefined,
    )
  );
};

export const convolutions: { readonly [N in Name]: (machine: Machine, values: Operands<N>) => void } = {
  conv2d: (machine, v) => {
    const [out, image, weight] = [machine.at(v.out), machine.at(v.a), machine.at(v.b)];
    const [c, o] = [v.c / v.groups, v.o / v.groups];
    forEach([v.rows, v.groups, o, v.oh, v.ow], ([n, g, m, y, x]) => {
      let sum = 0;
      forEach([c, v.kh, v.kw], ([d, i, j]) => {
        const at = place(v, y, x, i, j);
        const value = at === undefined ? 0 : image[(n * v.c + g * c + d) * v.h * v.w + at]!;
        const factor = weight[(((g * o + m) * c + d) * v.kh + i) * v.kw + j]!;
        sum = machine.add(sum, machine.mul(value, factor));
      });
      out[((n * v.o + g * o + m) * v.oh + y) * v.ow + x] = sum;
    });
  },
  conv2dInputGrad: (machine, v) => {
    const [out, grad, weight] = [machine.at(v.out), machine.at(v.a), machine.at(v.b)];
    const [c, o] = [v.c / v.groups, v.o / v.groups];
    forEach([v.rows, v.groups, c, v.h, v.w], ([n, g, d, h, w]) => {
      let sum = 0;
      forEach([o, v.kh, v.kw], ([m, i, j]) => {
        const y = outputOf(h, i, v.strideH, v.dilationH, v.padH);
        const x = outputOf(w, j, v.strideW, v.dilationW, v.padW);
        if (y === undefined || x === undefined) return;
        const inside = y >= 0 && y < v.oh && x >= 0 && x < v.ow;
        const value = inside ? grad[((n * v.o + g * o + m) * v.oh + y) * v.ow + x]! : 0;
        const factor = weight[(((g * o + m) * c + d) * v.kh + i) * v.kw + j]!;
        sum = machine.add(sum, machine.mul(value, factor));
      });
      out[((n * v.c + g * c + d) * v.h + h) * v.w + w] = sum;
    });
  },
  conv2dWeightGrad: (machine, v) => {
    const [out, image, grad] = [machine.at(v.out), machine.at(v.a), machine.at(v.b)];
    const [c, o] = [v.c / v.groups, v.o / v.groups];
    const size = v.o * c * v.kh * v.kw;
    forEach([v.groups, o, c, v.kh, v.kw], ([g, m, d, i, j]) => {
      const ofSegment = (segment: number): number => {
        let sum = 0;
        forEach([v.rows, v.oh, v.ow], ([n, y, x]) => {
          const row = segment * v.rows + n;
          const at = place(v, y, x, i, j);
          const value = at === undefined ? 0 : image[(row * v.c + g * c + d) * v.h * v.w + at]!;
          const factor = grad[((row * v.o + g * o + m) * v.oh + y) * v.ow + x]!;
          sum = machine.add(sum, machine.mul(value, factor));
        });
        return sum;
      };
      const index = (((g * o + m) * c + d) * v.kh + i) * v.kw + j;
      if (v.tree) out[index] = tree(0, v.segments, ofSegment, machine.add);
      else for (let s = 0; s < v.segments; s++) out[s * size + index] = ofSegment(s);
    });
  },
  maxPool2d: (machine, v) => {
    const [out, input, values] = [machine.at(v.out), machine.at(v.in), machine.at(v.values)];
    forEach([v.images, v.oh, v.ow], ([n, y, x]) => {
      const at = greatest(input.subarray(n * v.h * v.w), placesOf(v, y, x));
      out[(n * v.oh + y) * v.ow + x] = at === undefined ? 0 : values[n * v.h * v.w + at]!;
    });
  },
  maxPool2dGrad: (machine, v) => {
    const [out, input, grad] = [machine.at(v.out), machine.at(v.in), machine.at(v.grad)];
    out.fill(0, 0, v.images * v.h * v.w);
    forEach([v.images, v.oh, v.ow], ([n, y, x]) => {
      const at = greatest(input.subarray(n * v.h * v.w), placesOf(v, y, x));
      if (at === undefined) return;
      const index = n * v.h * v.w + at;
      out[index] = machine.add(out[index]!, grad[(n * v.oh + y) * v.ow + x]!);
    });
  },
  sumPool2d: (machine, v) => {
    const [out, input] = [machine.at(v.out), machine.at(v.in)];
    forEach([v.images, v.oh, v.ow], ([n, y, x]) => {
      const values = placesOf(v, y, x).map((at) => input[n * v.h * v.w + at]!);
      out[(n * v.oh + y) * v.ow + x] = values.reduce(machine.add, 0);
    });
  },
  sumPool2dGrad: (machine, v) => {
    const [out, grad] = [machine.at(v.out), machine.at(v.in)];
    out.fill(0, 0, v.images * v.h * v.w);
    forEach([v.images, v.oh, v.ow], ([n, y, x]) => {
      for (const at of placesOf(v, y, x)) {
        const index = n * v.h * v.w + at;
        out[index] = machine.add(out[index]!, grad[(n * v.oh + y) * v.ow + x]!);
      }
    });
  },
};
