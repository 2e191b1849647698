export interface SumMetric {
  readonly name: string;
  readonly size: number;
  measure(
    prediction: import('@lockstep/autograd').Tensor,
    target: import('@lockstep/autograd').Tensor,
  ): import('@lockstep/autograd').Tensor;
  compute(sums: readonly number[]): number;
}
