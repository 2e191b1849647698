import {
  add,
  expectDType,
  formatSpec,
  matmul,
  OpError,
  type Parameter,
  type Tensor,
} from '@lockstep/autograd';
import { expectNumber, expectOptions } from '../common/errors.ts';
import { type Initialiser, uniform } from '../common/init.ts';
import { type Module, module, parameter, placeOf } from '../model/module.ts';

export interface LinearOptions {
  /** Add a learnt bias. Default true. */
  readonly bias?: boolean;
  /** How the weight [out, in] starts. Default: uniform in ±1/√in. */
  readonly weightInit?: Initialiser;
  /** How the bias [out] starts. Default: uniform in ±1/√in. */
  readonly biasInit?: Initialiser;
}

export interface Linear extends Module {
  /** [outFeatures, inFeatures] */
  readonly weight: Parameter;
  /** [outFeatures] */
  readonly bias?: Parameter;
}

/**
 * y = x Wᵀ + b over the last axis: [..., inFeatures] → [..., outFeatures]. Layout, names and start values are PyTorch's
 * (Kaiming uniform with a = √5 is ±1/√in). Throws ConfigError on sizes below 1, and OpError on an input that does
 * not fit.
 */
export function linear(inFeatures: number, outFeatures: number, options: LinearOptions = {}): Linear {
  const who = 'nn.linear';
  expectNumber(who, 'inFeatures', inFeatures, { min: 1, integer: true });
  expectNumber(who, 'outFeatures', outFeatures, { min: 1, integer: true });
  expectOptions(who, options, ['bias', 'weightInit', 'biasInit']);
  const bound = 1 / Math.sqrt(inFeatures);
  const standard = uniform(-bound, bound);
  const { bias: hasBias = true, weightInit = standard, biasInit = standard } = options;
  const weight = parameter(weightInit([outFeatures, inFeatures]));
  const bias = hasBias ? parameter(biasInit([outFeatures])) : undefined;
  const kind = `linear(${inFeatures}, ${outFeatures}${hasBias ? '' : ', { bias: false }'})`;

  return module(kind, bias ? { weight, bias } : { weight }, (x: Tensor) => {
    expectDType(placeOf(kind), 'input', x, 'f32');
    if (x.shape.at(-1) !== inFeatures) {
      throw new OpError(
        placeOf(kind),
        `got ${formatSpec(x)}, expected a last axis of ${inFeatures}; change inFeatures or reshape the input ` +
          '(nn.flatten() merges all axes but the batch)',
      );
    }
    const y = matmul(x, weight, { transB: true });
    return bias ? add(y, bias) : y;
  });
}
