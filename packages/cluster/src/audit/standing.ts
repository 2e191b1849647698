/**
 * What is known of the nodes of a run: since when a node's contributions are in doubt, who is refused, and whose units are all
 * computed a second time. Nodes are told by the id of their process.
 *
 * Note [Doubt]: a node that is found lying may have lied since its last unit that was computed a second time and agreed. All
 * batches from the first contribution after that are computed again. So the newest checkpoint before that batch has to stay,
 * for each node.
 */

/** Nodes that are gone, and whose contributions are still remembered. */
const MAX_REMEMBERED = 1024;

export class Standing {
  /** By id: the oldest batch whose contributions are in doubt; undefined: none is. */
  readonly #since = new Map<string, number | undefined>();
  readonly #refused = new Set<string>();
  readonly #suspects = new Set<string>();
  /** Those who had contributed when somebody was first refused: from then on the token alone earns no trust. */
  #known: ReadonlySet<string> | undefined;

  /** A batch is over: of the units that a node contributed, all, some or none were computed a second time. */
  contributed(id: string, batch: number, audited: 'all' | 'some' | 'none'): void {
    const before = this.#since.get(id);
    // In order of the last contribution.
    this.#since.delete(id);
    this.#since.set(id, audited === 'all' ? undefined : audited === 'some' ? batch : (before ?? batch));
    if (this.#since.size <= MAX_REMEMBERED) return;
    for (const oldest of this.#since.keys()) {
      this.#since.delete(oldest);
      break;
    }
  }

  /** The oldest batch that is in doubt because of this node. */
  since(id: string): number | undefined {
    return this.#since.get(id);
  }

  /** The batches to which the run may have to go back, oldest first. */
  doubts(): number[] {
    const all = [...this.#since.values()].filter((batch) => batch !== undefined);
    return [...new Set(all)].sort((a, b) => a - b);
  }

  /** Batches from this one on are computed again. */
  rewound(batch: number): void {
    for (const [id, since] of this.#since) {
      if (since !== undefined && since >= batch) this.#since.set(id, undefined);
    }
  }

  refuse(id: string): void {
    this.#known ??= new Set(this.#since.keys());
    this.#refused.add(id);
    this.#since.delete(id);
  }

  isRefused(id: string): boolean {
    return this.#refused.has(id);
  }

  suspect(id: string): void {
    this.#suspects.add(id);
  }

  /** Whether all of its units are computed a second time. */
  isSuspect(id: string): boolean {
    return this.#suspects.has(id) || (this.#known !== undefined && !this.#known.has(id));
  }
}
