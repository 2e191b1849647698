/** A network whose hidden units are only −1 or 1, and learns all the same. See README.md. */
import { binary } from './binary.ts';
import { straightThroughSign } from './gradients.ts';

export default binary(straightThroughSign, { hidden: 32, epochs: 5, seed: 1 });
