/**
 * What nodes must know to connect: a token and a certificate that were made here are kept in the folder of the run, so that
 * nodes find a coordinator again that was resumed.
 */

import { rmSync } from 'node:fs';
import { readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { createCertificate, createToken, DEFAULT_HOST, isLoopback, type ListenOptions } from '@lockstep/sync';
import { cannotWrite, writeLasting } from '@lockstep/trainer';
import { z } from 'zod';

/** In the folder of a run, until it is done; only its owner may read it. */
const FILE = 'access.json';
const OWNER_ONLY = 0o600;

const schema = z.object({
  token: z.string().optional(),
  certificate: z.object({ cert: z.string(), key: z.string() }).optional(),
});
type Secrets = z.infer<typeof schema>;

/**
 * The same with what would be made anew with every start. With `resume`, it is what the start before made. Throws DataError
 * where the disk does not take it.
 */
export async function keepAccess<O extends ListenOptions>(
  where: O,
  { out, resume = false }: { readonly out?: string | undefined; readonly resume?: boolean | undefined },
): Promise<O> {
  const needsToken = where.token === undefined && !isLoopback(where.host ?? DEFAULT_HOST);
  const needsCertificate = where.tls === 'selfSigned';
  if (out === undefined || !(needsToken || needsCertificate)) return where;
  const path = join(out, FILE);
  const kept = resume ? await read(path) : {};
  const secrets: Secrets = {
    ...(needsToken && { token: kept.token ?? createToken() }),
    ...(needsCertificate && { certificate: kept.certificate ?? (await createCertificate()) }),
  };
  try {
    await writeLasting(`${path}.tmp`, `${JSON.stringify(secrets)}\n`, OWNER_ONLY);
    await rename(`${path}.tmp`, path);
  } catch (error) {
    throw cannotWrite(path, error);
  }
  const { token, certificate } = secrets;
  return { ...where, ...(token && { token }), ...(certificate && { tls: certificate }) };
}

/** Nobody needs it any more. */
export function dropAccess(out: string | undefined): void {
  if (out !== undefined) rmSync(join(out, FILE), { force: true });
}

/** Where it is not whole, all is made anew. */
async function read(path: string): Promise<Secrets> {
  try {
    return schema.parse(JSON.parse(await readFile(path, 'utf8')));
  } catch {
    return {};
  }
}
