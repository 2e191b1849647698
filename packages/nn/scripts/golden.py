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
    weight = torch.tensor([0.5, 2.0, 0.0, 1.5])
    shares = F.softmax(logits.flip(0), -1) * 0.75 + torch.eye(5, 4) * 0.25
    ignoring = torch.tensor([0, -100, 1, 1, 2])
    signs = torch.tensor([1.0, -1.0, -1.0])
    distribution = F.softmax(torch.randn(3, 4), -1) * torch.tensor([1.0, 1.0, 0.0, 1.0])
    cases |= {
        "crossEntropy weighted": (lambda a, b: F.cross_entropy(a, b, weight=weight), logits, labels),
        "crossEntropy ignoring": (lambda a, b: F.cross_entropy(a, b), logits, ignoring),
        "crossEntropy smoothed": (lambda a, b: F.cross_entropy(a, b, label_smoothing=0.2), logits, labels),
        "crossEntropy all": (
            lambda a, b: F.cross_entropy(a, b, weight=weight, label_smoothing=0.2), logits, ignoring
        ),
        "shares of classes": (F.cross_entropy, logits, shares),
        "shares of classes, all": (
            lambda a, b: F.cross_entropy(a, b, weight=weight, label_smoothing=0.2), logits, shares
        ),
        "crossEntropy sum": (lambda a, b: F.cross_entropy(a, b, weight=weight, reduction="sum"), logits, labels),
        "nll": (F.nll_loss, F.log_softmax(logits, -1), labels),
        "nll weighted": (lambda a, b: F.nll_loss(a, b, weight=weight), F.log_softmax(logits, -1), ignoring),
        "smoothL1": (lambda a, b: F.smooth_l1_loss(a, b, beta=0.4), prediction, target),
        "bce": (F.binary_cross_entropy, torch.tensor([[0.0, 1.0, 0.3], [1e-7, 0.5, 1.0]]), torch.tensor([[0.0, 1.0, 0.25], [1.0, 0.5, 0.5]])),
        "bceWithLogits positive": (
            lambda a, b: F.binary_cross_entropy_with_logits(a, b, pos_weight=torch.tensor(3.0)), prediction, probabilities
        ),
        "klDiv": (lambda a, b: F.kl_div(a, b, reduction="batchmean"), F.log_softmax(prediction, -1), distribution),
        "klDiv log": (
            lambda a, b: F.kl_div(a, b, reduction="mean", log_target=True),
            F.log_softmax(prediction, -1),
            F.log_softmax(target, -1),
        ),
        "hinge": (lambda a, b: (1 - a * b).clamp(min=0).mean(), prediction, torch.sign(target)),
        "multiMargin": (lambda a, b: F.multi_margin_loss(a, b, margin=0.75), logits, labels),
        "cosineEmbedding": (lambda a, b: F.cosine_embedding_loss(a, target, b, margin=0.2), prediction, signs),
    }
    other = {"cosineEmbedding": target}
    found = {}
    for name, (f, x, y) in cases.items():
        x = x.clone().requires_grad_()
        value = f(x, y)
        value.backward()
        found[name] = {
            "shape": list(x.shape),
            **({"other": numbers(other[name])} if name in other else {}),
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
        "hardswish": F.hardswish,
        "mish": F.mish,
        "softplus": F.softplus,
        # In float64: 1 + erf and 1 + tanh cancel in float32.
        "gelu": lambda x: F.gelu(x.double()).float(),
        "geluTanh": lambda x: F.gelu(x.double(), approximate="tanh").float(),
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


class Lion(torch.optim.Optimizer):
    """Chen et al., 2023, algorithm 2. Not in PyTorch: written from the paper."""

    def __init__(self, params, lr, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, dict(lr=lr, betas=betas, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            (b1, b2), lr, decay = group["betas"], group["lr"], group["weight_decay"]
            for p in group["params"]:
                m = self.state[p].setdefault("m", torch.zeros_like(p))
                p.sub_(lr * (torch.sign(b1 * m + (1 - b1) * p.grad) + decay * p))
                m.copy_(b2 * m + (1 - b2) * p.grad)


class Nadam(torch.optim.Optimizer):
    """PyTorch's documented formula, which its later versions follow. 1.13 takes mu into its next product twice."""

    def __init__(self, params, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, psi=4e-3):
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps, decay=weight_decay, psi=psi))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            b1, b2 = group["betas"]
            mu = lambda t: b1 * (1 - 0.5 * 0.96 ** (t * group["psi"]))
            for p in group["params"]:
                state = self.state[p]
                if not state:
                    state.update(t=0, product=1.0, m=torch.zeros_like(p), v=torch.zeros_like(p))
                state["t"] += 1
                t = state["t"]
                state["product"] *= mu(t)
                g = p.grad + group["decay"] * p
                state["m"].mul_(b1).add_((1 - b1) * g)
                state["v"].mul_(b2).add_((1 - b2) * g**2)
                denominator = (state["v"] / (1 - b2**t)).sqrt() + group["eps"]
                now = (1 - mu(t)) / (1 - state["product"])
                later = mu(t + 1) / (1 - state["product"] * mu(t + 1))
                p.sub_(group["lr"] * (now * g + later * state["m"]) / denominator)


class Lars(torch.optim.Optimizer):
    """You et al., 2017, algorithm 1."""

    def __init__(self, params, lr, trust, momentum, weight_decay, eps=1e-8):
        super().__init__(params, dict(lr=lr, trust=trust, momentum=momentum, decay=weight_decay, eps=eps))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                b = self.state[p].setdefault("b", torch.zeros_like(p))
                w, g = p.norm(), p.grad.norm()
                rate = group["trust"] * w / (g + group["decay"] * w + group["eps"])
                b.mul_(group["momentum"]).add_(group["lr"] * rate * (p.grad + group["decay"] * p))
                p.sub_(b)


class Lamb(torch.optim.Optimizer):
    """You et al., 2020, algorithm 2, with the identity for its function of the norm."""

    def __init__(self, params, lr, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.01):
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps, decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            b1, b2 = group["betas"]
            for p in group["params"]:
                state = self.state[p]
                if not state:
                    state.update(t=0, m=torch.zeros_like(p), v=torch.zeros_like(p))
                state["t"] += 1
                state["m"].mul_(b1).add_((1 - b1) * p.grad)
                state["v"].mul_(b2).add_((1 - b2) * p.grad**2)
                m = state["m"] / (1 - b1 ** state["t"])
                v = state["v"] / (1 - b2 ** state["t"])
                u = m / (v.sqrt() + group["eps"]) + group["decay"] * p
                p.sub_(group["lr"] * p.norm() / u.norm() * u)


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
        "amsgrad": lambda p: O.Adam(p, lr=0.01, amsgrad=True),
        "adamw amsgrad": lambda p: O.AdamW(p, lr=0.01, weight_decay=0.1, amsgrad=True),
        "rmsprop": lambda p: O.RMSprop(p),
        "rmsprop centered": lambda p: O.RMSprop(p, lr=0.005, alpha=0.9, centered=True, weight_decay=0.1),
        "rmsprop momentum": lambda p: O.RMSprop(p, lr=0.005, momentum=0.9),
        "adagrad": lambda p: O.Adagrad(p),
        "adagrad decay": lambda p: O.Adagrad(p, lr=0.1, lr_decay=0.01, initial_accumulator_value=0.5, weight_decay=0.1),
        "adadelta": lambda p: O.Adadelta(p),
        "adadelta decay": lambda p: O.Adadelta(p, lr=0.5, rho=0.95, eps=1e-5, weight_decay=0.1),
        "nadam": lambda p: Nadam(p, lr=0.002),
        "nadam decay": lambda p: Nadam(p, lr=0.01, betas=(0.8, 0.99), psi=0.05, weight_decay=0.1),
        "radam": lambda p: O.RAdam(p, lr=0.01),
        "radam decay": lambda p: O.RAdam(p, lr=0.01, betas=(0.8, 0.9), weight_decay=0.1),
        "lion": lambda p: Lion(p, lr=0.01, weight_decay=0.1),
        "lars": lambda p: Lars(p, lr=0.5, trust=0.02, momentum=0.9, weight_decay=0.01),
        "lamb": lambda p: Lamb(p, lr=0.01, weight_decay=0.1),
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

    def fed(measures, **options):
        """ReduceLROnPlateau, one validation after every fourth step."""
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
        schedule = S.ReduceLROnPlateau(optimizer, **options)
        rates = []
        for t in range(total):
            rates.append(optimizer.param_groups[0]["lr"])
            if t % 4 == 3:
                schedule.step(measures[t // 4])
        return rates

    losses = [1.0, 0.9, 0.95, 0.9, 0.92, 0.8, 0.8, 0.81, 0.79999, 0.9]
    write(
        "schedules",
        {
            "total": total,
            "losses": losses,
            "step": path(lambda o: S.StepLR(o, step_size=7, gamma=0.5)),
            "multiStep": path(lambda o: S.MultiStepLR(o, milestones=[5, 6, 20], gamma=0.3)),
            "exponential": path(lambda o: S.ExponentialLR(o, gamma=0.9)),
            "cosineRestarts": path(lambda o: S.CosineAnnealingWarmRestarts(o, T_0=5, T_mult=2, eta_min=0.001)),
            "cosineRestarts even": path(lambda o: S.CosineAnnealingWarmRestarts(o, T_0=7)),
            "polynomial": path(lambda o: S.PolynomialLR(o, total_iters=30, power=1.7)),
            "oneCycle": path(lambda o: S.OneCycleLR(o, max_lr=0.1, total_steps=total + 1)),
            "oneCycle linear": path(
                lambda o: S.OneCycleLR(
                    o, 0.1, total_steps=total + 1, pct_start=0.4, anneal_strategy="linear", div_factor=10, final_div_factor=100
                )
            ),
            "plateau": fed(losses, factor=0.5, patience=1),
            "plateau cooldown": fed(losses, factor=0.5, patience=0, threshold=0.02, cooldown=1, min_lr=0.03),
            "plateau max": fed(losses, mode="max", factor=0.5, patience=2),
            "sequence": path(
                lambda o: S.SequentialLR(
                    o,
                    [S.StepLR(o, 3, gamma=0.5), S.ExponentialLR(o, gamma=0.9), S.CosineAnnealingLR(o, T_max=total - 25)],
                    milestones=[10, 25],
                )
            ),
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
