/** Writes programs: encodes kernel calls, keeps regions large enough for them, labels what comes from where. */

import {
  elementwiseScratchBytes,
  type Fields,
  type InstructionName,
  type InstructionValues,
  instructions,
} from '../instructions/instructions.ts';
import type { Address, Program, Region } from '../instructions/program.ts';
import { addressWords, fieldWord } from '../instructions/words.ts';
import { type Chain, encodeChain } from './chain.ts';
import { fixedWords, instructionExtents } from './extents.ts';
import { validateProgram } from './validate.ts';

export class ProgramBuilder {
  readonly #regions: { name: string; bytes: number; access: Region['access'] }[] = [];
  readonly #words: number[] = [];
  readonly #starts: number[] = [];
  readonly #labels: string[] = [];
  readonly #cuts: number[] = [];
  #label = '';

  /** A new region, at first of no size; `call` and `elementwise` let it grow to what they touch. Gives its index. */
  addRegion(name: string, access: Region['access']): number {
    return this.#regions.push({ name, bytes: 0, access }) - 1;
  }

  /** Lets a region have at least this many bytes. */
  reserve(region: number, bytes: number): void {
    const found = this.#regions[region];
    if (!found) throw new Error(`ProgramBuilder: no region ${region} among ${this.#regions.length}`);
    found.bytes = Math.max(found.bytes, bytes);
  }

  /** The label of the instructions from here on: where they come from in the user's model. */
  setLabel(text: string): void {
    this.#label = text;
  }

  /** Appends a kernel call. Throws an Error if a value has no meaning there. */
  call<N extends InstructionName>(name: N, values: InstructionValues<N>): void {
    const { code, fields } = instructions[name] as { code: number; fields: Fields };
    const words = [code, fixedWords(fields)];
    for (const [field, type] of Object.entries(fields)) {
      const value = (values as Record<string, Address | number>)[field];
      const what = `${name}: ${field}`;
      if (type === 'addr') words.push(...addressWords(what, value as Address));
      else words.push(fieldWord(what, type, value as number));
    }
    this.#append(words);
  }

  /** Appends an elementwise chain; gives the bytes of scratch that it needs (and reserves them). */
  elementwise(chain: Chain): number {
    const { words, slots } = encodeChain(chain);
    this.#append(words);
    return elementwiseScratchBytes(slots);
  }

  /** An output (a gradient bucket) is complete after the last instruction. */
  cut(): void {
    const last = this.#starts.length - 1;
    if (last >= 0 && this.#cuts.at(-1) !== last) this.#cuts.push(last);
  }

  /** The program. Throws an Error if it is not valid, for example if it writes to a read-only region. */
  build(): Program {
    const program: Program = {
      version: 1,
      regions: this.#regions.map((region) => ({ ...region })),
      code: Int32Array.from(this.#words),
      starts: [...this.#starts],
      labels: [...this.#labels],
      cuts: [...this.#cuts],
    };
    validateProgram(program);
    return program;
  }

  #append(words: readonly number[]): void {
    try {
      const { addresses, extents } = instructionExtents(Int32Array.from(words), 0);
      for (const [, { region, offset }] of addresses) this.reserve(region, offset);
      for (const { address, bytes } of extents) this.reserve(address.region, address.offset + bytes);
    } catch (error) {
      throw new Error(
        `ProgramBuilder: ${this.#label}: ${error instanceof Error ? error.message : String(error)}`,
      );
    }
    this.#starts.push(this.#words.length);
    this.#labels.push(this.#label);
    for (const word of words) this.#words.push(word);
  }
}
