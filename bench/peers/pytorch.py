"""PyTorch's side: trains the model of a spec on synthetic data, round by round as told on standard input.

    python3 pytorch.py '{"kind": "mlp", "layers": [784, 128, 10], "batch": 128, "steps": 100, "threads": 1, "processes": 1}'

First prints what it is (version, which Adam is the faster here, speed of its matrix product), then for each line "round"
{"secondsPerStep": ...}; ends at the end of input. Several processes split the batch (DistributedDataParallel, gloo).
"""
import json
import math
import os
import sys
import tempfile
import time

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from torch import nn

END, RUN, FOREACH = range(3)


def perceptron(layers):
    modules = []
    for inputs, outputs in zip(layers, layers[1:]):
        modules += [nn.Linear(inputs, outputs), nn.ReLU()]
    return modules[:-1]


class GPT(nn.Module):
    def __init__(self, vocabulary=65, length=64, width=128, heads=4, layers=4):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Parameter(torch.randn(length, width) * 0.02)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary)
        self.register_buffer("mask", torch.full((length, length), float("-inf")).triu(1))

    def forward(self, x):
        x = self.tokens(x) + self.positions
        for block in self.blocks:
            x = block(x, src_mask=self.mask)
        return self.head(self.norm(x))


class Forecaster(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(8, 64, batch_first=True)
        self.head = nn.Linear(64, 1)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


def classes_loss(logits, labels):
    return nn.functional.cross_entropy(logits.flatten(0, -2), labels.flatten())


def task(spec, rows):
    """Model, loss, and a function that draws a batch."""
    kind, layers = spec["kind"], spec["layers"]
    if kind == "mlp":
        draw = lambda: (torch.rand(rows, layers[0]), torch.randint(layers[-1], (rows,)))
        return nn.Sequential(*perceptron(layers)), classes_loss, draw
    if kind == "cnn":
        model = nn.Sequential(
            *[nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)],
            *[nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)],
            *[nn.Flatten(), *perceptron([32 * 7 * 7, 128, 10])],
        )
        return model, classes_loss, lambda: (torch.rand(rows, 1, 28, 28), torch.randint(10, (rows,)))
    if kind == "gpt":
        draw = lambda: (torch.randint(65, (rows, 64)), torch.randint(65, (rows, 64)))
        return GPT(), classes_loss, draw
    return Forecaster(), nn.functional.mse_loss, lambda: (torch.rand(rows, 48, 8), torch.rand(rows, 1))


class Trainer:
    def __init__(self, spec, wrap):
        torch.manual_seed(1)
        model, self.loss, draw = task(spec, spec["batch"] // spec["processes"])
        self.model = wrap(model)
        self.use_foreach(False)
        self.batches = [draw() for _ in range(32)]

    def use_foreach(self, foreach):
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3, foreach=foreach)

    def seconds_per_step(self, steps):
        begin = time.perf_counter()
        for step in range(steps):
            x, y = self.batches[step % len(self.batches)]
            loss = self.loss(self.model(x), y)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
        return (time.perf_counter() - begin) / steps


def product_gflops(size=768):
    """Of one matrix product: tells an optimised BLAS from the reference one."""
    a, b = torch.rand(size, size), torch.rand(size, size)
    best = math.inf
    for _ in range(5):
        begin = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - begin)
    return 2 * size**3 / best / 1e9


def reply(value):
    print(json.dumps(value), flush=True)


def serve(trainer, steps, tell=lambda command, count: None):
    """Answers the driver; `tell` lets the other processes do the same."""

    def use_foreach(foreach):
        tell(FOREACH, int(foreach))
        trainer.use_foreach(foreach)

    def run(count):
        tell(RUN, count)
        return trainer.seconds_per_step(count)

    def speed_with(foreach):
        use_foreach(foreach)
        run(3)
        return run(max(3, steps // 10))

    foreach = min((False, True), key=speed_with)
    use_foreach(foreach)
    run(3)
    reply({"version": torch.__version__, "foreach": foreach, "productGflops": product_gflops()})
    for line in sys.stdin:
        if line.strip() == "round":
            reply({"secondsPerStep": run(steps)})
    tell(END, 0)


def follow(trainer):
    """What the other processes do: as rank 0 tells."""
    words = torch.zeros(2, dtype=torch.int64)
    while True:
        dist.broadcast(words, 0)
        command, count = words.tolist()
        if command == END:
            return
        if command == FOREACH:
            trainer.use_foreach(bool(count))
        else:
            trainer.seconds_per_step(count)


def process(rank, spec, meeting):
    torch.set_num_threads(spec["threads"])
    if sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=spec["processes"])
    trainer = Trainer(spec, torch.nn.parallel.DistributedDataParallel)
    if rank == 0:
        # A forked process of multiprocessing has no standard input: it gets the parent's.
        sys.stdin = os.fdopen(spec["stdin"])
        serve(trainer, spec["steps"], lambda *words: dist.broadcast(torch.tensor(words), 0))
    else:
        follow(trainer)
    dist.destroy_process_group()


def main():
    spec = json.loads(sys.argv[1])
    if spec["processes"] == 1:
        torch.set_num_threads(spec["threads"])
        serve(Trainer(spec, lambda model: model), spec["steps"])
        return
    with tempfile.TemporaryDirectory() as folder:
        context = multiprocessing.get_context("fork")
        meeting = os.path.join(folder, "meeting")
        spec["stdin"] = os.dup(0)
        children = [
            context.Process(target=process, args=(rank, spec, meeting)) for rank in range(spec["processes"])
        ]
        for child in children:
            child.start()
        for child in children:
            child.join()


main()
