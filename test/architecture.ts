/** The rules of the architecture as functions from packages to complaints: an empty list means that they hold. */
import { posix } from 'node:path';
import type { Package, SourceFile } from './workspace.ts';

/** The package names that a specifier may begin with: `@scope/name` or `name`. */
const packageOf = (specifier: string): string =>
  specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');

const isRelative = (specifier: string): boolean => /^\.{1,2}(\/|$)/.test(specifier);

/**
 * Packages depend on each other only along `allowed`, by manifest and by import alike.
 * @param allowed per package the packages that it may use; a package without an entry may use none
 */
export function forbiddenEdges(
  packages: readonly Package[],
  allowed: Readonly<Record<string, readonly string[]>>,
): string[] {
  const names = new Set(packages.map(({ name }) => name));
  return packages.flatMap(({ name, folder, dependencies, devDependencies, files }) => {
    const complain = (place: string, wanted: string) =>
      names.has(wanted) && wanted !== name && !allowed[name]?.includes(wanted)
        ? [`${folder}/${place}: ${name} must not depend on ${wanted}`]
        : [];
    return [
      ...[...dependencies, ...devDependencies].flatMap((wanted) => complain('package.json', wanted)),
      ...files.flatMap(({ path, imports }) =>
        imports.flatMap((specifier) => complain(path, packageOf(specifier))),
      ),
    ];
  });
}

/**
 * What a file imports is declared by its package. Tests and tools may also use what is there for development, and
 * their own package by its name.
 */
export function undeclaredImports(packages: readonly Package[], rootTools: readonly string[]): string[] {
  return packages.flatMap(({ name, folder, dependencies, devDependencies, files }) =>
    files.flatMap(({ path, role, imports }) => {
      const usable =
        role === 'source' ? dependencies : [name, ...dependencies, ...devDependencies, ...rootTools];
      return imports
        .filter((specifier) => !isRelative(specifier) && !specifier.startsWith('node:'))
        .filter((specifier) => !usable.includes(packageOf(specifier)))
        .map((specifier) => `${folder}/${path}: '${specifier}' is not in dependencies of its package.json`);
    }),
  );
}

/** A relative path to the test support of another package. */
const TEST_SUPPORT = /^(\.\.\/)+packages\/[^/]+\/test\/[^/]+$/;

/**
 * A package is used by its name alone: no path into it, by name or by `../`. Tests may share what stands in a package's
 * `test/`: tables of cases that several levels are held to.
 */
export function deepImports(packages: readonly Package[]): string[] {
  const names = new Set(packages.map(({ name }) => name));
  return packages.flatMap(({ folder, files }) =>
    files.flatMap(({ path, role, imports }) =>
      imports
        .filter((specifier) =>
          isRelative(specifier)
            ? posix.join(posix.dirname(path), specifier).startsWith('..') &&
              !(role === 'test' && TEST_SUPPORT.test(specifier))
            : names.has(packageOf(specifier)) && specifier !== packageOf(specifier),
        )
        .map((specifier) => `${folder}/${path}: '${specifier}' reaches into another package`),
    ),
  );
}

/** Packages whose manifests lead back to themselves, as `a → b → a`. */
export function packageCycles(packages: readonly Package[]): string[] {
  const edges = new Map(
    packages.map(({ name, dependencies, devDependencies }) => [name, [...dependencies, ...devDependencies]]),
  );
  return cycles(edges);
}

/** Files of one package that import each other in a circle when they run. Types may: they have no order of loading. */
export function fileCycles({ folder, files }: Package): string[] {
  const edges = new Map(files.map((file) => [file.path, localImports(file)]));
  return cycles(edges).map((cycle) => `${folder}: ${cycle}`);
}

/** The most files that may lie side by side in one folder of a package's sources. */
const MAX_FILES_IN_ROOM = 20;

/** Folders of a package's sources with too many files side by side, tests included. */
export function crowdedRooms({ folder, files }: Package): string[] {
  const rooms = new Map<string, number>();
  for (const { path } of files.filter(({ path }) => path.startsWith('src/'))) {
    rooms.set(posix.dirname(path), (rooms.get(posix.dirname(path)) ?? 0) + 1);
  }
  return [...rooms]
    .filter(([, count]) => count > MAX_FILES_IN_ROOM)
    .map(([room, count]) => `${folder}/${room}: ${count} files, at most ${MAX_FILES_IN_ROOM}`);
}

/**
 * Folders of one package that import each other in a circle, types included: rooms have one order. Tests are free, and so
 * is the package's list of names.
 */
export function roomCycles({ folder, files }: Package): string[] {
  const edges = new Map<string, string[]>();
  for (const { path, role, imports } of files) {
    if (role !== 'source' || path === 'src/index.ts') continue;
    const room = posix.dirname(path);
    const others = imports
      .filter(isRelative)
      .map((specifier) => posix.dirname(posix.join(room, specifier)))
      .filter((other) => other !== room);
    edges.set(room, [...new Set([...(edges.get(room) ?? []), ...others])]);
  }
  return cycles(edges).map((cycle) => `${folder}: ${cycle}`);
}

const localImports = ({ path, runtimeImports }: SourceFile): string[] =>
  runtimeImports.filter(isRelative).map((specifier) => posix.join(posix.dirname(path), specifier));

/** Depth-first search: an edge to a node that is still open closes a cycle. Each such edge is told once. */
function cycles(edges: ReadonlyMap<string, readonly string[]>): string[] {
  const found: string[] = [];
  const done = new Set<string>();
  const visit = (node: string, open: readonly string[]): void => {
    const at = open.indexOf(node);
    if (at >= 0) found.push([...open.slice(at), node].join(' → '));
    if (at >= 0 || done.has(node)) return;
    for (const next of edges.get(node) ?? []) visit(next, [...open, node]);
    done.add(node);
  };
  for (const node of edges.keys()) visit(node, []);
  return found;
}
