/** `lockstep bench scaling bench/configs/gpt.mjs`: two blocks, 128 wide, 64 tokens, batch 32, synthetic data. */
import { models } from '../models.mjs';

export default models.gpt();
