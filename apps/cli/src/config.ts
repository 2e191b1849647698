/** Finds and loads what to train. */
import { existsSync, statSync } from 'node:fs';
import { register } from 'node:module';
import { extname, resolve } from 'node:path';
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
    throw new ConfigFileError(`config: ${file} is no file; give the path of a config, as ${CONFIG_NAME}`);
  }
  const load = loaders[extname(path)];
  if (!load) {
    const known = Object.keys(loaders).join(', ');
    throw new ConfigFileError(`config: ${file} is no config; expected a file that ends in ${known}`);
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

const loadJavaScript: Load = async (path) => {
  register('./resolve.js', import.meta.url, { data: { lockstep: entry } });
  return import(pathToFileURL(path).href);
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
  const place = placeIn(path, error) ?? file;
  return new ConfigFileError(`config: ${place}: ${error.message.split('\n')[0]}`, { cause: error });
}

/** `path:line` of the first mention of a config file in an error's stack or message. */
export function placeIn(path: string, error: Error): string | undefined {
  const text = `${error.message}\n${error.stack ?? ''}`;
  for (const name of [path, pathToFileURL(path).href]) {
    const at = text.indexOf(`${name}:`);
    if (at < 0) continue;
    const [line] = text.slice(at + name.length + 1).match(/^\d+(:\d+)?/) ?? [];
    if (line !== undefined) return `${path}:${line}`;
  }
  return undefined;
}

/**
 * An error that the config's own code threw while it ran becomes a message with its place; others stay as they are.
 * Node's own frames are skipped: a file that the config reads and is not there is the config's error, too.
 */
export function blameConfig(file: string | undefined, error: unknown): unknown {
  if (file === undefined || !(error instanceof Error) || isOurs(error)) return error;
  const path = resolve(file);
  const frames = error.stack?.split('\n').filter((line) => /^\s+at /.test(line)) ?? [];
  const thrower = frames.find((frame) => !/\(?node:/.test(frame)) ?? '';
  if (!thrower.includes(`${path}:`) && !thrower.includes(`${pathToFileURL(path).href}:`)) return error;
  return new ConfigFileError(`config: ${placeIn(path, error)}: ${error.message}`, { cause: error });
}

const isOurs = (error: Error): boolean => 'code' in error && /^(LOCKSTEP|DATA)_/.test(String(error.code));
