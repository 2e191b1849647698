/** `lockstep bench scaling bench/configs/small.mjs`: 784-128-10, batch 128, synthetic data. */
import { models } from '../models.mjs';

export default models.small();
