/** The printout: each number by hand beside the same by Lockstep. */
import type { Activations, Deltas, Vector, Weights } from './byHand.ts';

/** Keeps the largest difference of what it is shown. */
export class Comparison {
  largest = 0;

  line(label: string, byHand: number, byLockstep: number, note = ''): void {
    this.largest = Math.max(this.largest, Math.abs(byHand - byLockstep));
    console.log(`  ${label.padEnd(36)}${fixed(byHand)}${fixed(byLockstep)}${note && `   ${note}`}`);
  }

  /** One line per unit; `{}` in the label is its number, from 1. */
  lines(label: string, byHand: Vector, byLockstep: Vector): void {
    byHand.forEach((value, i) => {
      this.line(label.replaceAll('{}', String(i + 1)), value, byLockstep[i]!);
    });
  }
}

const fixed = (value: number): string => value.toFixed(8).padStart(14);

export const heading = (text: string, ...columns: string[]): void =>
  console.log(`\n${text.padEnd(38)}${columns.map((column) => column.padStart(14)).join('')}`);

export const tuple = (values: Vector): string => `(${values.join(', ')})`;

export function showPattern(
  comparison: Comparison,
  title: string,
  hand: Activations & { deltas: Deltas },
  lockstep: Activations & { deltas: Deltas },
): void {
  heading(title, 'by hand', 'autograd');
  console.log(' forward');
  comparison.lines('a{} = Σi W{}i xi + b{}', hand.a, lockstep.a);
  comparison.lines('h{} = σ(a{})', hand.h, lockstep.h);
  comparison.lines('z{} = Σj V{}j hj + c{}', hand.z, lockstep.z);
  comparison.lines('o{} = σ(z{})', hand.o, lockstep.o);
  console.log(' error');
  comparison.line('E = ½ Σk (ok − tk)²', hand.error, lockstep.error);
  console.log(' backward');
  comparison.lines('δo{} = (o{} − t{}) o{} (1 − o{})', hand.deltas.output, lockstep.deltas.output);
  comparison.lines('δh{} = h{} (1 − h{}) Σk Vk{} δok', hand.deltas.hidden, lockstep.deltas.hidden);
}

/** The mean gradient of each weight, and what the update makes of the weight. */
export function showGradient(
  comparison: Comparison,
  hand: Weights,
  lockstep: Weights,
  before: Weights,
  after: Weights,
): void {
  const line = (label: string, pick: (weights: Weights) => number): void =>
    comparison.line(
      label,
      pick(hand),
      pick(lockstep),
      `${pick(before).toFixed(4)} → ${pick(after).toFixed(4)}`,
    );
  const layer = (matrix: 'W' | 'V', bias: 'b' | 'c', delta: string, from: string): void =>
    hand[matrix].forEach((row, j) => {
      row.forEach((_, i) => {
        const [to, source] = [j + 1, i + 1];
        line(
          `∂E/∂${matrix}${to},${source} = mean ${delta}${to} ${from}${source}`,
          (weights) => weights[matrix][j]![i]!,
        );
      });
      line(`∂E/∂${bias}${j + 1} = mean ${delta}${j + 1}`, (weights) => weights[bias][j]!);
    });
  layer('V', 'c', 'δo', 'h');
  layer('W', 'b', 'δh', 'x');
}
