/** The workspace as data: its packages, what their manifests declare and what their files import. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseAst } from 'vitest/node';

export interface Package {
  readonly name: string;
  /** Relative to the root, with `/`: `packages/kernels`. */
  readonly folder: string;
  readonly dependencies: readonly string[];
  readonly devDependencies: readonly string[];
  readonly files: readonly SourceFile[];
}

export interface SourceFile {
  /** Relative to the package, with `/`: `src/index.ts`. */
  readonly path: string;
  /** `source` is built and published; tests and tools (scripts, configuration) are not. */
  readonly role: 'source' | 'test' | 'tool';
  /** Module specifiers as written: static, dynamic and type imports, and re-exports. */
  readonly imports: readonly string[];
  /** Those of them that are left when types are erased. */
  readonly runtimeImports: readonly string[];
}

interface Manifest {
  readonly name: string;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
}

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
const SOURCES = /\.(ts|tsx|mts|js|mjs)$/;
const SKIPPED = new Set(['node_modules', 'dist', 'results', '.turbo']);

/** All packages below `packages/`, `apps/`, `test/` and `bench/`. */
export function readWorkspace(): Package[] {
  const folders = ['packages', 'apps'].flatMap((parent) =>
    readdirSync(join(root, parent)).map((name) => posix.join(parent, name)),
  );
  return [...folders, 'test', 'bench']
    .filter((folder) => existsSync(join(root, folder, 'package.json')))
    .map(readPackage);
}

/** Tools that the root manifest gives to every package's tests and scripts. */
export function readRootTools(): string[] {
  return Object.keys(readManifest('.').devDependencies ?? {});
}

function readManifest(folder: string): Manifest {
  return JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8'));
}

function readPackage(folder: string): Package {
  const manifest = readManifest(folder);
  return {
    name: manifest.name,
    folder,
    dependencies: Object.keys(manifest.dependencies ?? {}),
    devDependencies: Object.keys(manifest.devDependencies ?? {}),
    files: listSources(folder, '').map((path) => ({
      path,
      role: roleOf(path),
      ...importsOf(path, readFileSync(join(root, folder, path), 'utf8')),
    })),
  };
}

function listSources(folder: string, inside: string): string[] {
  return readdirSync(join(root, folder, inside), { withFileTypes: true }).flatMap((entry) => {
    const path = posix.join(inside, entry.name);
    if (entry.isDirectory()) return SKIPPED.has(entry.name) ? [] : listSources(folder, path);
    return SOURCES.test(entry.name) ? [path] : [];
  });
}

function roleOf(path: string): SourceFile['role'] {
  if (/\.test\.tsx?$/.test(path)) return 'test';
  return path.startsWith('src/') ? 'source' : 'tool';
}

/** Everything that the module asks for with a constant specifier, once each. */
export function importsOf(path: string, code: string): Pick<SourceFile, 'imports' | 'runtimeImports'> {
  const lang = /\.tsx$/.test(path) ? 'tsx' : /\.m?ts$/.test(path) ? 'ts' : 'js';
  const imports = new Set<string>();
  const runtimeImports = new Set<string>();
  const visit = (value: unknown): void => {
    if (Array.isArray(value)) value.forEach(visit);
    if (typeof value !== 'object' || value === null) return;
    // Of the nodes of the syntax tree only imports and re-exports of all kinds have a `source`.
    const node = value as { type?: string; source?: unknown; importKind?: string; exportKind?: string };
    const source = constantOf(node.source);
    if (source !== undefined) {
      imports.add(source);
      const erased = node.type === 'TSImportType' || node.importKind === 'type' || node.exportKind === 'type';
      if (!erased) runtimeImports.add(source);
    }
    Object.values(value).forEach(visit);
  };
  visit(parseAst(code, { lang }));
  return { imports: [...imports], runtimeImports: [...runtimeImports] };
}

function constantOf(node: unknown): string | undefined {
  const value = typeof node === 'object' && node !== null && 'value' in node ? node.value : undefined;
  return typeof value === 'string' ? value : undefined;
}
