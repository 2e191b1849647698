/** Programs of Lockstep's own, written in tensor ops: updates, sums, what nodes are tried with. */
import { type GraphNode, type InputNode, type Tensor, Trace, withTrace } from '@lockstep/autograd';
import { type CompileOptions, compile, type InputBinding, type Place } from '@lockstep/compiler';
import { ELEMENT_BYTES, type Program } from '@lockstep/kernels';

export const at = (region: string, element = 0): Place => ({ region, offset: element * ELEMENT_BYTES });

/** Traces a function of inputs that lie in memory, and compiles it. */
export class MemoryProgram {
  readonly #trace = new Trace();
  readonly #places = new Map<GraphNode, Place>();

  input(place: Place, size: number): Tensor {
    const tensor = this.#trace.input('scalar', place.region, { shape: [size], dtype: 'f32' });
    this.#places.set(this.#trace.nodeOf(tensor), place);
    return tensor;
  }

  compile(
    body: () => readonly (readonly [Tensor, Place])[],
    options: Partial<Pick<CompileOptions, 'journal' | 'guard'>> = {},
  ): Program {
    const outputs = withTrace(this.#trace, body).map(([tensor, place]) => ({
      node: this.#trace.nodeOf(tensor),
      place,
      reduce: 'none' as const,
    }));
    const bind = (node: InputNode): InputBinding => ({ kind: 'memory', ...this.#places.get(node)! });
    return compile({ segments: 1, outputs, bind, ...options }).program;
  }
}
