/** `lockstep bench scaling bench/configs/cnn.mjs`: two convolutions on 1×28×28, batch 64, synthetic data. */
import { models } from '../models.mjs';

export default models.cnn();
