/** Compares gradients with central differences, in float64. */
import { tensor } from '../core/apply.ts';
import { withPrecision } from '../core/context.ts';
import { expectArray, expectTensors } from '../core/shape.ts';
import type { Tensor, TensorData } from '../core/tensor.ts';
import { gradients, variable } from './gradients.ts';

export interface CheckOptions {
  /** Step of the difference. Default 1e-5. */
  readonly epsilon?: number;
  /** Largest |analytic − numeric| / max(1, |numeric|). Default 1e-6. */
  readonly tolerance?: number;
}

export interface CheckResult {
  readonly ok: boolean;
  /** Largest relative error, and where it is. */
  readonly error: number;
  readonly input: number;
  readonly element: number;
  readonly analytic: number;
  readonly numeric: number;
}

/**
 * Checks ∂f/∂xᵢ of a scalar function at the given f32 inputs against (f(x + ε) − f(x − ε)) / 2ε. Everything runs in
 * float64 on a reference interpreter, so that the differences are exact to about 1e-9; slow, for tests. Inputs of
 * other types stay fixed.
 */
export function checkGradients(
  f: (...inputs: Tensor[]) => Tensor,
  inputs: readonly Tensor[],
  { epsilon = 1e-5, tolerance = 1e-6 }: CheckOptions = {},
): CheckResult {
  expectArray('checkGradients', 'inputs', inputs);
  expectTensors('checkGradients', ...inputs);
  return withPrecision('float64', () => {
    const values = inputs.map((x) => (x.dtype === 'f32' ? Float64Array.from(x.data()) : x.data()));
    const at = (index: number, data: TensorData): Tensor => {
      const { shape, dtype } = inputs[index]!;
      return tensor(data, { shape, dtype });
    };
    const variables = values.map((data, i) =>
      inputs[i]!.dtype === 'f32' ? variable(at(i, data)) : at(i, data),
    );
    const sources = variables.filter((x) => x.requiresGrad);
    const analytic = gradients(f(...variables), sources);

    let worst: CheckResult = { ok: true, error: 0, input: 0, element: 0, analytic: 0, numeric: 0 };
    sources.forEach((source, s) => {
      const input = variables.indexOf(source);
      const evaluate = (element: number, delta: number): number => {
        const moved = Float64Array.from(values[input]!);
        moved[element] = moved[element]! + delta;
        return f(...values.map((data, i) => at(i, i === input ? moved : data))).item();
      };
      for (let element = 0; element < source.size; element++) {
        const numeric = (evaluate(element, epsilon) - evaluate(element, -epsilon)) / (2 * epsilon);
        const found = analytic[s]!.data()[element]!;
        const error = Math.abs(found - numeric) / Math.max(1, Math.abs(numeric));
        // A NaN is the worst error and stays it.
        if (!(error <= worst.error) && !Number.isNaN(worst.error))
          worst = { ok: error <= tolerance, error, input, element, analytic: found, numeric };
      }
    });
    return worst;
  });
}
