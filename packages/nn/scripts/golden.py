"""Writes src/golden/*.json: what PyTorch computes for the same formulas.

Run python3 scripts/golden.py (needs torch; written with 1.13), then format the files.
"""

import json
from pathlib import Path

import torch
import torch.nn.functional as F

HERE = Path(__file__).resolve().parent.parent / "src" / "golden"
STEPS = 50


def numbers(tensor):
    """Shortest text that names the same float32; f32 numbers survive seven to nine digits."""
    return [float(f"{x:.9g}") for x in tensor.detach().flatten().tolist()]


def write(name, value):
    HERE.mkdir(exist_ok=True)
    (HERE / f"{name}.json").write_text(json.dumps(value) + "\n")


def losses():
    torch.manual_seed(7)
    logits = torch.randn(5, 4) * 3
    labels = torch.tensor([0, 3, 1, 1, 2])
    prediction, target = torch.randn(3, 4) * 2, torch.randn(3, 4)
    probabilities = torch.rand(3, 4)
    cases = {
        "crossEntropy": (F.cross_entropy, logits, labels),
        "mse": (F.mse_loss, prediction, target),
        "l1": (F.l1_loss, prediction, target),
        "huber": (lambda a, b: F.huber_loss(a, b, delta=0.75), prediction, target),
        "bceWithLogits": (F.binary_cross_entropy_with_logits, prediction, probabilities),
    }
    found = {}
    for name, (f, x, y) in cases.items():
        x = x.clone().requires_grad_()
        value = f(x, y)
        value.backward()
        found[name] = {
            "shape": list(x.shape),
            "input": numbers(x),
            "target": y.flatten().tolist() if y.dtype == torch.int64 else numbers(y),
            "loss": numbers(value)[0],
            "gradient": numbers(x.grad),
        }
    write("losses", found)


def activations():
    x = torch.tensor([-30.0, -4.0, -1.5, -0.75, -0.1, 0.0, 0.1, 0.5, 1.0, 2.5, 6.0, 30.0])
    cases = {
        "relu": F.relu,
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
        "silu": F.silu,
        "softplus": F.softplus,
        "gelu": F.gelu,
        "geluTanh": lambda x: F.gelu(x, approximate="tanh"),
        "leakyRelu": F.leaky_relu,
        "elu": lambda x: F.elu(x, alpha=0.5),
        "softmax": lambda x: F.softmax(x, -1),
        "logSoftmax": lambda x: F.log_softmax(x, -1),
    }
    found = {"x": numbers(x)}
    for name, f in cases.items():
        leaf = x.clone().requires_grad_()
        y = f(leaf)
        y.backward(torch.arange(1.0, x.numel() + 1))
        found[name] = {"y": numbers(y), "gradient": numbers(leaf.grad)}
    write("activations", found)


def optimizers():
    """All see the same gradients, so that each step is checked by itself as well as the path."""
    torch.manual_seed(11)
    start = torch.randn(6)
    gradients = torch.randn(STEPS, 6) * torch.tensor([1e-3, 0.1, 1.0, 1.0, 3.0, 20.0])
    O = torch.optim
    cases = {
        "sgd": lambda p: O.SGD(p, lr=0.1),
        "sgd decay": lambda p: O.SGD(p, lr=0.1, weight_decay=0.05),
        "sgd momentum": lambda p: O.SGD(p, lr=0.05, momentum=0.9),
        "sgd dampening": lambda p: O.SGD(p, lr=0.05, momentum=0.9, dampening=0.4, weight_decay=0.01),
        "sgd nesterov": lambda p: O.SGD(p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
        "adam": lambda p: O.Adam(p, lr=0.01),
        "adam decay": lambda p: O.Adam(p, lr=0.01, betas=(0.8, 0.99), eps=1e-4, weight_decay=0.1),
        "adamw": lambda p: O.AdamW(p, lr=0.01, weight_decay=0.1),
        "adamw default": lambda p: O.AdamW(p),
    }
    found = {"start": numbers(start), "gradients": [numbers(g) for g in gradients]}
    for name, make in cases.items():
        weight = torch.nn.Parameter(start.clone())
        optimizer = make([weight])
        path = []
        for g in gradients:
            weight.grad = g.clone()
            optimizer.step()
            path.append(numbers(weight))
        found[name] = [path[i] for i in (0, 1, 9, STEPS - 1)]
    write("optimizers", found)


def schedules():
    S = torch.optim.lr_scheduler
    total, warm = 40, 8

    def path(make):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
        schedule = make(optimizer)
        rates = []
        for _ in range(total):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        return rates

    def warmed(after, **options):
        options = {"start_factor": 1 / (warm + 1), **options}
        return lambda o: S.SequentialLR(o, [S.LinearLR(o, total_iters=warm, **options), after(o)], milestones=[warm])

    write(
        "schedules",
        {
            "total": total,
            "step": path(lambda o: S.StepLR(o, step_size=7, gamma=0.5)),
            "cosine": path(lambda o: S.CosineAnnealingLR(o, T_max=total)),
            "cosine minimum": path(lambda o: S.CosineAnnealingLR(o, T_max=total, eta_min=0.01)),
            "warmup cosine": path(warmed(lambda o: S.CosineAnnealingLR(o, T_max=total - warm))),
            "warmup step": path(warmed(lambda o: S.StepLR(o, step_size=7, gamma=0.5), start_factor=0.25)),
        },
    )


if __name__ == "__main__":
    losses()
    activations()
    optimizers()
    schedules()
