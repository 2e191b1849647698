/**
 * Writes dist/opcodes.h, what the C side knows of the instruction set: operands as structs, and the lists that prototypes and
 * dispatch are made of. It follows from `src/instructions/`, which is compiled to dist before the kernels are.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const dist = fileURLToPath(new URL('../dist/', import.meta.url));
const { ELEMENTWISE, elementwiseHeader, instructions } = await import(`${dist}instructions/instructions.js`);
const { microOps } = await import(`${dist}instructions/microops.js`);

const types = { addr: 'Address', u32: 'uint32_t', i32: 'int32_t', f32: 'float' };

/** `n0`, `n1`, … `n7` of one type in a row are an array `n[8]`. */
const members = (fields) => {
  const found = [];
  for (const [name, type] of Object.entries(fields)) {
    const [, stem, digit] = /^(\w*?[A-Za-z])(\d)$/.exec(name) ?? [];
    const last = found.at(-1);
    if (
      digit &&
      Number(digit) > 0 &&
      last?.stem === stem &&
      last.type === type &&
      last.count === Number(digit)
    )
      last.count++;
    else found.push({ name, stem, type, count: digit === '0' ? 1 : 0 });
  }
  return found.map(
    ({ name, stem, type, count }) => `${types[type]} ${count > 1 ? `${stem}[${count}]` : name};`,
  );
};

const words = (fields) => Object.values(fields).reduce((sum, type) => sum + (type === 'addr' ? 2 : 1), 2);

const struct = (name, fields) =>
  [
    'typedef struct __attribute__((may_alias)) {',
    '  uint32_t opcode, words;',
    ...members(fields).map((line) => `  ${line}`),
    `} Op_${name};`,
    `_Static_assert(sizeof(Op_${name}) == ${4 * words(fields)}, "the words of ${name}");`,
  ].join('\n');

const list = (macro, entries) =>
  `#define ${macro}(X) ${entries.map(([name, code]) => `X(${name}, ${code})`).join(' ')}`;

const all = Object.entries(instructions);
const text = `/* Made from src/instructions by scripts/generate-opcodes.mjs. */
#ifndef LS_OPCODES_H
#define LS_OPCODES_H

#include <stdint.h>

/** A region and a byte offset. */
typedef struct {
  uint32_t region, offset;
} Address;

/* The operands of each instruction, under their names. Words of a program: they may be read as any type. */

${[struct('elementwise', elementwiseHeader), ...all.map(([name, { fields }]) => struct(name, fields))].join('\n\n')}

/** Every kernel: X(name, opcode). */
${list('LS_KERNELS', [['elementwise', ELEMENTWISE], ...all.filter(([, each]) => !each.control).map(([name, { code }]) => [name, code])])}
/** What the executor does itself. */
enum { ${all
  .filter(([, each]) => each.control)
  .map(([name, { code }]) => `OP_${name} = ${code}`)
  .join(', ')} };

/** Micro-ops of elementwise chains. */
enum {
${Object.entries(microOps)
  .map(([name, { code }]) => `  MICRO_${name} = ${code},`)
  .join('\n')}
};

#endif
`;
const path = `${dist}opcodes.h`;
if (!existsSync(path) || readFileSync(path, 'utf8') !== text) writeFileSync(path, text);
