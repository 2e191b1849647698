"""Values and gradients of every op in float64, by PyTorch: writes data/ops.json. Run: python3 test/golden/ops.py

Inputs are not stored: both sides make them by the formula of `numbers` (packages/autograd/test/cases.ts). The gradients are
those of sum(y * numbers(y.shape, -1, 1, 9)). The functions' names are the keys of the table in ops.test.ts.
"""
import json
import math
import pathlib

import numpy as np
import torch
import torch.nn.functional as F

GOLDEN = (math.sqrt(5) - 1) / 2


def numbers(shape, low, high, seed):
    i = np.arange(1, math.prod(shape) + 1, dtype=np.float64)
    fraction = np.fmod(seed * 0.7548776662 + i * GOLDEN, 1)
    return torch.tensor((low + (high - low) * fraction).astype(np.float32).astype(np.float64)).reshape(shape)


def index(shape, n):
    return ((torch.arange(math.prod(shape)) * 7 + 3) % n).reshape(shape)


UNARY = [[(7,)], [(2, 3, 5)], [(1,)], [()], [(0, 3)], [(3, 37)]]
PAIRS = [[(7,), (7,)], [(2, 3, 5), (3, 1)], [(4, 1), (1,)], [(), (3,)], [(0, 3), (1, 3)]]
REDUCED = [[(7,)], [(3, 5, 2)], [(1, 1)], [(4, 37)]]
MATRICES = [[(5, 5)], [(2, 3, 5)], [(1, 1)]]

ATTENDING = [[(3, 5), (7, 5)], [(2, 3, 4, 17), (2, 1, 5, 17)], [(1, 1), (1, 1)], [(37, 3), (140, 3)]]


def attention(q, k, causal=False):
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    if causal:
        scores = scores.masked_fill(torch.ones(scores.shape[-2:]).triu(1).bool(), -math.inf)
    return scores.softmax(-1) @ k


# name: (function, shapes of the inputs for each case, [low, high] of each input)
cases = {
    'neg': (torch.neg, UNARY), 'abs': (torch.abs, UNARY), 'square': (torch.square, UNARY),
    'sqrt': (torch.sqrt, UNARY, (0.2, 4)), 'rsqrt': (torch.rsqrt, UNARY, (0.2, 4)),
    'exp': (torch.exp, UNARY), 'expm1': (torch.expm1, UNARY),
    'log': (torch.log, UNARY, (0.2, 4)), 'log1p': (torch.log1p, UNARY, (-0.8, 4)),
    'sin': (torch.sin, UNARY), 'cos': (torch.cos, UNARY), 'tanh': (torch.tanh, UNARY),
    'sigmoid': (torch.sigmoid, UNARY), 'erf': (torch.erf, UNARY), 'relu': (torch.relu, UNARY),
    'sign': (torch.sign, UNARY), 'floor': (torch.floor, UNARY), 'ceil': (torch.ceil, UNARY), 'round': (torch.round, UNARY),
    'leakyRelu': (lambda x: F.leaky_relu(x, 0.25), UNARY), 'elu': (lambda x: F.elu(x, 1.5), UNARY),
    'gelu': (F.gelu, UNARY), 'geluTanh': (lambda x: F.gelu(x, approximate='tanh'), UNARY),
    'silu': (F.silu, UNARY), 'softplus': (lambda x: F.softplus(x, 2.5, 1e9), UNARY),
    'hardswish': (F.hardswish, UNARY, (-4, 4)), 'mish': (F.mish, UNARY),
    'clamp': (lambda x: x.clamp(-0.5, 1), UNARY),
    'add': (torch.add, PAIRS), 'sub': (torch.sub, PAIRS), 'mul': (torch.mul, PAIRS),
    'div': (torch.div, PAIRS, (-3, 3), (0.3, 2)), 'pow': (torch.pow, PAIRS, (0.3, 3), (-2, 3)),
    'minimum': (torch.minimum, PAIRS), 'maximum': (torch.maximum, PAIRS),
    'where': (lambda x, y: torch.where(x > y, x, y), PAIRS),
    'lt': (lambda x, y: (x < y).double(), PAIRS), 'le': (lambda x, y: (x <= y).double(), PAIRS),
    'gt': (lambda x, y: (x > y).double(), PAIRS), 'ge': (lambda x, y: (x >= y).double(), PAIRS),
    'eq': (lambda x, y: (x.round() == y.round()).double(), PAIRS), 'ne': (lambda x, y: (x.round() != y.round()).double(), PAIRS),
    'logicalAnd': (lambda x, y: ((x > 0) & (y > 0)).double(), PAIRS),
    'logicalOr': (lambda x, y: ((x > 0) | (y > 0)).double(), PAIRS),
    'logicalNot': (lambda x: (~(x > 0)).double(), UNARY),
    'isfinite': (lambda x: torch.isfinite(1 / x.round()).double(), UNARY),
    'cast': (lambda x: x.to(torch.int32).double(), UNARY),
    'full': (lambda x: x + torch.full(x.shape, 0.75).double(), UNARY),
    'sum': (lambda x: x.sum(), REDUCED), 'sumRows': (lambda x: x.sum(-1, keepdim=True), REDUCED),
    'mean': (lambda x: x.mean(0), REDUCED), 'prod': (lambda x: x.prod(-1), REDUCED),
    'max': (lambda x: x.amax(-1), REDUCED), 'min': (lambda x: x.amin(0), REDUCED),
    'argmax': (lambda x: x.argmax(-1).double(), REDUCED), 'argmin': (lambda x: x.argmin(0).double(), REDUCED),
    'var': (lambda x: x.var(-1, unbiased=False), REDUCED),
    'std': (lambda x: x.std(), [[(7,)], [(3, 5, 2)], [(4, 37)], [(2, 1)]]),
    'norm': (lambda x: x.norm(), REDUCED), 'norm3': (lambda x: torch.linalg.vector_norm(x, 3, -1), REDUCED),
    'logSumExp': (lambda x: x.logsumexp(-1), REDUCED), 'cumsum': (lambda x: x.cumsum(0), REDUCED),
    'any': (lambda x: (x > 0.5).any(-1).double(), REDUCED), 'all': (lambda x: (x > -1.5).all(-1).double(), REDUCED),
    'softmax': (lambda x: x.softmax(-1), REDUCED), 'softmaxFirst': (lambda x: x.softmax(0), REDUCED),
    'logSoftmax': (lambda x: x.log_softmax(-1), REDUCED),
    'crossEntropy': (lambda x: F.cross_entropy(x, index(x.shape[:1], x.shape[1]), reduction='none'), [[(4, 37)], [(3, 5)], [(1, 1)]]),
    'reshape': (lambda x: x.reshape(-1, 1), UNARY), 'flatten': (lambda x: x.flatten(0), REDUCED),
    'transpose': (lambda x: x.transpose(-2, -1), MATRICES), 'permute': (lambda x: x.permute(tuple(range(x.dim() - 1, -1, -1))), UNARY),
    'squeeze': (lambda x: x.unsqueeze(0).squeeze(0), UNARY), 'unsqueeze': (lambda x: x.unsqueeze(-1), UNARY),
    'expand': (lambda x: x.expand(4, *x.shape), UNARY), 'repeat': (lambda x: x.repeat(2, *[3] * x.dim()), REDUCED),
    'concat': (lambda x, y: torch.cat([x, y, x], -1), [[(7,), (2,)], [(2, 3, 5), (2, 3, 1)], [(3, 1), (3, 0)]]),
    'stack': (lambda x, y: torch.stack([x, y], -1), [[(7,), (7,)], [(2, 3, 5), (2, 3, 5)], [(), ()]]),
    'split': (lambda x: torch.cat(x.split(3, -1)[::-1], -1), REDUCED), 'chunk': (lambda x: x.chunk(3, 0)[-1], REDUCED),
    'slice': (lambda x: x[..., 0:-1:2], REDUCED), 'narrow': (lambda x: x.narrow(-1, 0, 1), REDUCED),
    'pad': (lambda x: F.pad(x, (1, 2), value=-0.5), REDUCED), 'flip': (lambda x: x.flip(0, -1) if x.dim() > 1 else x.flip(0), REDUCED),
    'roll': (lambda x: x.roll(3, 0), REDUCED), 'tril': (lambda x: x.tril(1), MATRICES), 'triu': (lambda x: x.triu(), MATRICES),
    'diagonal': (lambda x: x.diagonal(dim1=-2, dim2=-1), [[(5, 5)], [(2, 3, 3)], [(1, 1)]]),
    'indexSelect': (lambda x: x.index_select(0, index((9,), x.shape[0])), REDUCED),
    'gather': (lambda x: x.gather(0, index(x.shape, x.shape[0])), REDUCED),
    'scatterAdd': (lambda x, y: x.scatter_add(0, index(y.shape, x.shape[0]), y), [[(4,), (7,)], [(3, 2, 5), (4, 2, 5)], [(1, 1), (3, 1)]]),
    'indexAdd': (lambda x, y: x.index_add(-1, index((6,), x.shape[-1]), y), [[(4,), (6,)], [(3, 2, 5), (3, 2, 6)], [(1, 1), (1, 6)]]),
    'sort': (lambda x: x.sort(0, descending=True).values, REDUCED), 'topK': (lambda x: x.topk(1, -1).values, REDUCED),
    'oneHot': (lambda x: x * F.one_hot(index(x.shape[:-1], x.shape[-1]), x.shape[-1]), REDUCED),
    'matmul': (torch.matmul, [[(3, 5), (5, 7)], [(2, 1, 3, 4), (3, 4, 2)], [(1, 1), (1, 1)], [(3, 0), (0, 2)], [(2, 3, 4), (4,)], [(9, 33), (33, 17)]]),
    'outer': (torch.outer, [[(3,), (5,)], [(1,), (7,)], [(0,), (2,)]]), 'dot': (torch.dot, [[(7,), (7,)], [(1,), (1,)], [(37,), (37,)]]),
    'einsum': (lambda x, y: torch.einsum('bij,bkj->ikb', x, y), [[(2, 3, 5), (2, 4, 5)], [(1, 3, 1), (1, 2, 1)], [(3, 0, 2), (3, 2, 2)]]),
    'einsumDots': (lambda x, y: torch.einsum('...ij,j->...i', x, y), [[(3, 5), (5,)], [(2, 3, 5), (5,)], [(1, 1, 1, 1), (1,)]]),
    'take': (lambda x: x[index((2, 3), x.shape[0])], REDUCED),
    # With larger numbers a row has one probability near 1, and gradients of q are differences of equals.
    'attention': (lambda x, y: attention(x, y), ATTENDING, (-1.5, 1.5)),
    'attentionCausal': (lambda x, y: attention(x, y, True), ATTENDING, (-1.5, 1.5)),
    'arange': (lambda x: x * torch.arange(-1, -1 + x.numel() * 0.5, 0.5).double(), [[(7,)], [(37,)], [(1,)]]),
    'linspace': (lambda x: x * torch.linspace(-1, 2, x.numel(), dtype=torch.float64), [[(7,)], [(37,)], [(1,)]]),
    'eye': (lambda x: x * torch.eye(*x.shape).double(), [[(5, 5)], [(2, 7)], [(1, 1)]]),
}


def listed(t):
    return [float(f'{v:.8g}') for v in t.detach().double().flatten().tolist()]


def evaluate(f, shapes, ranges):
    inputs = [numbers(s, *(ranges[i] if i < len(ranges) else (ranges[-1] if ranges else (-3, 3))), i + 1).requires_grad_() for i, s in enumerate(shapes)]
    y = f(*inputs)
    grads = [torch.zeros_like(x) for x in inputs]
    if y.requires_grad and y.numel() > 0:
        found = torch.autograd.grad((y * numbers(tuple(y.shape), -1, 1, 9)).sum(), inputs, allow_unused=True)
        grads = [g if g is None or d is None else d for g, d in zip(grads, found)]
    return {'shape': list(y.shape), 'y': listed(y), 'grads': [listed(g) for g in grads] if y.requires_grad else None}


if __name__ == '__main__':
    table = {
        name: [{'inputs': shapes, **evaluate(f, shapes, ranges)} for shapes in all_shapes]
        for name, (f, all_shapes, *ranges) in cases.items()
    }
    ranges = {name: case[2:] for name, case in cases.items() if len(case) > 2}
    path = pathlib.Path(__file__).parent / 'data' / 'ops.json'
    path.write_text(json.dumps({'ranges': ranges, 'cases': table}, separators=(',', ':'), allow_nan=False) + '\n')
