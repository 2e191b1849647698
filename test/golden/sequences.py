"""Writes data/sequences.json: loss curves of PyTorch for the models of sequences.test.ts, their parameters' names and shapes;
and two of them as files, with what they give after training. Numbers are formulas, as in generate.py.  python3 test/golden/sequences.py
"""
import json
import os

import numpy as np
import torch
from generate import bits, save, symmetric
from torch import nn

HERE = os.path.join(os.path.dirname(__file__), "data")
STEPS = 100
BATCH = 16
ROWS = 64
TOKENS, FEATURES, HEADS, LENGTH = 65, 32, 4, 16


def fill(model):
    """Every parameter by its place in the order of names: weights by their last axis, vectors around 0 or 1."""
    with torch.no_grad():
        for i, (name, p) in enumerate(sorted(model.named_parameters())):
            values = symmetric(100 + i, p.numel())
            if p.dim() > 1:
                values = values / np.sqrt(np.float64(p.shape[-1]))
            else:
                values = values / 8 + (1 if p.dim() == 1 and "norm" in name and name.endswith("weight") else 0)
            p.copy_(torch.from_numpy(values.astype(np.float32)).reshape(p.shape))
    return model


class Positions(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(LENGTH, FEATURES))

    def forward(self, x):
        return x + self.weight[: x.shape[1]]


class Transformer(nn.Module):
    def __init__(self, causal, **options):
        super().__init__()
        self.embedding = nn.Embedding(TOKENS, FEATURES)
        self.positions = Positions()
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(FEATURES, HEADS, 4 * FEATURES, dropout=0, batch_first=True, **options)
            for _ in range(2)
        )
        self.norm = nn.LayerNorm(FEATURES)
        self.head = nn.Linear(FEATURES, TOKENS)
        self.causal = causal

    def forward(self, x):
        mask = torch.full((x.shape[1], x.shape[1]), -torch.inf).triu(1) if self.causal else None
        y = self.positions(self.embedding(x))
        for block in self.blocks:
            y = block(y, src_mask=mask)
        return self.head(self.norm(y))


class Recurrent(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.head = nn.Linear(layer.hidden_size * (2 if layer.bidirectional else 1), 1)

    def forward(self, x):
        return self.head(self.layer(x)[0][:, -1])


def text():
    tokens = torch.from_numpy((bits(50, ROWS * (LENGTH + 1)) % TOKENS).astype(np.int64)).reshape(ROWS, LENGTH + 1)
    return tokens[:, :-1], tokens[:, 1:]


def series(steps=12, features=8):
    x = symmetric(51, ROWS * steps * features).reshape(ROWS, steps, features)
    y = (x[:, -1, :1] + x[:, 0, 1:2] + symmetric(52, ROWS).reshape(ROWS, 1)) / 2
    return torch.from_numpy(x.astype(np.float32)), torch.from_numpy(y.astype(np.float32))


def tokens_loss(logits, labels):
    return nn.functional.cross_entropy(logits.reshape(-1, TOKENS), labels.reshape(-1))


MODELS = {
    "gpt": (lambda: Transformer(True, activation="gelu", norm_first=True), text, tokens_loss),
    "encoder": (lambda: Transformer(False, activation="relu", norm_first=False), text, tokens_loss),
    "rnn": (lambda: Recurrent(nn.RNN(8, 19, batch_first=True)), series, nn.functional.mse_loss),
    "lstm": (lambda: Recurrent(nn.LSTM(8, 16, num_layers=2, batch_first=True)), series, nn.functional.mse_loss),
    "gru": (
        lambda: Recurrent(nn.GRU(8, 16, bidirectional=True, batch_first=True)),
        series,
        nn.functional.mse_loss,
    ),
}


def main():
    torch.set_num_threads(1)
    out = {"torch": torch.__version__}
    for name, (make, data, loss_of) in MODELS.items():
        model = fill(make())
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        (x, y), losses = data(), []
        for step in range(STEPS):
            at = step * BATCH % ROWS
            loss = loss_of(model(x[at : at + BATCH]), y[at : at + BATCH])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(f"{loss.item():.9g}"))
        shapes = {key: list(value.shape) for key, value in model.state_dict().items()}
        out[name] = {"shapes": shapes, "losses": losses}
        if name in ("gpt", "lstm"):
            save(os.path.join(HERE, f"{name}.safetensors"), model.state_dict())
            model.eval()
            out[name]["outputs"] = [float(f"{v:.9g}") for v in model(x[:4])[:, -1].flatten().tolist()]
        print(f"{name}: {losses[0]:.4f} to {losses[-1]:.4f}")
    path = os.path.join(HERE, "sequences.json")
    with open(path, "w", encoding="utf8") as file:
        json.dump(out, file, separators=(",", ":"))
        file.write("\n")


main()
