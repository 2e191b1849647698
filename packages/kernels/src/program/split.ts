/** Products cut in pieces, for those who want a part of the result before all of it is there, or of the operands. */

import { instructions } from '../instructions/instructions.ts';
import { ELEMENT_BYTES, type Program } from '../instructions/program.ts';
import { addressWords, fieldWord } from '../instructions/words.ts';
import { decodeValues, fixedWords } from './extents.ts';

export interface ProductPieces {
  /** The products to cut: those that write to a region of this name, or read its rows as the columns of B (a linear layer). */
  readonly region: string;
  readonly access: 'write' | 'read';
  /** Of the region, for each piece. */
  readonly bytes: number;
}

/** What a kernel computes at once, at most: pieces are multiples of them. */
const ROWS = 8;
const COLUMNS = 32;

type Product = Parameters<typeof instructions.matmul.extents>[0];

/**
 * The program with every single matrix product that touches more of a region than a piece cut into such pieces, the last rows
 * of the region first. An element is computed in the same order of additions: the same bits.
 */
export const splitProducts = (program: Program, pieces: ProductPieces): Program => {
  const { code, starts, labels, regions } = program;
  const cut = pieces.access === 'write' ? rowsOf : columnsOf;
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
    const product = decodeValues(fields, instruction, 0) as Product;
    const isSingle = product.batch0 * product.batch1 === 1 && product.n > 0;
    const region = regions[(pieces.access === 'write' ? product.c : product.b).region]?.name;
    const parts = isSingle && region === pieces.region ? cut(product, pieces.bytes) : [];
    return parts.length > 1 ? parts.map(encode) : [instruction];
  }
};

const encode = (product: Product): number[] => {
  const { code, fields } = instructions.matmul;
  const words = [code, fixedWords(fields)];
  for (const [name, type] of Object.entries(fields)) {
    const value = product[name as keyof Product];
    if (typeof value === 'object') words.push(...addressWords(name, value));
    else words.push(fieldWord(name, type === 'addr' ? 'u32' : type, value));
  }
  return words;
};

/** Starts of the pieces that `total` is cut into, the last first. */
const startsOf = (total: number, size: number): number[] =>
  Array.from({ length: Math.ceil(total / size) }, (_, i) => i * size).reverse();

const atLeast = (unit: number, size: number): number => Math.max(unit, Math.floor(size / unit) * unit);

function rowsOf(product: Product, bytes: number): Product[] {
  const { c, a, m, ldc, lda, transA } = product;
  const size = atLeast(ROWS, bytes / (ldc * ELEMENT_BYTES));
  return startsOf(m, size).map((from) => ({
    ...product,
    m: Math.min(size, m - from),
    c: { ...c, offset: c.offset + from * ldc * ELEMENT_BYTES },
    a: { ...a, offset: a.offset + from * (transA ? 1 : lda) * ELEMENT_BYTES },
  }));
}

/** A that is transposed would be packed again for each piece. */
function columnsOf(product: Product, bytes: number): Product[] {
  const { c, b, n, ldb, transA, transB } = product;
  if (!transB || transA) return [];
  const size = atLeast(COLUMNS, bytes / (ldb * ELEMENT_BYTES));
  return startsOf(n, size).map((from) => ({
    ...product,
    n: Math.min(size, n - from),
    c: { ...c, offset: c.offset + from * ELEMENT_BYTES },
    b: { ...b, offset: b.offset + from * ldb * ELEMENT_BYTES },
  }));
}
