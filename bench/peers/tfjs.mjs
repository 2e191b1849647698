/**
 * TensorFlow.js's side: `node bench/peers/tfjs.mjs SPEC`, where SPEC is JSON with kind, layers, batch and backend (cpu, wasm).
 * Embeddings are products with one-hot rows: the WASM backend has no kernel for the gradient of a gather.
 */
import { dirname, join } from 'node:path';
import { load, serve, versionOf } from './serve.mjs';

/** @typedef {any} Tensor -- the peer's packages are not there when types are checked */
const tf = load('@tensorflow/tfjs');

const variables = new Map();
/** A weight of a shape, made once. @param {string} name @param {number[]} shape @param {number} [deviation] */
const weight = (name, shape, deviation = 0.02) => {
  if (!variables.has(name)) variables.set(name, tf.variable(tf.randomNormal(shape, 0, deviation)));
  return variables.get(name);
};

/** @param {string} name @param {Tensor} x [rows, inputs] @param {number} outputs */
const linear = (name, x, outputs) =>
  tf.add(tf.matMul(x, weight(`${name}.weight`, [x.shape[1], outputs])), weight(`${name}.bias`, [outputs], 0));

/** @param {readonly number[]} layers sizes; ReLU between @param {Tensor} x */
const perceptron = (layers, x) =>
  layers.slice(1).reduce((y, size, i) => linear(`linear${i}`, i === 0 ? y : tf.relu(y), size), x);

/** @param {Tensor} x [rows, 28, 28, 1] */
const convolutions = (x) => {
  const block = (/** @type {Tensor} */ y, /** @type {number} */ inputs, /** @type {number} */ outputs) => {
    const filter = weight(`conv${outputs}.weight`, [3, 3, inputs, outputs]);
    const bias = weight(`conv${outputs}.bias`, [outputs], 0);
    return tf.maxPool(tf.relu(tf.add(tf.conv2d(y, filter, 1, 'same'), bias)), 2, 2, 'valid');
  };
  const features = block(block(x, 1, 16), 16, 32);
  return perceptron([32 * 7 * 7, 128, 10], tf.reshape(features, [x.shape[0], 32 * 7 * 7]));
};

const [VOCABULARY, LENGTH, WIDTH, HEADS, LAYERS] = [65, 64, 128, 4, 4];

/** @param {string} name @param {Tensor} x [rows, WIDTH] */
const normed = (name, x) => {
  const { mean, variance } = tf.moments(x, 1, true);
  const unit = tf.mul(tf.sub(x, mean), tf.rsqrt(tf.add(variance, 1e-5)));
  const scaled = tf.mul(unit, tf.add(weight(`${name}.weight`, [WIDTH], 0), 1));
  return tf.add(scaled, weight(`${name}.bias`, [WIDTH], 0));
};

const gelu = (/** @type {Tensor} */ x) => tf.mul(tf.mul(x, 0.5), tf.add(tf.erf(tf.mul(x, Math.SQRT1_2)), 1));

/** @param {string} name @param {Tensor} x [rows · LENGTH, WIDTH] @param {number} rows @param {Tensor} mask */
const attention = (name, x, rows, mask) => {
  const size = WIDTH / HEADS;
  const heads = (/** @type {string} */ part) =>
    tf.transpose(tf.reshape(linear(`${name}.${part}`, x, WIDTH), [rows, LENGTH, HEADS, size]), [0, 2, 1, 3]);
  const scores = tf.add(
    tf.mul(tf.matMul(heads('query'), heads('key'), false, true), 1 / Math.sqrt(size)),
    mask,
  );
  const mixed = tf.transpose(tf.matMul(tf.softmax(scores), heads('value')), [0, 2, 1, 3]);
  return linear(`${name}.output`, tf.reshape(mixed, [rows * LENGTH, WIDTH]), WIDTH);
};

/** @param {Tensor} tokens [rows · LENGTH, VOCABULARY], one-hot @param {number} rows @param {Tensor} mask */
const transformer = (tokens, rows, mask) => {
  const embedded = tf.matMul(tokens, weight('tokens', [VOCABULARY, WIDTH]));
  const positions = tf.tile(weight('positions', [LENGTH, WIDTH]), [rows, 1]);
  let x = tf.add(embedded, positions);
  for (let i = 0; i < LAYERS; i++) {
    x = tf.add(x, attention(`block${i}`, normed(`block${i}.norm1`, x), rows, mask));
    const wide = gelu(linear(`block${i}.up`, normed(`block${i}.norm2`, x), 4 * WIDTH));
    x = tf.add(x, linear(`block${i}.down`, wide, WIDTH));
  }
  return linear('head', normed('norm', x), VOCABULARY);
};

/** @param {Tensor} x [rows, 48, 8] */
const forecaster = (x) => {
  const [rows, steps, inputs] = x.shape;
  const cells = 64;
  const projected = tf.reshape(linear('input', tf.reshape(x, [rows * steps, inputs]), 4 * cells), [
    ...[rows, steps, 4 * cells],
  ]);
  let [hidden, cell] = [tf.zeros([rows, cells]), tf.zeros([rows, cells])];
  for (const now of tf.unstack(projected, 1)) {
    const gates = tf.add(now, tf.matMul(hidden, weight('recurrent', [cells, 4 * cells])));
    const [i, f, g, o] = tf.split(gates, 4, 1);
    cell = tf.add(tf.mul(tf.sigmoid(f), cell), tf.mul(tf.sigmoid(i), tf.tanh(g)));
    hidden = tf.mul(tf.sigmoid(o), tf.tanh(cell));
  }
  return linear('head', hidden, 1);
};

const crossEntropy = (/** @type {Tensor} */ logits, /** @type {Tensor} */ labels) =>
  tf.losses.softmaxCrossEntropy(labels, logits);

/** The loss of a fixed batch, by kind. @type {Record<string, (batch: number, layers: readonly number[]) => () => Tensor>} */
const tasks = {
  mlp: (batch, layers) => {
    const [inputs = 0, classes = 0] = [layers[0], layers.at(-1)];
    const [x, y] = [tf.randomUniform([batch, inputs]), labels(batch, classes)];
    return () => crossEntropy(perceptron(layers, x), y);
  },
  cnn: (batch) => {
    const [x, y] = [tf.randomUniform([batch, 28, 28, 1]), labels(batch, 10)];
    return () => crossEntropy(convolutions(x), y);
  },
  gpt: (batch) => {
    const [x, y] = [labels(batch * LENGTH, VOCABULARY), labels(batch * LENGTH, VOCABULARY)];
    const above = (/** @type {number} */ i) => (i % LENGTH > Math.floor(i / LENGTH) ? -1e9 : 0);
    const mask = tf.tensor(
      Float32Array.from({ length: LENGTH * LENGTH }, (_, i) => above(i)),
      [...[LENGTH, LENGTH]],
    );
    return () => crossEntropy(transformer(x, batch, mask), y);
  },
  lstm: (batch) => {
    const [x, y] = [tf.randomUniform([batch, 48, 8]), tf.randomUniform([batch, 1])];
    return () => tf.losses.meanSquaredError(y, forecaster(x));
  },
};

/** One-hot. @param {number} rows @param {number} classes */
const labels = (rows, classes) =>
  tf.cast(
    tf.oneHot(
      tf.tensor(
        Int32Array.from({ length: rows }, (_, i) => i % classes),
        [rows],
        'int32',
      ),
      classes,
    ),
    'float32',
  );

const { backend } = JSON.parse(process.argv[2] ?? '{}');
if (backend === 'wasm') {
  const wasm = load('@tensorflow/tfjs-backend-wasm');
  wasm.setWasmPaths(join(dirname(load.resolve('@tensorflow/tfjs-backend-wasm')), '/'));
}

await serve(versionOf('@tensorflow/tfjs'), async ({ kind, batch, layers }) => {
  if (!(await tf.setBackend(backend))) throw new Error(`the backend ${backend} does not start here`);
  tf.enableProdMode();
  const loss = tasks[kind]?.(batch, layers);
  if (!loss) throw new Error(`no model ${kind}`);
  // Makes the weights: those that are made while gradients are recorded are not trained.
  tf.tidy(() => loss());
  const optimizer = tf.train.adam(1e-3);
  return async () => {
    const cost = optimizer.minimize(loss, true);
    await cost.data();
    cost.dispose();
  };
});
