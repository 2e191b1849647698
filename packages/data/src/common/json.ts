export const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Texts, and the punctuation that opens, closes and separates; numbers and words are skipped. */
const tokens = /"(?:[^"\\]|\\.)*"|[{}[\]:]/gs;

/**
 * The first key that some object of a valid JSON text has twice (`JSON.parse` keeps the last one and says nothing), or
 * undefined.
 */
export function duplicateKey(json: string): string | undefined {
  const open: Set<string>[] = [];
  let text = '';
  for (const [token] of json.matchAll(tokens)) {
    if (token === '{' || token === '[') open.push(new Set());
    else if (token === '}' || token === ']') open.pop();
    else if (token === ':') {
      const key: string = JSON.parse(text);
      const keys = open.at(-1);
      if (keys?.has(key)) return key;
      keys?.add(key);
    } else text = token;
  }
  return undefined;
}
