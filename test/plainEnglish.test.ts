/** What users read, messages and pages, is free of phrases that read as if translated. Comments are not looked at. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parseAst } from 'vitest/node';
import { readWorkspace, root } from './workspace.ts';

/** What not to write, and what to write instead. */
const PHRASES: readonly (readonly [pattern: RegExp, instead: string])[] = [
  [/\bthe same from code\b/i, 'In code: …'],
  [/\bthe way of the data\b/i, 'how data flows'],
  [/(?<!there )\b(is|are) no (?!longer|more)\w+/i, "is not a, isn't"],
  [/\b(data|definition|weights) are (others|another)\b/i, 'changed'],
  [/\b(has|have) proved right\b/i, 'is valid, are valid'],
  [/\b(holds?|held) (a|the) run up\b/i, 'pauses a run'],
  [/\bhow (it|a run|the run) stands\b/i, 'status'],
  [/\bnodes that are there\b/i, 'connected nodes'],
  [/\bgoes on after step\b/i, 'resuming after step'],
  [/\bbegins at the beginning\b/i, 'starting from scratch'],
  [/\bwithout a word\b/i, 'closed without a close frame'],
  [/\bvouch(es)?\b/i, 'is not trusted by this machine'],
  [/\bmend\b/i, 'fix'],
  [/\bmakes of (inputs|images)\b/i, 'run a trained model on inputs'],
  [/\b(wait|waits) for so many\b/i, 'wait for this many'],
  [/\bits leave to\b/i, 'tells it that it may'],
  [/\bshows strangers out\b/i, 'drops unauthenticated connections after a timeout'],
  [/\bwho comes? in masses\b/i, 'too many connections'],
  [/\bnobody (is|listens) there\b/i, 'no nodes connected, nothing is listening'],
];

const complaints = (place: string, text: string): string[] =>
  PHRASES.flatMap(([pattern, instead]) => {
    const [found] = pattern.exec(text) ?? [];
    return found === undefined ? [] : [`${place}: "${found}" in "${text.trim()}"; write: ${instead}`];
  });

/** String literals and the text of templates that hold more than one word. */
function messagesOf(code: string): string[] {
  const messages = new Set<string>();
  const visit = (value: unknown): void => {
    if (Array.isArray(value)) value.forEach(visit);
    if (typeof value !== 'object' || value === null) return;
    const { type, value: content } = value as { type?: string; value?: unknown };
    const cooked = (content as { cooked?: unknown } | undefined)?.cooked;
    const text = type === 'Literal' ? content : type === 'TemplateElement' ? cooked : undefined;
    if (typeof text === 'string' && /\S\s+\S/.test(text)) messages.add(text);
    Object.values(value).forEach(visit);
  };
  visit(parseAst(code, { lang: 'ts' }));
  return [...messages];
}

const sources = readWorkspace().flatMap(({ folder, files }) =>
  files
    .filter(({ path, role }) => role === 'source' && path.endsWith('.ts'))
    .map(({ path }) => join(folder, path)),
);

test('messages are in plain English', () => {
  expect(sources.length).toBeGreaterThan(200);
  const found = sources.flatMap((path) =>
    messagesOf(readFileSync(join(root, path), 'utf8')).flatMap((message) => complaints(path, message)),
  );
  expect(found).toEqual([]);
});

test('the readme is in plain English', () => {
  const lines = readFileSync(join(root, 'README.md'), 'utf8').split('\n');
  expect(lines.flatMap((line, i) => complaints(`README.md:${i + 1}`, line))).toEqual([]);
});

test.each([
  ['throw new Error("this is no config")', 'is no config'],
  ["print('Mend the cell')", 'Mend'],
])('%s is noticed', (code, phrase) =>
  expect(messagesOf(code).flatMap((message) => complaints('a.ts', message))).toEqual([
    expect.stringContaining(`"${phrase}"`),
  ]),
);
