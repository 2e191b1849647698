/** What is published: the models, in pieces, and what each node was sent of them. Sends nothing itself. */

import { InvariantError } from '../reduce/bucketLedger.ts';

/** A bucket of models. One that does not change is the same piece in one model after the other. */
interface Piece {
  readonly values: Float32Array;
}

/** With the nodes that it was sent to. */
interface SentPiece<Node> extends Piece {
  readonly nodes: Set<Node>;
}

/** What one node was sent. */
export class Copies {
  /** The newest model of which it was sent something, and what. */
  #step = -1;
  #sent = new Set<number>();
  /** By bucket: the piece that it was last sent. */
  readonly #has: Piece[] = [];

  /** Notes that it gets a bucket of the model before `step`; false: it has got it. */
  add(step: number, bucket: number, piece: Piece): boolean {
    if (!this.#isFirst(step, bucket)) return false;
    this.#has[bucket] = piece;
    return true;
  }

  /** Notes that it goes on with the pieces that it has, from a bucket on; false: they are others. */
  keep(step: number, from: number, pieces: readonly Piece[]): boolean {
    if (!pieces.every((piece, i) => this.#has[from + i] === piece)) return false;
    for (let i = 0; i < pieces.length; i++) this.#isFirst(step, from + i);
    return true;
  }

  #isFirst(step: number, bucket: number): boolean {
    if (this.#step !== step) {
      this.#step = step;
      this.#sent = new Set();
    }
    if (this.#sent.has(bucket)) return false;
    this.#sent.add(bucket);
    return true;
  }
}

/** A node to which models go. */
interface Receiver {
  readonly copies: Copies;
}

export interface PublishedOptions<Node extends Receiver> {
  /** Of a model. */
  readonly buckets: number;
  /** The model that the run begins or goes on with, by bucket. Asked for once, when it is first needed. */
  readonly first: () => readonly Float32Array[];
  /** A node lacks a bucket of the model before `step`, */
  readonly send: (node: Node, step: number, bucket: number, values: Float32Array) => void;
  /** or has buckets [from, to) of it already, and is to hear that. */
  readonly kept: (node: Node, step: number, from: number, to: number) => void;
}

export class Published<Node extends Receiver> {
  readonly #options: PublishedOptions<Node>;
  /** The model before the step under way, and what there is of the next one. Who joins in between needs the former. */
  readonly #models: { readonly step: number; readonly buckets: (SentPiece<Node> | undefined)[] }[] = [];

  constructor(options: PublishedOptions<Node>) {
    this.#options = options;
  }

  /** Buckets of the model before `step`, as far as there are any. */
  model(step: number): Float32Array[] {
    return this.#modelOf(step).flatMap((piece) => (piece ? [piece.values] : []));
  }

  /**
   * A bucket of the model before `step` is as it will be, and goes to these nodes. It must not change. Throws an InvariantError
   * where it was published before.
   */
  publish(step: number, bucket: number, values: Float32Array, nodes: Iterable<Node>): void {
    const piece = { values, nodes: new Set<Node>() };
    this.#place(step, bucket, piece);
    for (const node of nodes) this.#send(node, step, bucket, piece);
  }

  /**
   * Buckets [from, to) of the model before `step` are those of the model before it: who has them is not sent them again.
   * Throws an InvariantError where one of them was published before, or is missing in the model before.
   */
  keep(step: number, from: number, to: number, nodes: Iterable<Node>): void {
    const kept = Array.from({ length: to - from }, (_, i) => this.#pieceOf(step - 1, from + i));
    for (const [i, piece] of kept.entries()) this.#place(step, from + i, piece);
    for (const node of nodes) {
      if (node.copies.keep(step, from, kept)) this.#options.kept(node, step, from, to);
      else for (const [i, piece] of kept.entries()) this.#send(node, step, from + i, piece);
    }
  }

  /** Throws an InvariantError unless all of the model before `step` is published. */
  checkAll(step: number): void {
    for (let bucket = 0; bucket < this.#options.buckets; bucket++) this.#pieceOf(step, bucket);
  }

  /** Sends what a node lacks of the model before `step`. */
  complete(step: number, node: Node): void {
    for (const [bucket, piece] of this.#modelOf(step).entries()) {
      if (piece !== undefined) this.#send(node, step, bucket, piece);
    }
  }

  /**
   * Nobody needs the model before `step` any more. Gives its buckets that are in no other one, and the nodes to which one of
   * these was sent: it may not have left yet.
   */
  forget(step: number): { readonly buckets: Float32Array[]; readonly nodes: ReadonlySet<Node> } {
    const place = this.#models.findIndex((each) => each.step === step);
    const [old] = place < 0 ? [] : this.#models.splice(place, 1);
    const used = new Set(this.#models.flatMap(({ buckets }) => buckets));
    const pieces = (old?.buckets ?? []).filter((piece) => piece !== undefined && !used.has(piece));
    const nodes = new Set<Node>();
    for (const piece of pieces) for (const node of piece?.nodes ?? []) nodes.add(node);
    return { buckets: pieces.flatMap((piece) => piece?.values ?? []), nodes };
  }

  #pieceOf(step: number, bucket: number): SentPiece<Node> {
    const piece = this.#modelOf(step)[bucket];
    if (piece !== undefined) return piece;
    throw new InvariantError(
      `bucket ${bucket} of the model before step ${step} is not published, expected it by now`,
    );
  }

  #place(step: number, bucket: number, piece: SentPiece<Node>): void {
    const model = this.#modelOf(step);
    if (model[bucket] !== undefined) {
      throw new InvariantError(
        `bucket ${bucket} of the model before step ${step} is published a second time`,
      );
    }
    model[bucket] = piece;
  }

  #send(node: Node, step: number, bucket: number, piece: SentPiece<Node>): void {
    if (!node.copies.add(step, bucket, piece)) return;
    piece.nodes.add(node);
    this.#options.send(node, step, bucket, piece.values);
  }

  #modelOf(step: number): (SentPiece<Node> | undefined)[] {
    const known = this.#models.find((each) => each.step === step);
    if (known !== undefined) return known.buckets;
    const first = this.#models.length === 0 ? this.#options.first() : [];
    const buckets: (SentPiece<Node> | undefined)[] = first.map((values) => ({ values, nodes: new Set() }));
    this.#models.push({ step, buckets });
    return buckets;
  }
}
