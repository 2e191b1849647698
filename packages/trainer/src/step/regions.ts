/**
 * What a program may do with each of its regions, by the region's name: the one table that access follows from. `addRegion` and
 * the compiler say what a program does; this says what it may, and a program that comes over the wire claims what it likes.
 */
import { instructionExtents, type Program, type Region } from '@lockstep/kernels';

/**
 * `wire`: a unit's program on a node, which a coordinator sent. `unit`: the same and forward passes where they were compiled.
 * `own`: updates, sums and the like, which never travel.
 */
export type ProgramKind = 'wire' | 'unit' | 'own';

interface Rights {
  readonly wire?: Region['access'];
  readonly unit?: Region['access'];
  readonly own?: Region['access'];
  /** Other threads change it while programs run: nothing that selects memory may be read from it. */
  readonly changes?: true;
}

const READ = { wire: 'read', unit: 'read', own: 'read' } as const;
const WRITE = { wire: 'write', unit: 'write', own: 'write' } as const;

/** By name, or by the first word of names that go on: `data x`, `slot momentum`, `gradient 3`. */
const rights: ReadonlyMap<string, Rights> = new Map<string, Rights>([
  // A worker's own.
  ['arena', WRITE],
  ['scratch', WRITE],
  ['journal scratch', { own: 'write' }],
  // Shared by all workers of a process: a unit's program only reads them.
  ['constants', READ],
  ['record', READ],
  ['unit', READ],
  ['index', READ],
  ['data *', { wire: 'read', unit: 'read' }],
  ['weights', { wire: 'read', unit: 'read', own: 'write', changes: true }],
  ['buffers', { wire: 'read', unit: 'read', own: 'write', changes: true }],
  // A unit's results.
  ['sums', { wire: 'write', unit: 'write' }],
  ['statistics', { wire: 'write', unit: 'write' }],
  ['gradient', { wire: 'write', unit: 'write' }],
  ['prediction', { unit: 'write' }],
  // Whether the run goes on.
  ['halt', { unit: 'write', own: 'write' }],
  ['journals', { unit: 'read' }],
  // What follows units: an update owns its slice.
  ['journal', { own: 'write' }],
  ['all sums', { own: 'read' }],
  ['unit *', { own: 'read' }],
  ['sums *', { own: 'read' }],
  ['statistics *', { own: 'read' }],
  ['gradient *', { own: 'read' }],
  ['slot *', { own: 'write' }],
  ['total', { own: 'write' }],
  ['squares', { own: 'read' }],
  ['vector', { own: 'write' }],
  ['vector squares', { own: 'write' }],
  ['measured', { own: 'write' }],
  ['weight squares', { own: 'read' }],
  ['measured squares', { own: 'read' }],
  ['result', { own: 'write' }],
]);

const rightsOf = (name: string): Rights | undefined =>
  rights.get(name) ?? rights.get(name.replace(/ .*/s, ' *'));

/**
 * Refuses a program with a region that programs of its kind do not have, that claims more than reading where it may only
 * read, or that takes indexes from memory which changes while it runs. Throws an Error that names the region.
 */
export function checkRegions({ regions, code, starts }: Program, kind: ProgramKind): void {
  for (const { name, access } of regions) {
    const right = rightsOf(name)?.[kind];
    if (right === undefined) throw new Error(`program: got a region '${name}', expected none of this name`);
    if (access === 'write' && right === 'read') {
      throw new Error(`program: region '${name}' is writable, expected it to be read-only`);
    }
  }
  if (kind !== 'wire') return;
  for (const start of starts) {
    for (const { what, address, holds } of instructionExtents(code, start).extents) {
      const { name } = regions[address.region]!;
      if (holds === 'indexes' && rightsOf(name)?.changes) {
        throw new Error(
          `program: ${what} lies in region '${name}', expected indexes in memory that stays as it is`,
        );
      }
    }
  }
}
