/** Finds and loads what to train. */
import { existsSync, statSync } from 'node:fs';
import * as nodeModule from 'node:module';
import { extname, relative, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { TrainingDefinition } from 'lockstep';
import { defaultDefinition } from './defaults.ts';
import { ConfigFileError } from './failure.ts';

export const CONFIG_NAME = 'lockstep.config.ts';

export interface LoadedConfig {
  readonly definition: TrainingDefinition;
  /** Its file; none for the default. */
  readonly file: string | undefined;
}

/** Flags that replace parts of the definition. */
export interface DefinitionFlags {
  readonly epochs?: number;
  readonly steps?: number;
  readonly batch?: number;
  readonly shards?: number;
  readonly seed?: number;
  readonly data?: string;
}

/**
 * The definition that the config file exports, or `lockstep.config.ts` of this folder, or else the default one, with what
 * the flags replace. Throws ConfigFileError, and what the file itself throws.
 */
export async function loadConfig(given: string | undefined, flags: DefinitionFlags): Promise<LoadedConfig> {
  const file = given === undefined ? (existsSync(CONFIG_NAME) ? CONFIG_NAME : undefined) : given;
  const definition = file === undefined ? defaultDefinition(flags.data) : await loadDefinition(file);
  return { definition: withFlags(definition, flags), file };
}

function withFlags(definition: TrainingDefinition, flags: DefinitionFlags): TrainingDefinition {
  const { epochs, steps, batch, shards, seed } = flags;
  const { epochs: ownEpochs, ...rest } = definition;
  const passes = epochs ?? (steps === undefined ? ownEpochs : undefined);
  return {
    ...rest,
    ...(passes !== undefined && { epochs: passes }),
    ...(steps !== undefined && { steps }),
    ...(batch !== undefined && { batch }),
    ...(shards !== undefined && { shards }),
    ...(seed !== undefined && { seed }),
  };
}

async function loadDefinition(file: string): Promise<TrainingDefinition> {
  const path = resolve(file);
  if (!existsSync(path)) {
    throw new ConfigFileError(
      `config: there is no file ${file}; give the path of a config, or none to train the embedded digits`,
    );
  }
  if (!statSync(path).isFile()) {
    throw new ConfigFileError(`config: ${file} is not a file; give the path of a config, as ${CONFIG_NAME}`);
  }
  const load = loaders[extname(path)];
  if (!load) {
    const known = Object.keys(loaders).join(', ');
    throw new ConfigFileError(`config: ${file} is not a config file; expected a file that ends in ${known}`);
  }
  let module: Record<string, unknown>;
  try {
    module = await load(path);
  } catch (error) {
    throw describeLoadError(file, path, error);
  }
  const definition = module.default;
  if (definition === undefined) {
    throw new ConfigFileError(
      `config: ${file} has no default export; write: export default defineTraining({ … })`,
    );
  }
  if (typeof definition !== 'object' || definition === null || Array.isArray(definition)) {
    const got = Array.isArray(definition) ? 'an array' : definition === null ? 'null' : typeof definition;
    throw new ConfigFileError(
      `config: the default export of ${file} is ${got}, expected what defineTraining({ … }) returns`,
    );
  }
  return definition as TrainingDefinition;
}

type Load = (path: string) => Promise<Record<string, unknown>>;

/** Configs import `lockstep` from wherever they lie, and get the very modules that this command uses. */
const entry = import.meta.resolve('lockstep');

const loadTypeScript: Load = async (path) => {
  const { createJiti } = await import('jiti');
  const jiti = createJiti(import.meta.url, {
    alias: { lockstep: fileURLToPath(entry) },
    interopDefault: false,
  });
  return jiti.import(path);
};

type Resolved = ReturnType<nodeModule.ResolveHook>;
type Next = (specifier: string, context?: object) => Resolved;

/** Lets JavaScript import `lockstep` wherever it lies. */
function nameLockstep(): void {
  // The types are those of Node 20, which has only `register`; later versions warn of it.
  const { registerHooks } = nodeModule as {
    registerHooks?: (hooks: { resolve(specifier: string, context: object, next: Next): Resolved }) => void;
  };
  if (registerHooks === undefined) {
    nodeModule.register('./resolve.js', import.meta.url, { data: { lockstep: entry } });
    return;
  }
  registerHooks({
    resolve: (specifier, context, next) =>
      specifier === 'lockstep' ? { url: entry, shortCircuit: true } : next(specifier, context),
  });
}

const loadJavaScript: Load = async (path) => {
  nameLockstep();
  try {
    return await import(pathToFileURL(path).href);
  } catch (error) {
    // Node tells nobody where, but the other loader's parser stops at the same place and does.
    if (error instanceof SyntaxError) await loadTypeScript(path);
    throw error;
  }
};

const loaders: Readonly<Record<string, Load>> = {
  '.ts': loadTypeScript,
  '.mts': loadTypeScript,
  '.js': loadJavaScript,
  '.mjs': loadJavaScript,
};

/** One line with the place. Errors with a code of ours speak for themselves. */
function describeLoadError(file: string, path: string, error: unknown): unknown {
  if (!(error instanceof Error)) return new ConfigFileError(`config: ${file} threw ${String(error)}`);
  if (isOurs(error)) return error;
  return new ConfigFileError(`config: ${placeOf(path, error) ?? file}: ${plainMessage(error)}`, {
    cause: error,
  });
}

/**
 * An error that the config's own code threw while it ran becomes a message with its place; others stay as they are.
 * Frames of Node and of built-in functions are skipped: a file that the config reads and is not there is its error, too.
 */
export function blameConfig(file: string | undefined, error: unknown): unknown {
  if (file === undefined || !(error instanceof Error) || isOurs(error)) return error;
  const path = resolve(file);
  const frames = error.stack?.split('\n').filter((line) => /^\s+at /.test(line)) ?? [];
  const thrower = frames.find((frame) => !/\(?node:|\(<anonymous>\)/.test(frame));
  return thrower !== undefined && placesIn(thrower).length > 0 ? describeLoadError(file, path, error) : error;
}

const isOurs = (error: Error): boolean => 'code' in error && /^(LOCKSTEP|DATA)_/.test(String(error.code));

/** The first line, in the words of the config: the transpiler renames what is imported. */
const plainMessage = (error: Error): string =>
  (error.message.split('\n')[0] ?? '')
    .replace(/\(0 , _\w+\.(\w+)\)/g, '$1')
    .replace(/\b_lockstep\d*\./g, '')
    .trim();

/** `file:line` in the config where an error's text has one, else in a file that it imports. */
function placeOf(path: string, error: Error): string | undefined {
  const places = placesIn(`${error.message}\n${error.stack ?? ''}`);
  const { file, line } = places.find((place) => place.file === path) ?? places[0] ?? {};
  return file === undefined ? undefined : `${relative(process.cwd(), file)}:${line}`;
}

/** Every `file:line` of a text, without those of packages and our own. */
function placesIn(text: string): { file: string; line: string }[] {
  const paths = text.replaceAll(pathToFileURL('/').href, '/');
  return [...paths.matchAll(/((?:[A-Za-z]:)?[\\/][^\n():]+?\.[cm]?[jt]s):(\d+)/g)]
    .map(([, file = '', line = '']) => ({ file, line }))
    .filter(({ file }) => !file.includes('node_modules') && !OURS.some((folder) => file.startsWith(folder)));
}

/** This program, and the packages beside `lockstep`. */
const OURS = [new URL('..', import.meta.url), new URL('../..', entry)].map((url) => fileURLToPath(url));
