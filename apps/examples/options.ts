/** Command line options of the examples. */
import { parseArgs } from 'node:util';

type Values = Readonly<Record<string, number | string>>;
/** The types of the defaults: 3 becomes number, 'xor' becomes string. */
type Widened<D extends Values> = { readonly [K in keyof D]: D[K] extends number ? number : string };

/**
 * `--name value` for each of `defaults`, which also say whether a value is a number. Wrong use ends the process with
 * exit code 2 and one message.
 */
export function readOptions<const D extends Values>(defaults: D): Widened<D> {
  const names = Object.keys(defaults);
  try {
    const { values } = parseArgs({
      options: Object.fromEntries(names.map((name) => [name, { type: 'string' as const }])),
    });
    const read = names.map((name) => {
      const given = values[name];
      const fallback = defaults[name]!;
      if (given === undefined || typeof fallback === 'string') return [name, given ?? fallback];
      const value = Number(given);
      if (!Number.isFinite(value)) throw new TypeError(`--${name}: got ${given}, expected a number`);
      return [name, value];
    });
    return Object.fromEntries(read);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return endWith(
      `${error.message}\noptions and their defaults: ${names.map((name) => `--${name} ${defaults[name]}`).join(' ')}`,
    );
  }
}

/** One message and exit code 2: wrong use. */
export function endWith(message: string): never {
  console.error(message);
  process.exit(2);
}
