/**
 * jax-js's side, on its WASM backend: `node bench/peers/jax.mjs SPEC` with the newer Node that it needs. Every function takes
 * its arguments over (`ref` keeps one for another use), as jax-js wants it. A step is one jitted function.
 */
import { serve, versionOf } from './serve.mjs';

/** @typedef {any} Array -- the peer's package is not there when types are checked */
const entry = new URL('installed/node_modules/@jax-js/jax/dist/index.js', import.meta.url);
const { init, defaultDevice, jit, lax, nn, numpy: np, tree, valueAndGrad } = await import(entry.href);

/** @param {number[]} shape @param {number} [size] */
const random = (shape, size = 0.05) => {
  const count = shape.reduce((product, n) => product * n, 1);
  return np.array(Float32Array.from({ length: count }, () => (Math.random() * 2 - 1) * size)).reshape(shape);
};

/** @param {number} inputs @param {number} outputs */
const linearWeights = (inputs, outputs) => ({
  weight: random([inputs, outputs]),
  bias: random([outputs], 0),
});

/** @param {Array} p weights @param {Array} x */
const linear = ({ weight, bias }, x) => np.matmul(x, weight).add(bias);

/** @param {readonly number[]} layers */
const perceptronWeights = (layers) => layers.slice(1).map((size, i) => linearWeights(layers[i] ?? 0, size));

/** @param {Array[]} weights @param {Array} x */
const perceptron = (weights, x) => weights.reduce((y, p, i) => linear(p, i === 0 ? y : nn.relu(y)), x);

/** @param {Array} logits [rows, classes] @param {Array} labels one-hot */
const crossEntropy = (logits, labels) => nn.logSoftmax(logits, -1).mul(labels).sum(-1).mean().neg();

/** 2 × 2, of [rows, channels, height, width]. @param {Array} x */
const maxPool = (x) => {
  const [rows, channels, height, width] = x.shape;
  return np.max(np.max(x.reshape([rows, channels, height / 2, 2, width / 2, 2]), 5), 3);
};

/** @param {number} inputs @param {number} outputs */
const convWeights = (inputs, outputs) => ({
  weight: random([outputs, inputs, 3, 3]),
  bias: random([outputs, 1, 1], 0),
});

/** @param {Array} p weights @param {Array} x */
const convBlock = ({ weight, bias }, x) => maxPool(nn.relu(lax.conv(x, weight, [1, 1], 'SAME').add(bias)));

const [VOCABULARY, LENGTH, WIDTH, HEADS, LAYERS] = [65, 64, 128, 4, 4];

const normWeights = () => ({ weight: random([WIDTH], 0).add(1), bias: random([WIDTH], 0) });

/** @param {Array} p weights @param {Array} x */
const normed = ({ weight, bias }, x) => {
  const centred = x.ref.sub(np.mean(x, -1, { keepdims: true }));
  const variance = np.mean(centred.ref.mul(centred.ref), -1, { keepdims: true });
  return centred
    .div(np.sqrt(variance.add(1e-5)))
    .mul(weight)
    .add(bias);
};

/** @param {Array} p weights @param {Array} x [rows, LENGTH, WIDTH] */
const attention = ({ query, key, value, output }, x) => {
  const rows = x.shape[0];
  const heads = (/** @type {Array} */ p, /** @type {Array} */ input) =>
    linear(p, input).reshape([rows, LENGTH, HEADS, WIDTH / HEADS]);
  const mixed = nn.dotProductAttention(heads(query, x.ref), heads(key, x.ref), heads(value, x), {
    isCausal: true,
  });
  return linear(output, mixed.reshape([rows, LENGTH, WIDTH]));
};

/** Weights and loss of a fixed batch, by kind. @type {Record<string, (batch: number, layers: readonly number[]) => any>} */
const tasks = {
  mlp: (batch, layers) => ({
    weights: perceptronWeights(layers),
    x: random([batch, layers[0] ?? 0], 1),
    y: oneHot(batch, layers.at(-1) ?? 0),
    loss: (/** @type {Array} */ p, /** @type {Array} */ x, /** @type {Array} */ y) =>
      crossEntropy(perceptron(p, x), y),
  }),
  cnn: (batch) => ({
    weights: {
      first: convWeights(1, 16),
      second: convWeights(16, 32),
      head: perceptronWeights([32 * 7 * 7, 128, 10]),
    },
    x: random([batch, 1, 28, 28], 1),
    y: oneHot(batch, 10),
    loss: (/** @type {Array} */ { first, second, head }, /** @type {Array} */ x, /** @type {Array} */ y) => {
      const features = convBlock(second, convBlock(first, x));
      return crossEntropy(perceptron(head, features.reshape([batch, 32 * 7 * 7])), y);
    },
  }),
  gpt: (batch) => ({
    weights: {
      tokens: random([VOCABULARY, WIDTH]),
      positions: random([LENGTH, WIDTH]),
      blocks: Array.from({ length: LAYERS }, () => ({
        norm1: normWeights(),
        attention: Object.fromEntries(
          ['query', 'key', 'value', 'output'].map((part) => [part, linearWeights(WIDTH, WIDTH)]),
        ),
        norm2: normWeights(),
        up: linearWeights(WIDTH, 4 * WIDTH),
        down: linearWeights(4 * WIDTH, WIDTH),
      })),
      norm: normWeights(),
      head: linearWeights(WIDTH, VOCABULARY),
    },
    x: oneHot(batch * LENGTH, VOCABULARY).reshape([batch, LENGTH, VOCABULARY]),
    y: oneHot(batch * LENGTH, VOCABULARY).reshape([batch, LENGTH, VOCABULARY]),
    loss: (/** @type {Array} */ p, /** @type {Array} */ x, /** @type {Array} */ y) => {
      let h = np.matmul(x, p.tokens).add(p.positions);
      for (const block of p.blocks) {
        h = h.ref.add(attention(block.attention, normed(block.norm1, h)));
        const wide = nn.gelu(linear(block.up, normed(block.norm2, h.ref)), { approximate: false });
        h = h.add(linear(block.down, wide));
      }
      return crossEntropy(linear(p.head, normed(p.norm, h)), y);
    },
  }),
  lstm: (batch) => ({
    weights: {
      input: linearWeights(8, 256),
      recurrent: random([64, 256]),
      head: linearWeights(64, 1),
    },
    x: random([batch, 48, 8], 1),
    y: random([batch, 1], 1),
    loss: (/** @type {Array} */ p, /** @type {Array} */ x, /** @type {Array} */ y) => {
      const steps = np.split(linear(p.input, x), 48, 1);
      let [hidden, cell] = [np.zeros([batch, 64]), np.zeros([batch, 64])];
      for (const step of steps) {
        const gates = step.reshape([batch, 256]).add(np.matmul(hidden, p.recurrent.ref));
        const [i, f, g, o] = np.split(gates, 4, 1);
        cell = nn
          .sigmoid(f)
          .mul(cell)
          .add(nn.sigmoid(i).mul(np.tanh(g)));
        hidden = nn.sigmoid(o).mul(np.tanh(cell.ref));
      }
      cell.dispose();
      p.recurrent.dispose();
      return np.square(linear(p.head, hidden).sub(y)).mean();
    },
  }),
};

/** @param {number} rows @param {number} classes */
const oneHot = (rows, classes) => {
  const cells = new Float32Array(rows * classes);
  for (let row = 0; row < rows; row++) cells[row * classes + (row % classes)] = 1;
  return np.array(cells).reshape([rows, classes]);
};

await serve(versionOf('@jax-js/jax'), async ({ kind, batch, layers }) => {
  const [device] = (await init('wasm')).filter((/** @type {string} */ name) => name === 'wasm');
  if (!device) throw new Error('the WASM backend does not start here');
  defaultDevice('wasm');
  const { weights, x, y, loss } = tasks[kind]?.(batch, layers) ?? {};
  if (!loss) throw new Error(`no model ${kind}`);
  const gradient = valueAndGrad(loss);
  const [b1, b2, rate] = [0.9, 0.999, 1e-3];
  // Adam; its bias corrections are numbers that change from step to step.
  const step = jit((/** @type {Array[]} */ ...all) => {
    const [p, m, v, now, input, label] = all;
    const [cost, g] = gradient(tree.ref(p), input, label);
    const first = tree.map(
      (/** @type {Array} */ a, /** @type {Array} */ b) => a.mul(b1).add(b.mul(1 - b1)),
      m,
      tree.ref(g),
    );
    const second = tree.map(
      (/** @type {Array} */ a, /** @type {Array} */ b) => a.mul(b2).add(np.square(b).mul(1 - b2)),
      v,
      g,
    );
    const [c1, c2] = now;
    const moved = tree.map(
      (/** @type {Array} */ w, /** @type {Array} */ a, /** @type {Array} */ b) =>
        w.sub(
          a
            .mul(c1.ref)
            .div(np.sqrt(b.mul(c2.ref)).add(1e-8))
            .mul(rate),
        ),
      p,
      tree.ref(first),
      tree.ref(second),
    );
    c1.dispose();
    c2.dispose();
    return [moved, first, second, cost];
  });
  const zeros = () => tree.map((/** @type {Array} */ w) => np.zeros(w.shape), weights);
  let [p, m, v, t] = [weights, zeros(), zeros(), 0];
  return async () => {
    t++;
    const now = [np.array([1 / (1 - b1 ** t)]), np.array([1 / (1 - b2 ** t)])];
    /** @type {Array} */
    let cost;
    [p, m, v, cost] = step(p, m, v, now, x.ref, y.ref);
    await cost.data();
  };
});
