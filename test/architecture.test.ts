import { describe, expect, test } from 'vitest';
import {
  crowdedRooms,
  deepImports,
  fileCycles,
  forbiddenEdges,
  packageCycles,
  roomCycles,
  undeclaredImports,
} from './architecture.ts';
import { importsOf, type Package, readRootTools, readWorkspace } from './workspace.ts';

const kernels = '@lockstep/kernels';
const autograd = '@lockstep/autograd';
const compiler = '@lockstep/compiler';
const nn = '@lockstep/nn';
const data = '@lockstep/data';
const protocol = '@lockstep/protocol';
const sync = '@lockstep/sync';
const workers = '@lockstep/workers';
const trainer = '@lockstep/trainer';
const cluster = '@lockstep/cluster';
const lockstep = 'lockstep';
const cli = '@lockstep/cli';
const all = [kernels, autograd, compiler, nn, data, protocol, sync, workers, trainer, cluster, lockstep];

/** Who may use whom: the one-way dependencies of ARCHITECTURE.md. A package that is not here may use none. */
const ALLOWED = {
  [autograd]: [kernels],
  [compiler]: [autograd, kernels],
  [nn]: [autograd, kernels],
  [data]: [kernels],
  [protocol]: [kernels],
  [sync]: [protocol],
  [workers]: [kernels],
  [trainer]: [autograd, compiler, nn, data, sync, workers, kernels],
  [cluster]: [trainer, autograd, nn, data, sync, workers, kernels],
  [lockstep]: all.filter((name) => name !== lockstep),
  [cli]: all,
  '@lockstep/examples': all,
  '@lockstep/bench': all,
  '@lockstep/test': [...all, cli],
};

/** Packages from outside that one package alone may know. */
const ONLY_IN = { piscina: workers };

describe('the workspace', () => {
  const packages = readWorkspace();

  test('is read whole', () => {
    const names = packages.map(({ name }) => name);
    expect(names).toEqual(expect.arrayContaining([kernels, autograd, compiler, trainer, lockstep, cli]));
    expect(packages.find(({ name }) => name === lockstep)?.files.length).toBeGreaterThan(0);
  });

  test('depends one way', () => expect(forbiddenEdges(packages, ALLOWED)).toEqual([]));
  test('has no cycle of packages', () => expect(packageCycles(packages)).toEqual([]));
  test('declares what it imports', () => expect(undeclaredImports(packages, readRootTools())).toEqual([]));
  test('uses packages by their names alone', () => expect(deepImports(packages)).toEqual([]));

  test.each(packages.map((each) => [each.name, each] as const))('%s has no cycle of files', (_, each) =>
    expect(fileCycles(each)).toEqual([]),
  );
  test.each(packages.map((each) => [each.name, each] as const))('%s has no cycle of folders', (_, each) =>
    expect(roomCycles(each)).toEqual([]),
  );
  test('no folder is crowded', () => expect(packages.flatMap(crowdedRooms)).toEqual([]));

  test.each(Object.entries(ONLY_IN))('%s is known to %s alone', (dependency, owner) => {
    const users = packages.filter(({ dependencies, devDependencies }) =>
      [...dependencies, ...devDependencies].includes(dependency),
    );
    expect(users.map(({ name }) => name)).toEqual([owner]);
  });
});

describe('the rules notice', () => {
  const source = (path: string, ...imports: string[]) => ({
    path,
    role: 'source' as const,
    imports,
    runtimeImports: imports,
  });
  const made = (name: string, parts: Partial<Package>): Package => ({
    name,
    folder: `packages/${name}`,
    dependencies: [],
    devDependencies: [],
    files: [],
    ...parts,
  });
  const low = made('low', { files: [source('src/index.ts')] });

  test.each<[string, string, 'runs' | 'erased']>([
    ['a static import', "import { a } from 'x';", 'runs'],
    ['an import for its effects', "import 'x';", 'runs'],
    ['a re-export', "export * from 'x';", 'runs'],
    ['a dynamic import', "const a = await import('x');", 'runs'],
    ['a type import', "import type { A } from 'x';", 'erased'],
    ['a re-export of types', "export type { A } from 'x';", 'erased'],
    ['an import type', "type A = import('x').A;", 'erased'],
  ])('%s', (_, code, kind) =>
    expect(importsOf('a.ts', code)).toEqual({ imports: ['x'], runtimeImports: kind === 'runs' ? ['x'] : [] }),
  );

  test('no import in comments and strings', () =>
    expect(importsOf('a.ts', `// import 'x';\nconst a = "import 'y'";`).imports).toEqual([]));

  test('a dependency against the direction, in the manifest and in an import', () => {
    const high = made('high', { dependencies: ['low'], files: [source('src/a.ts', 'low')] });
    expect(forbiddenEdges([low, high], { high: ['low'] })).toEqual([]);
    expect(forbiddenEdges([low, high], {})).toEqual([
      'packages/high/package.json: high must not depend on low',
      'packages/high/src/a.ts: high must not depend on low',
    ]);
  });

  test('an import that the manifest does not declare', () => {
    const high = made('high', {
      devDependencies: ['dev'],
      files: [source('src/a.ts', 'low', 'dev', 'node:fs')],
    });
    expect(undeclaredImports([high], ['dev'])).toHaveLength(2);
  });

  test('a path into another package', () => {
    const high = made('high', {
      files: [source('src/a.ts', 'low/src/b.ts', '../../low/src/b.ts', '../c.ts')],
    });
    expect(deepImports([low, high])).toHaveLength(2);
    const support = '../../packages/low/test/cases.ts';
    expect(deepImports([low, made('high', { files: [source('src/a.ts', support)] })])).toHaveLength(1);
  });

  test('cycles of packages and of files', () => {
    const a = made('a', { dependencies: ['b'] });
    const b = made('b', { dependencies: ['a'] });
    expect(packageCycles([a, b, low])).toEqual(['a → b → a']);
    const c = made('c', { files: [source('src/a.ts', './b/c.ts'), source('src/b/c.ts', '../a.ts')] });
    expect(fileCycles(c)).toEqual(['packages/c: src/a.ts → src/b/c.ts → src/a.ts']);
    expect(roomCycles(c)).toEqual(['packages/c: src → src/b → src']);
  });

  test('a folder with too many files', () => {
    const many = Array.from({ length: 21 }, (_, i) => source(`src/a/${i}.ts`));
    expect(crowdedRooms(made('c', { files: many.slice(1) }))).toEqual([]);
    expect(crowdedRooms(made('c', { files: many }))).toEqual(['packages/c/src/a: 21 files, at most 20']);
  });
});
