"""Writes src/golden/sequences.json: outputs and gradients of PyTorch's layers in float64, for sequences.test.ts. All numbers
are a formula of their place.  python3 packages/nn/scripts/golden_sequences.py
"""
import json
import os

import torch
from torch import nn

torch.set_default_dtype(torch.float64)


def numbers(shape, seed):
    """Spread over (-1, 1) by the golden ratio, rounded to float32."""
    count = torch.Size(shape).numel()
    at = torch.arange(1, count + 1) * 0.6180339887498949 + seed * 0.7548776662
    return (2 * (at % 1) - 1).float().double().reshape(shape)


def fill(layer):
    with torch.no_grad():
        for i, (_, p) in enumerate(sorted(layer.named_parameters())):
            p.copy_(numbers(p.shape, 20 + i) * 0.5)
    return layer


def case(layer, shapes, call):
    fill(layer)
    inputs = [numbers(shape, 1 + i).requires_grad_() for i, shape in enumerate(shapes)]
    outputs = call(layer, *inputs)
    total = sum((y * numbers(y.shape, 10 + i)).sum() for i, y in enumerate(outputs))
    total.backward()
    flat = lambda tensors: [[float(f"{x:.8g}") for x in t.reshape(-1).tolist()] for t in tensors]
    slopes = [p.grad for _, p in sorted(layer.named_parameters())]
    return {"outputs": flat(outputs), "inputs": flat([x.grad for x in inputs]), "parameters": flat(slopes)}


def recurrent(layer, x, h, c=None):
    y, state = layer(x, h if c is None else (h, c))
    return (y, *state) if c is not None else (y, state)


class RMSNorm(nn.Module):
    """Zhang and Sennrich, 2019; PyTorch 1.13 has none."""

    def __init__(self, features):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))

    def forward(self, x):
        return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * self.weight


def block(features, heads, **options):
    settings = dict(dim_feedforward=3 * features, dropout=0, activation="gelu", norm_first=True, batch_first=True)
    return nn.TransformerEncoderLayer(features, heads, **{**settings, **options})


def plain(kind, inputs, hidden, **options):
    return kind(inputs, hidden, batch_first=True, **options)


MASK = torch.tensor([[True, False, True, True], [True, True, False, False], [False, True, True, True]])
both = dict(num_layers=2, bidirectional=True, batch_first=True)
CASES = {
    "layerNorm": case(nn.LayerNorm(19), [[3, 2, 19]], lambda l, x: [l(x)]),
    "layerNorm of three axes": case(nn.LayerNorm([2, 3, 5]), [[4, 2, 3, 5]], lambda l, x: [l(x)]),
    "layerNorm of one": case(nn.LayerNorm(1), [[3, 1]], lambda l, x: [l(x)]),
    "layerNorm of rows": case(nn.LayerNorm(16), [[7, 16]], lambda l, x: [l(x)]),
    "rmsNorm": case(RMSNorm(19), [[3, 2, 19]], lambda l, x: [l(x)]),
    "rmsNorm of one row": case(RMSNorm(3), [[1, 3]], lambda l, x: [l(x)]),
    "rmsNorm of rows": case(RMSNorm(16), [[7, 16]], lambda l, x: [l(x)]),
    "groupNorm": case(nn.GroupNorm(3, 6), [[2, 6, 5, 3]], lambda l, x: [l(x)]),
    "groupNorm of rank 2": case(nn.GroupNorm(2, 8), [[3, 8]], lambda l, x: [l(x)]),
    "groupNorm of each channel": case(nn.GroupNorm(5, 5), [[1, 5, 7]], lambda l, x: [l(x)]),
    "attention": case(
        nn.MultiheadAttention(6, 2, batch_first=True),
        [[2, 3, 6], [2, 4, 6], [2, 4, 6]],
        lambda l, q, k, v: [l(q, k, v, attn_mask=~MASK)[0]],
    ),
    "attention of one": case(
        nn.MultiheadAttention(3, 1, batch_first=True), [[1, 1, 3]] * 3, lambda l, q, k, v: [l(q, k, v)[0]]
    ),
    "attention of many keys": case(
        nn.MultiheadAttention(10, 2, batch_first=True),
        [[1, 2, 10], [1, 33, 10], [1, 33, 10]],
        lambda l, q, k, v: [l(q, k, v)[0]],
    ),
    "selfAttention of one": case(
        nn.MultiheadAttention(4, 4, batch_first=True), [[3, 1, 4]], lambda l, x: [l(x, x, x)[0]]
    ),
    "selfAttention of many": case(
        nn.MultiheadAttention(6, 2, batch_first=True), [[1, 37, 6]], lambda l, x: [l(x, x, x)[0]]
    ),
    "selfAttention": case(
        nn.MultiheadAttention(6, 3, bias=False, batch_first=True),
        [[2, 5, 6]],
        lambda l, x: [l(x, x, x, attn_mask=torch.full((5, 5), -torch.inf).triu(1))[0]],
    ),
    "transformerBlock": case(block(6, 2), [[2, 5, 6]], lambda l, x: [l(x)]),
    "transformerBlock of 2017": case(block(5, 1, norm_first=False, activation="relu"), [[1, 3, 5]], lambda l, x: [l(x)]),
    "transformerBlock of one": case(block(4, 2), [[3, 1, 4]], lambda l, x: [l(x)]),
    "rnn of one": case(plain(nn.RNN, 1, 1), [[1, 1, 1], [1, 1, 1]], recurrent),
    "rnn of odd sizes": case(plain(nn.RNN, 2, 17), [[3, 2, 2], [1, 3, 17]], recurrent),
    "lstm of one": case(plain(nn.LSTM, 1, 1), [[1, 1, 1], [1, 1, 1], [1, 1, 1]], recurrent),
    "lstm of odd sizes": case(plain(nn.LSTM, 2, 17), [[3, 2, 2], [1, 3, 17], [1, 3, 17]], recurrent),
    "gru of one": case(plain(nn.GRU, 1, 1), [[1, 1, 1], [1, 1, 1]], recurrent),
    "rnn": case(nn.RNN(3, 5, nonlinearity="relu", **both), [[2, 4, 3], [4, 2, 5]], recurrent),
    "lstm": case(nn.LSTM(3, 5, **both), [[2, 4, 3], [4, 2, 5], [4, 2, 5]], recurrent),
    "gru": case(nn.GRU(3, 5, **both), [[2, 4, 3], [4, 2, 5]], recurrent),
    "gru without bias": case(nn.GRU(3, 2, bias=False, batch_first=True), [[1, 3, 3], [1, 1, 2]], recurrent),
    "embedding of rank 1": case(nn.Embedding(7, 17), [], lambda l: [l(torch.tensor([6, 0, 6]))]),
    "embedding of one": case(nn.Embedding(1, 1), [], lambda l: [l(torch.tensor([[0]]))]),
    "embedding": case(nn.Embedding(4, 3, padding_idx=1), [], lambda l: [l(torch.tensor([[0, 1, 3], [3, 3, 1]]))]),
}

path = os.path.join(os.path.dirname(__file__), "..", "src", "golden", "sequences.json")
with open(path, "w", encoding="utf8") as file:
    json.dump({"torch": torch.__version__, **CASES}, file, separators=(",", ":"))
    file.write("\n")
