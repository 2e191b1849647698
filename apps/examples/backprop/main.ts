/** Back-propagation step by step, by hand beside Lockstep's autograd, and then to the end: see README.md. */
import { stateOf, train } from 'lockstep';
import { endWith, readOptions } from '../options.ts';
import * as byHand from './byHand.ts';
import * as byLockstep from './byLockstep.ts';
import { Comparison, heading, showGradient, showPattern, tuple } from './print.ts';
import { type Task, tasks } from './tasks.ts';

// 0: what the task suggests.
const given = readOptions({ task: 'xor', hidden: 0, lr: 0, epochs: 0, seed: 1, show: 2 });
const task: Task =
  tasks[given.task] ?? endWith(`--task: got ${given.task}, expected ${Object.keys(tasks).join(', ')}`);
const { inputs, targets } = task;
const options: byLockstep.Options = {
  hidden: given.hidden || task.hidden,
  lr: given.lr || task.lr,
  epochs: given.epochs || task.epochs,
  seed: given.seed,
};

const model = byLockstep.start(task, options);
const initial = byLockstep.weightsOf(model);
const sizes = [inputs[0]!.length, options.hidden, targets[0]!.length].join('-');
console.log(`${given.task}: ${task.about}`);
console.log(`a ${sizes} network, learning rate η = ${options.lr}, weights drawn by seed ${options.seed}`);

showFirstStep();
const trained = await trainBoth();
showOutcome(trained.hand, trained.lockstep);

/** Forward, error, backward, update: once, with every number. */
function showFirstStep(): void {
  const comparison = new Comparison();
  inputs.slice(0, given.show).forEach((x, p) => {
    const t = targets[p]!;
    const hand = byHand.forward(initial, x, t);
    const title = `pattern ${p + 1} of ${inputs.length}: x = ${tuple(x)}, t = ${tuple(t)}`;
    showPattern(
      comparison,
      title,
      { ...hand, deltas: byHand.backward(initial, hand, t) },
      byLockstep.look(model, x, t),
    );
  });
  const hand = byHand.meanGradient(initial, inputs, targets);
  const lockstep = byLockstep.meanGradient(model, inputs, targets);
  const updated = byHand.update(initial, hand.gradient, options.lr);
  heading(`update over all ${inputs.length} patterns`, 'by hand', 'autograd', '   w → w − η ∂E/∂w');
  comparison.line('E, mean', hand.error, lockstep.error);
  showGradient(comparison, hand.gradient, lockstep.gradient, initial, updated);
  console.log(`\nlargest difference between by hand and autograd: ${comparison.largest.toExponential(1)}`);
}

/** All epochs twice: in plain TypeScript (float64), and compiled by Lockstep (float32). */
async function trainBoth(): Promise<{ hand: byHand.Weights; lockstep: byHand.Weights }> {
  const errors: number[] = [];
  const result = await train(byLockstep.definition(task, options), {
    initialWeights: stateOf(model),
    on: { epoch: ({ loss }) => errors.push(loss) },
  });
  heading('E before the update of', 'by hand', 'train()');
  const comparison = new Comparison();
  let hand = initial;
  for (let epoch = 1; epoch <= options.epochs; epoch++) {
    const { error, gradient } = byHand.meanGradient(hand, inputs, targets);
    if (isShown(epoch)) comparison.line(`epoch ${epoch}`, error, errors[epoch - 1]!);
    hand = byHand.update(hand, gradient, options.lr);
  }
  return { hand, lockstep: byLockstep.weightsOf(result.model) };
}

/** 1, 2, 5, 10, 20, 50, … and the last. */
function isShown(epoch: number): boolean {
  return /^[125]0*$/.test(String(epoch)) || epoch === options.epochs;
}

function showOutcome(hand: byHand.Weights, lockstep: byHand.Weights): void {
  heading('after training: x → t', 'o by hand', 'o by train()', '   h by train()');
  const comparison = new Comparison();
  let right = 0;
  inputs.forEach((x, p) => {
    const t = targets[p]!;
    const mine = byHand.forward(hand, x, t);
    const theirs = byHand.forward(lockstep, x, t);
    t.forEach((wanted, k) => {
      // Of a pattern with many outputs only the one that should be 1.
      if (t.length > 1 && wanted === 0) return;
      const label = t.length === 1 ? `${tuple(x)} → ${wanted}` : `pattern ${p + 1} → o${k + 1} = ${wanted}`;
      comparison.line(label, mine.o[k]!, theirs.o[k]!, theirs.h.map((value) => value.toFixed(2)).join(' '));
    });
    if (t.every((wanted, k) => Math.round(theirs.o[k]!) === wanted)) right++;
  });
  console.log(`\nlearned ${right} of ${inputs.length} patterns (every output on the right side of ½)`);
}
