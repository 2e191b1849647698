/** Real processes: a coordinator without threads of its own, four honest nodes and one that lies, over sockets. */
import { spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, expect, it } from 'vitest';
import { LIAR, LIES, type LieKind } from '../cluster/liars.ts';
import { Cluster } from '../cluster/processes.ts';
import { configText, events, folderWith, lockstep } from '../command.ts';

/** Each of five nodes has a share of such a step. */
const config = configText({
  batch: '80',
  epochs: '15',
  data: '() => data.digits({ train: 320, validation: 60 })',
  model: '() => nn.sequential(nn.linear(784, 96), nn.relu(), nn.dropout(0.2), nn.linear(96, 10))',
});
const folder = folderWith({ 'c.mjs': config });
const cluster = new Cluster(folder);
afterEach(() => cluster.end());
afterAll(() => rmSync(folder, { recursive: true }));

let known: Promise<unknown> | undefined;
const honestDigest = (): Promise<unknown> => {
  known ??= cluster
    .start('train c.mjs --quiet --workers 1')
    .done()
    .then(({ weightsDigest }) => weightsDigest);
  return known;
};

/** Gives all that it says. One of those that are told the same file lies: the first that has work in batch 3 or later. */
function node(url: string, name: string, kind: LieKind, claim: string): Promise<ReturnType<typeof events>> {
  const words = [fileURLToPath(LIAR), url, kind, '3', name, '10', claim];
  const child = spawn(process.execPath, words, { stdio: ['ignore', 'pipe', 'inherit'] });
  let said = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  const ended = new Promise((resolve) => child.on('close', resolve));
  return ended.then(() => events(said));
}

const outcomeOf = async (kind: LieKind) => {
  const weightsDigest = await honestDigest();
  const out = kind.replaceAll(' ', '-');
  const { serving, url } = await cluster.serve(
    `c.mjs --port 0 --workers 0 --min-nodes 5 --audit 0.2 --out ${out} --checkpoint-every 5`,
  );
  const claim = join(folder, `liar-${out}`);
  const nodes = Array.from({ length: 5 }, (_, i) => node(url, `node ${i}`, kind, claim));
  const done = await serving.done();
  expect(done).toMatchObject({ type: 'done', weightsDigest, audit: { rate: 0.2 } });
  const said = await Promise.all(nodes);
  const liar = said.findIndex(([first]) => first?.type === 'liar');
  expect(said.map((each) => each.at(-1))).toEqual(
    said.map((_, i) =>
      i === liar
        ? expect.objectContaining({ type: 'refused', code: 'WRONG_RESULTS' })
        : { type: 'ended', reason: 'finished', digest: weightsDigest },
    ),
  );
  // What is left in the folder is what an honest run leaves.
  const { code, stdout } = await lockstep(['verify', out, 'c.mjs', '--workers', '1', '--json'], {
    cwd: folder,
  });
  expect(events(stdout)).toMatchObject([{ verified: true, difference: null }]);
  expect(code).toBe(0);
  const told = serving.told.filter(({ type }) => type === 'liar' || type === 'rewind');
  // Maybe by a node that computed the same for a trial: then it is no audit that found it.
  expect(told.filter(({ type }) => type === 'liar')).toMatchObject([{ name: `node ${liar}` }]);
  expect(told).toContainEqual(expect.objectContaining({ type: 'rewind' }));
};

it.each(LIES)('%s: the liar is named and refused, the others go on to an honest digest', outcomeOf);

it('a lie that makes the run diverge does not end it', () => outcomeOf('huge'));
