/** What went wrong with data, as a stable code. The message says who, what came, what was expected and the way out. */
export type DataErrorCode =
  | 'DATA_MISSING' // a file, folder, column or field that is not there
  | 'DATA_UNREADABLE' // the operating system refused to read or write
  | 'DATA_TRUNCATED' // fewer bytes than the header promises
  | 'DATA_CORRUPT' // damaged: a checksum, a compressed stream, bytes too many
  | 'DATA_FORMAT' // another format than expected: magic, version, type, header
  | 'DATA_VALUE' // NaN, infinity, text where a number belongs
  | 'DATA_LABEL' // a class label outside of its range
  | 'DATA_SHAPE' // lengths or shapes that do not fit together
  | 'DATA_EMPTY' // no rows
  | 'DATA_OPTION' // an option out of its range
  | 'DATA_DOWNLOAD'; // no mirror gave the file

/** An error of the user's data, never of the program: worth one clear line and no stack trace. */
export class DataError extends Error {
  readonly code: DataErrorCode;

  constructor(code: DataErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'DataError';
    this.code = code;
  }
}

/** Checks an integer option: `who` names the function and option, `wayOut` says how to mend it. */
export function checkInteger(who: string, value: number, min: number, max = Number.MAX_SAFE_INTEGER): void {
  if (Number.isInteger(value) && value >= min && value <= max) return;
  const range = max === Number.MAX_SAFE_INTEGER ? `of at least ${min}` : `from ${min} to ${max}`;
  throw new DataError('DATA_OPTION', `${who} is ${value}; expected a whole number ${range}.`);
}
