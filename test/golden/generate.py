"""Writes data/curves.json: loss curves of PyTorch for the recipes in recipe.ts, to hold Lockstep to.

Initial weights and data are formulas over integers, the same here and in recipe.ts, so no numbers but the losses are
stored. Run with a Python that has torch and numpy (Debian: python3-torch):  python3 test/golden/generate.py
"""
import json
import os
import struct

import numpy as np
import torch

STEPS = 200


def bits(stream, count):
    """24 random bits for each of 0 ... count - 1: the finalizer of MurmurHash3 over (stream, index)."""
    h = np.arange(count, dtype=np.uint32) + np.uint32(stream * 0x9E3779B9 & 0xFFFFFFFF)
    h ^= h >> 16
    h *= np.uint32(0x85EBCA6B)
    h ^= h >> 13
    h *= np.uint32(0xC2B2AE35)
    h ^= h >> 16
    return h >> 8


def symmetric(stream, count):
    """Numbers in [-1, 1), exact in float64."""
    return bits(stream, count).astype(np.float64) / 2**23 - 1


def linear(inputs, outputs, stream):
    """torch.nn.Linear with weight and bias uniform in +-1/sqrt(inputs)."""
    layer = torch.nn.Linear(inputs, outputs)
    bound = 1 / np.sqrt(np.float64(inputs))
    with torch.no_grad():
        weight = (symmetric(stream, inputs * outputs) * bound).astype(np.float32)
        layer.weight.copy_(torch.from_numpy(weight.reshape(outputs, inputs)))
        layer.bias.copy_(torch.from_numpy((symmetric(stream + 1, outputs) * bound).astype(np.float32)))
    return layer


def glyphs(rows=2560, pixels=784, classes=10):
    """u8 images: a quarter of a class's prototype, three quarters of noise. Pixels are used as x * f32(1/255)."""
    labels = (bits(10, rows) % classes).astype(np.int64)
    prototypes = (bits(11, classes * pixels) & 255).reshape(classes, pixels)
    noise = (bits(12, rows * pixels) & 255).reshape(rows, pixels)
    images = ((prototypes[labels] + 3 * noise) >> 2).astype(np.float32)
    return torch.from_numpy(images * np.float32(1 / 255)), torch.from_numpy(labels)


def surface(rows=1024, features=8):
    """y = x0 * x1 + x2 / 2 - x3 + noise / 8; products and sums in float64, rounded once."""
    x = symmetric(20, rows * features).reshape(rows, features)
    y = x[:, 0] * x[:, 1] + x[:, 2] / 2 - x[:, 3] + symmetric(21, rows) / 8
    return torch.from_numpy(x.astype(np.float32)), torch.from_numpy(y.astype(np.float32).reshape(rows, 1))


def classifier():
    model = torch.nn.Sequential(linear(784, 128, 1), torch.nn.ReLU(), linear(128, 10, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return glyphs(), 128, model, torch.nn.functional.cross_entropy, optimizer


def regression():
    model = torch.nn.Sequential(linear(8, 32, 5), torch.nn.Tanh(), linear(32, 1, 7))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    return surface(), 64, model, torch.nn.functional.mse_loss, optimizer


def curve(recipe, double=False):
    """The loss of each step, in order of the rows, epoch after epoch; before the step's update."""
    (x, y), batch, model, loss_of, optimizer = recipe()
    if double:
        model.double()
        x = x.double()
        y = y.double() if y.is_floating_point() else y
    losses = []
    for step in range(STEPS):
        start = step * batch % len(x)
        loss = loss_of(model(x[start : start + batch]), y[start : start + batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def save(path, state):
    """The format of safetensors, written by hand."""
    header, blobs, end = {}, [], 0
    for name, value in state.items():
        blob = value.numpy().tobytes()
        kind = {torch.float32: "F32", torch.int64: "I64"}[value.dtype]
        header[name] = {"dtype": kind, "shape": list(value.shape), "data_offsets": [end, end + len(blob)]}
        blobs.append(blob)
        end += len(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def main():
    torch.set_num_threads(1)
    curves = {}
    for recipe in (classifier, regression):
        losses = curve(recipe)
        exact = curve(recipe, double=True)
        gap = max(abs(a - b) / b for a, b in zip(losses, exact))
        print(f"{recipe.__name__}: {losses[0]:.4f} to {losses[-1]:.4f}; largest gap to float64: {gap:.1e}")
        curves[recipe.__name__] = [float(f"{loss:.9g}") for loss in losses]
    path = os.path.join(os.path.dirname(__file__), "data", "curves.json")
    with open(path, "w", encoding="utf8") as file:
        json.dump({"torch": torch.__version__, **curves}, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
