"""Writes data/images.json and data/images.safetensors: convolution, pooling and batch norm of PyTorch in float64, loss curves of
two networks, and one of them as it is after training. Numbers are formulas, as in generate.py.
Run with a Python that has torch and numpy:  python3 test/golden/images.py
"""
import json
import os

import numpy as np
import torch
import torch.nn.functional as F
from generate import bits, save, symmetric
from torch import nn

HERE = os.path.join(os.path.dirname(__file__), "data")
STEPS, BATCH, ROWS, SIZE = 100, 16, 64, 12

# name -> (shapes of the inputs, function)
CASES = {
    "conv2d": ([[2, 3, 5, 7], [4, 3, 3, 2]], F.conv2d),
    "conv2d padded": ([[1, 2, 5, 5], [3, 2, 3, 3]], lambda x, w: F.conv2d(x, w, stride=2, padding=1)),
    "conv2d dilated": ([[2, 2, 9, 8], [2, 2, 3, 2]], lambda x, w: F.conv2d(x, w, dilation=(2, 3), padding=(1, 2))),
    "conv2d groups": ([[2, 6, 4, 3], [4, 3, 2, 3]], lambda x, w: F.conv2d(x, w, groups=2)),
    "conv2d same": ([[1, 2, 5, 4], [2, 2, 2, 3]], lambda x, w: F.conv2d(x, w, padding="same")),
    "conv2d one tap": ([[3, 1, 1, 1], [1, 1, 1, 1]], F.conv2d),
    "conv1d": ([[2, 3, 11], [5, 3, 4]], lambda x, w: F.conv1d(x, w, stride=3, padding=2, dilation=2)),
    "conv1d groups": ([[1, 4, 6], [6, 2, 3]], lambda x, w: F.conv1d(x, w, groups=2)),
    "conv1d one tap": ([[1, 1, 1], [1, 1, 1]], F.conv1d),
    "convTranspose1d": ([[2, 3, 5], [3, 2, 4]], lambda x, w: F.conv_transpose1d(x, w, stride=3, padding=1)),
    "convTranspose1d groups": ([[1, 4, 3], [4, 3, 2]], lambda x, w: F.conv_transpose1d(x, w, groups=2, dilation=2)),
    "convTranspose1d one tap": ([[1, 1, 1], [1, 1, 1]], F.conv_transpose1d),
    "convTranspose2d": ([[2, 3, 3, 4], [3, 2, 3, 2]], F.conv_transpose2d),
    "convTranspose2d strided": (
        [[1, 4, 3, 3], [4, 2, 3, 3]],
        lambda x, w: F.conv_transpose2d(x, w, stride=2, padding=1, output_padding=1, groups=2),
    ),
    "convTranspose2d dilated": (
        [[1, 2, 2, 3], [2, 1, 2, 2]],
        lambda x, w: F.conv_transpose2d(x, w, stride=(1, 3), dilation=(3, 2), output_padding=(2, 0)),
    ),
    "maxPool2d": ([[2, 3, 5, 6]], lambda x: F.max_pool2d(x, 2)),
    "maxPool2d padded": ([[1, 2, 7, 6]], lambda x: F.max_pool2d(x, 3, 2, 1)),
    "maxPool2d ceil": ([[1, 1, 5, 6]], lambda x: F.max_pool2d(x, (3, 2), (2, 4), ceil_mode=True)),
    "maxPool2d dilated": ([[2, 1, 7, 8]], lambda x: F.max_pool2d(x, 2, 2, 1, 3)),
    "maxPool2d one": ([[1, 1, 1, 1]], lambda x: F.max_pool2d(x, 1)),
    "maxPool1d": ([[2, 3, 9]], lambda x: F.max_pool1d(x, 3, 2)),
    "maxPool1d padded": ([[1, 2, 8]], lambda x: F.max_pool1d(x, 2, 3, 1)),
    "maxPool1d one": ([[2, 1, 1]], lambda x: F.max_pool1d(x, 1)),
    "avgPool2d": ([[2, 3, 5, 6]], lambda x: F.avg_pool2d(x, 2)),
    "avgPool2d padded": ([[1, 2, 6, 5]], lambda x: F.avg_pool2d(x, 3, 2, 1)),
    "avgPool2d uncounted": ([[1, 2, 6, 5]], lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)),
    "avgPool2d ceil": ([[1, 1, 6, 7]], lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True)),
    "avgPool1d": ([[2, 3, 9]], lambda x: F.avg_pool1d(x, 4)),
    "avgPool1d padded": ([[1, 2, 8]], lambda x: F.avg_pool1d(x, 3, 2, 1)),
    "avgPool1d one": ([[2, 1, 1]], lambda x: F.avg_pool1d(x, 1)),
    "adaptiveAvgPool2d": ([[2, 2, 6, 4]], lambda x: F.adaptive_avg_pool2d(x, (3, 2))),
    "adaptiveAvgPool2d uneven": ([[1, 2, 7, 5]], lambda x: F.adaptive_avg_pool2d(x, (3, 4))),
    "adaptiveAvgPool2d one": ([[2, 3, 5, 3]], lambda x: F.adaptive_avg_pool2d(x, 1)),
    "adaptiveMaxPool2d": ([[2, 2, 6, 4]], lambda x: F.adaptive_max_pool2d(x, (3, 2))),
    "adaptiveMaxPool2d uneven": ([[1, 2, 7, 5]], lambda x: F.adaptive_max_pool2d(x, (3, 4))),
    "adaptiveMaxPool2d larger": ([[3, 2, 3]], lambda x: F.adaptive_max_pool2d(x, (5, 1))),
    "upsample2d": ([[1, 2, 3, 2]], lambda x: F.interpolate(x, scale_factor=(2, 3))),
    "upsample2d bilinear": ([[2, 1, 3, 4]], lambda x: F.interpolate(x, scale_factor=2, mode="bilinear")),
    "upsample2d corners": (
        [[1, 1, 3, 2]],
        lambda x: F.interpolate(x, scale_factor=(3, 2), mode="bilinear", align_corners=True),
    ),
    "batchNorm1d": ([[5, 3], [3], [3]], lambda x, w, b: F.batch_norm(x, None, None, w, b, True)),
    "batchNorm1d of rows": ([[2, 4, 3], [4], [4]], lambda x, w, b: F.batch_norm(x, None, None, w, b, True)),
    "batchNorm1d one channel": ([[3, 1], [1], [1]], lambda x, w, b: F.batch_norm(x, None, None, w, b, True)),
    "batchNorm2d many channels": ([[2, 17, 1, 3], [17], [17]], lambda x, w, b: F.batch_norm(x, None, None, w, b, True)),
    "batchNorm2d": ([[2, 3, 3, 2], [3], [3]], lambda x, w, b: F.batch_norm(x, None, None, w, b, True)),
    "batchNorm2d one row": ([[1, 2, 3, 2], [2], [2]], lambda x, w, b: F.batch_norm(x, None, None, w, b, True)),
}


def numbers(tensor):
    return [float(f"{x:.9g}") for x in tensor.detach().flatten().tolist()]


def cases():
    found = {}
    for name, (shapes, f) in CASES.items():
        xs = [
            torch.from_numpy(symmetric(200 + i, int(np.prod(shape))).reshape(shape)).requires_grad_()
            for i, shape in enumerate(shapes)
        ]
        y = f(*xs)
        seed = torch.from_numpy(symmetric(210, y.numel()).reshape(y.shape))
        grads = torch.autograd.grad((y * seed).sum(), xs)
        found[name] = {
            "inputs": shapes,
            "shape": list(y.shape),
            "y": numbers(y),
            "grads": [numbers(g) for g in grads],
        }
    return found


def fill(model):
    """Every parameter by its place in the order of names: weights by their fan, vectors around 0, scales around 1."""
    with torch.no_grad():
        for i, (name, p) in enumerate(sorted(model.named_parameters())):
            values = symmetric(220 + i, p.numel())
            if p.dim() > 1:
                values = values / np.sqrt(np.float64(p[0].numel()))
            else:
                values = values / 8 + (1 if name.endswith("weight") else 0)
            p.copy_(torch.from_numpy(values.astype(np.float32)).reshape(p.shape))
    return model


def plain():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(144, 32),
        nn.ReLU(),
        nn.Linear(32, 10),
    )


def normalised():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(4, 6, 3, stride=2, groups=2),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(24, 12),
        nn.BatchNorm1d(12),
        nn.Tanh(),
        nn.Linear(12, 10),
    )


def images():
    labels = (bits(230, ROWS) % 10).astype(np.int64)
    prototypes = symmetric(231, 10 * SIZE * SIZE).reshape(10, SIZE, SIZE)
    noise = symmetric(232, ROWS * SIZE * SIZE).reshape(ROWS, SIZE, SIZE)
    x = ((prototypes[labels] + noise) / 2).astype(np.float32).reshape(ROWS, 1, SIZE, SIZE)
    return torch.from_numpy(x), torch.from_numpy(labels)


def main():
    torch.set_num_threads(1)
    out = {"torch": torch.__version__, "cases": cases()}
    x, y = images()
    for make in (plain, normalised):
        model = fill(make())
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        losses = []
        for step in range(STEPS):
            at = step * BATCH % ROWS
            loss = F.cross_entropy(model(x[at : at + BATCH]), y[at : at + BATCH])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(f"{loss.item():.9g}"))
        state = model.state_dict()
        model.eval()
        out[make.__name__] = {
            "shapes": {name: list(value.shape) for name, value in state.items()},
            "losses": losses,
            "logits": numbers(model(x[:4])),
        }
        print(f"{make.__name__}: {losses[0]:.4f} to {losses[-1]:.4f}")
    save(os.path.join(HERE, "images.safetensors"), state)
    with open(os.path.join(HERE, "images.json"), "w", encoding="utf8") as file:
        json.dump(out, file, separators=(",", ":"))
        file.write("\n")


main()
