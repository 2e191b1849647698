"""PyTorch's side: trains the model of a spec on synthetic data, round by round as told on standard input.

    python3 pytorch.py '{"layers": [784, 128, 10], "batch": 128, "steps": 100, "threads": 1, "processes": 1}'

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

END, RUN, FOREACH = range(3)


class Trainer:
    def __init__(self, spec, wrap):
        torch.manual_seed(1)
        layers, rows = spec["layers"], spec["batch"] // spec["processes"]
        modules = []
        for inputs, outputs in zip(layers, layers[1:]):
            modules += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
        self.model = wrap(torch.nn.Sequential(*modules[:-1]))
        self.use_foreach(False)
        self.batches = [
            (torch.rand(rows, layers[0]), torch.randint(layers[-1], (rows,))) for _ in range(32)
        ]

    def use_foreach(self, foreach):
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3, foreach=foreach)

    def seconds_per_step(self, steps):
        begin = time.perf_counter()
        for step in range(steps):
            x, y = self.batches[step % len(self.batches)]
            loss = torch.nn.functional.cross_entropy(self.model(x), y)
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
    reply({"torch": torch.__version__, "foreach": foreach, "productGflops": product_gflops()})
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
