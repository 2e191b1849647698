/** Products cut by rows, for those who want a part of the result before the rest is there. */
import { decodeValues, fixedWords } from './extents.ts';
import { instructions } from './instructions.ts';
import { ELEMENT_BYTES, type Program } from './program.ts';
import { addressWords, fieldWord } from './words.ts';

/** Rows that the kernels compute at once: pieces are multiples of them. */
const ROWS = 8;

/**
 * The program with every single matrix product that writes more than `bytes` to a region of this name cut into products of
 * that many bytes, the last rows first. An element is computed in the same order of additions: the same bits.
 */
export const splitProducts = (program: Program, region: string, bytes: number): Program => {
  const { code, starts, labels, regions } = program;
  const words: number[] = [];
  const made = { starts: [] as number[], labels: [] as string[] };
  /** By instruction: the last one that came of it. */
  const last: number[] = [];
  for (const [i, start] of starts.entries()) {
    for (const each of piecesOf(code.subarray(start, starts[i + 1] ?? code.length))) {
      made.starts.push(words.length);
      made.labels.push(labels[i]!);
      for (const word of each) words.push(word);
    }
    last.push(made.starts.length - 1);
  }
  const cuts = program.cuts.map((cut) => last[cut]!);
  return { ...program, ...made, code: Int32Array.from(words), cuts };

  function piecesOf(instruction: Int32Array): readonly Iterable<number>[] {
    const { code: matmul, fields } = instructions.matmul;
    if (instruction[0] !== matmul) return [instruction];
    const values = decodeValues(fields, instruction, 0) as Parameters<typeof instructions.matmul.extents>[0];
    const { c, a, m, n, ldc, lda, transA, batch0, batch1 } = values;
    const rows = Math.max(ROWS, Math.floor(bytes / (ldc * ELEMENT_BYTES) / ROWS) * ROWS);
    const isWhole = regions[c.region]?.name !== region || batch0 * batch1 !== 1 || rows >= m || n === 0;
    if (isWhole) return [instruction];
    const pieces = Math.ceil(m / rows);
    return Array.from({ length: pieces }, (_, piece) => {
      const from = (pieces - 1 - piece) * rows;
      const part = {
        ...values,
        m: Math.min(rows, m - from),
        c: { ...c, offset: c.offset + from * ldc * ELEMENT_BYTES },
        a: { ...a, offset: a.offset + from * (transA ? 1 : lda) * ELEMENT_BYTES },
      };
      const encoded = [matmul, fixedWords(fields)];
      for (const [name, type] of Object.entries(fields)) {
        const value = part[name as keyof typeof part];
        if (typeof value === 'object') encoded.push(...addressWords(name, value));
        else encoded.push(fieldWord(name, type === 'addr' ? 'u32' : type, value));
      }
      return encoded;
    });
  }
};
