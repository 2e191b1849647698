/** Runs the built `lockstep` command as its users do: a process of its own, in a folder of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, realpathSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const MAIN = fileURLToPath(new URL('../apps/cli/dist/main.js', import.meta.url));

export interface Outcome {
  /** null: ended by a signal. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CommandOptions {
  readonly cwd: string;
  readonly env?: Readonly<Record<string, string>>;
  /** A command that runs the rest of its words, with its own first words. */
  readonly through?: readonly string[];
  /** Called with the process as soon as there is one. */
  readonly onStart?: (child: ChildProcess) => void;
  /** Called with what has come on stdout so far. */
  readonly onOutput?: (stdout: string, child: ChildProcess) => void;
}

export function lockstep(
  args: readonly string[],
  { cwd, env, through = [], onStart, onOutput }: CommandOptions,
): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const [program = '', ...words] = [...through, process.execPath, MAIN, ...args];
    const child = spawn(program, words, {
      cwd,
      // The colours of a terminal, and of continuous integration, are not what is tested.
      env: { ...process.env, NO_COLOR: '1', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    onStart?.(child);
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
      onOutput?.(stdout, child);
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, stdout, stderr }));
  });
}

/** A new folder with these files; its path has no links, as processes see it. */
export function folderWith(files: Readonly<Record<string, string | Uint8Array>> = {}): string {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'lockstep-test-')));
  for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content);
  return folder;
}

export const filesIn = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort();

/** The lines of `--json`. */
export const events = (stdout: string): { readonly type: string; readonly [field: string]: unknown }[] =>
  stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));

/** A small training as the text of a config; `fields` replace its own. */
export function configText(fields: Readonly<Record<string, string>> = {}): string {
  const definition = {
    name: "'small'",
    seed: '3',
    batch: '60',
    shards: '8',
    epochs: '2',
    data: '() => data.digits({ train: 500, validation: 130 })',
    model: '() => nn.sequential(nn.linear(784, 24), nn.relu(), nn.dropout(0.2), nn.linear(24, 10))',
    loss: '(model, { image, label }) => loss.crossEntropy(model(image), label)',
    metrics: '{ accuracy: (model, { image, label }) => metrics.accuracy(model(image), label) }',
    optimizer: 'optim.adamw({ lr: optim.cosine(1e-2) })',
    ...fields,
  };
  const lines = Object.entries(definition).map(([key, value]) => `  ${key}: ${value},`);
  return [
    "import { data, defineTraining, loss, metrics, nn, optim } from 'lockstep';",
    'export default defineTraining({',
    ...lines,
    '});',
    '',
  ].join('\n');
}
