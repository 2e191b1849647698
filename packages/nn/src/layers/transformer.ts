/** Blocks of transformers. */
import { add, type Tensor, withScope } from '@lockstep/autograd';
import { ConfigError, expectNumber, expectOptions, formatValue } from '../common/errors.ts';
import { type Layer, type Module, module, toModule } from '../model/module.ts';
import { dropout, gelu, relu } from './activations.ts';
import { type MultiHeadAttention, multiHeadAttention } from './attention.ts';
import { layerNorm, type Norm } from './layerNorm.ts';
import { type Linear, linear } from './linear.ts';

/** x + layer(x): what a layer learns is a change (He et al., 2016). Throws ConfigError. */
export function residual<L extends Layer>(layer: L): Module & { readonly layer: L } {
  const run = toModule('nn.residual', layer);
  return module('residual', { layer }, (x: Tensor) =>
    add(
      x,
      withScope('layer', () => run(x)),
    ),
  );
}

export interface TransformerBlockOptions {
  /** Width of the feed-forward part. Default 4 · features. */
  readonly hidden?: number;
  /** Each position sees itself and what is before it. Default false. */
  readonly causal?: boolean;
  /** Normalise before each part (true, the default) or after the sum, as in the paper of 2017. */
  readonly normFirst?: boolean;
  /** Between the two feed-forward layers. Default `gelu`. */
  readonly activation?: 'gelu' | 'relu';
  /** Share of elements that dropout sets to 0 after each part and within the feed-forward part. Default 0. */
  readonly dropout?: number;
  /** The same within the attention, which then needs memory for T × T (PyTorch takes `dropout` there, too). Default 0. */
  readonly attentionDropout?: number;
  /** Learnt biases of all linear layers and norms. Default true. */
  readonly bias?: boolean;
  /** Of the norms. Default 1e-5. */
  readonly eps?: number;
}

export interface TransformerBlock extends Module {
  readonly self_attn: MultiHeadAttention;
  readonly linear1: Linear;
  readonly linear2: Linear;
  readonly norm1: Norm;
  readonly norm2: Norm;
}

const OPTIONS = ['hidden', 'causal', 'normFirst', 'activation', 'dropout', 'attentionDropout', 'bias', 'eps'];

/**
 * Self-attention, then a feed-forward network, each with a residual and a layer norm: [batch, T, features] → the same. A
 * GPT's block with `causal`, a BERT's without. Names are those of PyTorch's TransformerEncoderLayer. Throws ConfigError.
 */
export function transformerBlock(
  features: number,
  heads: number,
  options: TransformerBlockOptions = {},
): TransformerBlock {
  const who = 'nn.transformerBlock';
  expectOptions(who, options, OPTIONS);
  const {
    hidden = 4 * features,
    causal = false,
    normFirst = true,
    activation = 'gelu',
    bias = true,
  } = options;
  expectNumber(who, 'hidden', hidden, { min: 1, integer: true });
  if (activation !== 'gelu' && activation !== 'relu') {
    throw new ConfigError(who, `got activation = ${formatValue(activation)}, expected 'gelu' or 'relu'`);
  }
  const drop = dropout(options.dropout ?? 0);
  const nonlinear = activation === 'gelu' ? gelu() : relu();
  const norm = (): Norm => layerNorm(features, { eps: options.eps ?? 1e-5, bias });
  const fields = {
    self_attn: multiHeadAttention(features, heads, { causal, bias, dropout: options.attentionDropout ?? 0 }),
    linear1: linear(features, hidden, { bias }),
    linear2: linear(hidden, features, { bias }),
    norm1: norm(),
    norm2: norm(),
  };
  const named = (name: keyof typeof fields, x: Tensor): Tensor => withScope(name, () => fields[name](x));
  const attend = (x: Tensor): Tensor => drop(named('self_attn', x));
  const feed = (x: Tensor): Tensor => drop(named('linear2', drop(nonlinear(named('linear1', x)))));
  return module(`transformerBlock(${features}, ${heads})`, fields, (x: Tensor) => {
    if (normFirst) {
      const y = add(x, attend(named('norm1', x)));
      return add(y, feed(named('norm2', y)));
    }
    const y = named('norm1', add(x, attend(x)));
    return named('norm2', add(y, feed(y)));
  });
}
