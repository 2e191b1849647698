/** How much a backward pass has to find of its forward pass, by the graph alone. */
import { type GraphNode, sizeOf } from '@lockstep/autograd';
import type { StepGraph } from '../src/step/trace.ts';

/** What `outputs` depend on. */
function ancestors(outputs: readonly GraphNode[]): Set<GraphNode> {
  const found = new Set<GraphNode>();
  const stack = [...outputs];
  for (let node = stack.pop(); node; node = stack.pop()) {
    if (found.has(node)) continue;
    found.add(node);
    if (node.kind === 'op') stack.push(...node.inputs);
  }
  return found;
}

/** Windows on memory take none. */
function source(node: GraphNode): GraphNode {
  let found = node;
  while (found.kind === 'op' && found.op.kind === 'view') found = found.inputs[0]!;
  return found;
}

/** Bytes of a shard's forward values, and of the batch's fields, that a node of the backward pass reads. */
export function activationBytes({ sums, gradients }: StepGraph): number {
  const forward = ancestors(sums);
  const backward = [...ancestors(gradients)].filter((node) => !forward.has(node));
  const kept = new Set(
    backward
      .flatMap((node) => (node.kind === 'op' ? node.inputs : []))
      .map(source)
      .filter((node) => forward.has(node))
      .filter((node) => node.kind === 'op' || (node.kind === 'input' && node.input === 'field')),
  );
  return [...kept].reduce((bytes, { shape }) => bytes + 4 * sizeOf(shape), 0);
}
