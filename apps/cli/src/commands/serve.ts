/** `lockstep serve`. */
import { readFileSync } from 'node:fs';
import { ClusterProfile } from '@lockstep/cluster';
import { resolveKernels } from '@lockstep/trainer';
import { type ServeOptions, serve } from 'lockstep';
import { ProfileFile } from '../bench/profile.ts';
import { blameConfig, loadConfig } from '../common/config.ts';
import { ConfigFileError, ExitCode } from '../common/failure.ts';
import { readToken, type TokenFlags } from '../common/token.ts';
import { openSession } from '../report/session.ts';
import type { TrainFlags } from './train.ts';

export interface ServeFlags extends TrainFlags, TokenFlags {
  readonly host: string;
  readonly port: number;
  readonly tls?: boolean;
  readonly cert?: string;
  readonly key?: string;
  readonly allowHost: readonly string[];
  readonly minNodes: number;
  readonly heartbeat: number;
  readonly audit?: number;
}

/** Gives the exit code. Throws what is wrong with config, data, address or run. */
export async function serveCommand(config: string | undefined, flags: ServeFlags): Promise<number> {
  const { workers, kernels, out, checkpointEvery, resume, minNodes, heartbeat } = flags;
  const { fastDevRun = false, json = false, quiet = false, data: dataDir } = flags;
  const listen = listenOptions(flags);
  const { definition, file } = await loadConfig(config, flags);
  const { reporter, signal } = openSession(file, flags);
  const profile =
    flags.profile === undefined ? undefined : new ProfileFile(flags.profile, new ClusterProfile());
  try {
    const result = await serve(definition, {
      ...{ workers, kernels, dataDir, out, checkpointEvery, resume, fastDevRun },
      ...{ minNodes, heartbeat, listen, signal, audit: flags.audit },
      profile: profile?.profile,
      on: { event: (event) => reporter.event(event) },
    });
    const lines = profile?.finish(definition.name ?? 'training', resolveKernels(kernels)) ?? [];
    if (!json && !quiet && lines.length > 0) process.stdout.write(`${lines.join('\n')}\n`);
    return result.interrupted ? ExitCode.interrupted : ExitCode.done;
  } catch (error) {
    reporter.end();
    profile?.abandon();
    throw cannotListen(error, flags) ?? blameConfig(file, error);
  }
}

function listenOptions({ host, port, tls, cert, key, allowHost, ...flags }: ServeFlags) {
  const token = readToken('serve', flags);
  if ((cert === undefined) !== (key === undefined)) {
    throw new ConfigFileError(
      `serve: --cert and --key belong together; got --${cert ? 'cert' : 'key'} alone`,
    );
  }
  const options: NonNullable<ServeOptions['listen']> = { host, port, hosts: allowHost };
  return {
    ...options,
    ...(token !== undefined && { token }),
    ...(tls && { tls: 'selfSigned' as const }),
    ...(cert !== undefined && key !== undefined && { tls: { cert: read(cert), key: read(key) } }),
  };
}

/** Codes of Node's errors when an address cannot be listened on → why. */
const ADDRESS_ERRORS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another program listens there; choose another --port',
  EACCES: 'this user may not; choose a --port from 1024 on',
  EADDRNOTAVAIL: 'this machine has no such address; choose another --host, as 0.0.0.0 for all',
  ENOTFOUND: 'no such host is known; choose another --host, as 0.0.0.0 for all',
};

function cannotListen(error: unknown, { host, port }: ServeFlags): ConfigFileError | undefined {
  const { code = '', syscall = '' } = error as NodeJS.ErrnoException;
  const reason = ['listen', 'getaddrinfo'].includes(syscall) ? ADDRESS_ERRORS[code] : undefined;
  return reason === undefined
    ? undefined
    : new ConfigFileError(`serve: cannot listen on ${host}:${port}: ${reason}`);
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new ConfigFileError(`serve: cannot read ${file} (${(error as Error).message})`);
  }
}
