/** A GPT that writes like its text, one character after another: see README.md. */
import { training } from './model.ts';
import { readText, toTokens } from './text.ts';

export default training(toTokens(readText()));
