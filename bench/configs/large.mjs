/** `lockstep bench scaling bench/configs/large.mjs`: 784-1024-1024-10, batch 512, synthetic data. */
import { models } from '../models.mjs';

export default models.large();
