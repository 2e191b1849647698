/** Programs for human readers. */

import {
  ELEMENTWISE,
  type Fields,
  type InstructionName,
  instructions,
} from '../instructions/instructions.ts';
import type { Address, Program } from '../instructions/program.ts';
import { bitsFloat } from '../instructions/words.ts';
import { decodeChain, decodeValues, instructionExtents, microOpOf } from './extents.ts';

const chainText = (code: Int32Array, at: number, place: (address: Address) => string): string => {
  const { dims, nReg, inputs, steps, outputs } = decodeChain(code, at);
  const slot = (s: number): string => {
    if (s < inputs.length) return `in${s}`;
    return s < inputs.length + nReg ? `r${s - inputs.length}` : `out${s - inputs.length - nReg}`;
  };
  const lines = steps.map(({ op, dst, args, imm }) => {
    const { name, arity } = microOpOf.get(op) ?? { name: `?${op}`, arity: 0 };
    return `    ${slot(dst)} = ${name}(${name === 'constant' ? bitsFloat(imm) : args.slice(0, arity).map(slot).join(', ')})`;
  });
  const ins = inputs.map(({ address, strides }) => `${place(address)}/${strides}`);
  return `[${dims}] (${ins.join(', ')}) → ${outputs.map(place).join(', ')}\n${lines.join('\n')}`;
};

/** One line per instruction (and one per step of a chain): index, label, name, operands. */
export const disassemble = ({ regions, code, starts, labels }: Program): string => {
  const place = ({ region, offset }: Address): string => `${regions[region]?.name ?? region}+${offset}`;
  const lines = starts.map((at, i) => {
    const { name } = instructionExtents(code, at);
    const head = `${i} ${labels[i]}: ${name}`;
    if (code[at] === ELEMENTWISE) return `${head} ${chainText(code, at, place)}`;
    const fields: Fields = instructions[name as InstructionName].fields;
    const values = Object.entries(decodeValues(fields, code, at)).map(
      ([field, value]) => `${field}=${typeof value === 'number' ? value : place(value)}`,
    );
    return `${head} ${values.join(' ')}`;
  });
  return lines.join('\n');
};
