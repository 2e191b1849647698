"""Writes data/edges.json: PyTorch in float64 where functions are special: NaN, infinities, zeros, equal elements, nothing at all,
and the losses on other shapes. What is not finite is text. Run: python3 test/golden/edges.py
"""
import json
import math
import pathlib

import torch
import torch.nn.functional as F
from ops import numbers

N, I = math.nan, math.inf
EDGES = [N, I, -I, 0.0, -0.0, 1.0, -2.5]


def t(values, *shape):
    return torch.tensor(values, dtype=torch.float64).reshape(shape or torch.tensor(values).shape)


# name: (function, inputs, and for forward passes alone: False)
cases = {
    'exp': (torch.exp, [t(EDGES)]), 'expm1': (torch.expm1, [t([N, -I, 0, -0.0, 1, -50])]),
    'log': (torch.log, [t([N, I, -I, -1, 0, 4])]), 'log1p': (torch.log1p, [t([N, I, -1, 0, -2])]),
    'sqrt': (torch.sqrt, [t([N, I, -I, 0, 4])]), 'rsqrt': (torch.rsqrt, [t([N, I, 0, -1, 4])]),
    'sin': (torch.sin, [t(EDGES)]), 'cos': (torch.cos, [t(EDGES)]), 'tanh': (torch.tanh, [t(EDGES)]),
    'sigmoid': (torch.sigmoid, [t([*EDGES, 100, -100])]), 'erf': (torch.erf, [t(EDGES)]),
    'abs': (torch.abs, [t(EDGES)]), 'sign': (torch.sign, [t(EDGES)]),
    'relu': (torch.relu, [t(EDGES)]), 'leakyRelu': (lambda x: F.leaky_relu(x, 0.25), [t(EDGES)]),
    'elu': (lambda x: F.elu(x, 1.5), [t(EDGES[1:])]), 'softplus': (F.softplus, [t([*EDGES, 100, -100])]),
    'gelu': (F.gelu, [t(EDGES)]), 'silu': (F.silu, [t(EDGES)]), 'mish': (F.mish, [t(EDGES)]),
    'geluTanh': (lambda x: F.gelu(x, approximate='tanh'), [t(EDGES)]), 'hardswishSlope': (F.hardswish, [t([*EDGES[1:], 2.5])]),
    'hardswish': (F.hardswish, [t([*EDGES, 3, -3])], False),
    'floor': (torch.floor, [t(EDGES)]), 'ceil': (torch.ceil, [t(EDGES)]), 'round': (torch.round, [t([*EDGES, 0.5, 1.5, -0.5])]),
    'clamp': (lambda x: x.clamp(-1, 1), [t([*EDGES, -1])]), 'clampBackwards': (lambda x: x.clamp(1, -1), [t([0, 2, -2])]),
    'minimum': (torch.minimum, [t([N, 1, N, 3, 2, -I, I]), t([2, N, N, 3, 1, 0, I])]),
    'maximum': (torch.maximum, [t([N, 1, N, 3, 2, -I, I]), t([2, N, N, 3, 1, 0, I])]),
    'minimumOfEquals': (torch.minimum, [t([1, 2]), t([1, 3])]), 'maximumOfEquals': (torch.maximum, [t([1, 2]), t([1, 3])]),
    'div': (torch.div, [t([1, 0, -1, 0]), t([0, 0, 0, 2])]),
    'pow': (torch.pow, [t([0, 0, 0, 2, -2, -2, -2, 0]), t([0, 1, 2, 0, 3, 2, -1, -1])]),
    'powHalf': (lambda x: x**0.5, [t([0, 1, 4, -1])]), 'powZero': (lambda x: x**0, [t([0, 1, N, I])]),
    'powThird': (lambda x: x ** (1 / 3), [t([-8.0, 8])]), 'powTwo': (lambda x: x**2, [t([0, 1, -2, I])]),
    'powOfTwo': (lambda x: 2**x, [t([0, 1, -2, -I])]),
    'where': (lambda x: torch.where(x > 0, x, -x), [t(EDGES)]),
    'max': (lambda x: x.amax(), [t([1, N, 3])]), 'maxOfEquals': (lambda x: x.amax(-1), [t([[1, 3, 3, 2], [0, 0, -I, 0]])]),
    'min': (lambda x: x.amin(), [t([1, N, 3])]), 'minOfEquals': (lambda x: x.amin(-1), [t([[1, 3, 1, 2], [0, 0, I, 0]])]),
    'argmax': (lambda x: x.argmax(-1), [t([[2, 1, 2, 1], [1, N, 3, N], [-I, -I, I, I]])]),
    'argmin': (lambda x: x.argmin(-1), [t([[2, 1, 2, 1], [1, N, 3, N], [I, -I, -I, I]])]),
    'prod': (lambda x: x.prod(-1), [t([[2, 0, 3], [0, 0, 3], [1, -2, 0.5]])]), 'prodOfNothing': (lambda x: x.prod(-1), [t([], 2, 0)], False),
    'cumsum': (lambda x: x.cumsum(-1), [t([[1, I, 2, -I, 1], [0, N, 1, 2, 3]])]),
    'sumOfNothing': (lambda x: x.sum(0), [t([], 0, 3)]), 'meanOfNothing': (lambda x: x.mean(0), [t([], 0, 3)]),
    'variance': (lambda x: x.var(-1), [t([[5, 5], [1, 4]])]), 'varianceOfOne': (lambda x: x.var(-1), [t([[5.0], [1]])], False),
    'std': (lambda x: x.std(-1), [t([[1, 2, 4], [5, 7, 6]])]), 'stdOfEquals': (lambda x: x.std(), [t([5, 5])]),
    'norm': (lambda x: x.norm(dim=-1), [t([[0, 0], [3, 4]])]), 'norm1': (lambda x: x.norm(1), [t([0, -2, 3])]),
    'norm3': (lambda x: x.norm(3), [t([0, 3, -4])]), 'normMax': (lambda x: torch.linalg.vector_norm(x, ord=I), [t([3, -4, 4])]),
    'logSumExp': (lambda x: x.logsumexp(-1), [t([[-I, 1, 2], [1000, 1000.5, -1000]])]),
    'logSumExpOfNoChance': (lambda x: x.logsumexp(-1), [t([[-I, -I], [I, 1], [N, 1]])]),
    'logSumExpOfNothing': (lambda x: x.logsumexp(-1), [t([], 2, 0)], False), 'logSumExpOfOne': (lambda x: x.logsumexp(-1), [t(3.5)]),
    'softmax': (lambda x: x.softmax(-1), [t([[1000, -1000, 0], [-I, 0, 1], [3, 3, 3]])]),
    'softmaxOfNoChance': (lambda x: x.softmax(-1), [t([[-I, -I], [I, 0], [N, 0]])], False),
    'softmaxOfNothing': (lambda x: x.softmax(0), [t([], 0, 3)]), 'softmaxOfOne': (lambda x: x.softmax(-1), [t(3.5)]),
    'logSoftmax': (lambda x: x.log_softmax(-1), [t([[1000, -1000, 0], [0, 0, 1]])]),
    'sort': (lambda x: x.sort(-1).values, [t([3, 1, N, 2, -I])]), 'sortDown': (lambda x: x.sort(-1, descending=True).values, [t([3, 1, N, 2, I])]),
    'argsort': (lambda x: torch.sort(x, dim=-1, stable=True).indices, [t([3, 1, 2, 1, 3])]),
    'argsortDown': (lambda x: torch.sort(x, dim=-1, stable=True, descending=True).indices, [t([3, 1, 2, 1, 3])]),
    'topKOfEquals': (lambda x: x.topk(2, -1).values, [t([2, 2, 2, 1])]),
    'cumsumOfOne': (lambda x: x.cumsum(0), [t(3.5)]), 'argmaxOfOne': (lambda x: x.argmax(-1), [t(3.5)]), 'argminOfOne': (lambda x: x.argmin(0), [t(3.5)]),
    'sortOfOne': (lambda x: x.sort(0).values, [t(3.5)]), 'argsortOfOne': (lambda x: x.sort(-1).indices, [t(3.5)]), 'topKOfOne': (lambda x: x.topk(1, 0).values, [t(3.5)]),
    'topKOfNone': (lambda x: x.topk(0, 1).values, [t([1, 2, 3, 4, 5, 6], 2, 3)]),
    **{f'{name}OfNothing{"x".join(map(str, shape))}': (f, [t([], *shape)]) for shape in [(0, 3), (3, 0), (2, 0, 3)] for name, f in {
        'gather': lambda x: x.gather(-1, torch.zeros(x.shape).long()), 'gatherFirst': lambda x: x.gather(0, torch.zeros(x.shape).long()),
        'scatterAdd': lambda x: x.scatter_add(-1, torch.zeros(x.shape).long(), x), 'sort': lambda x: x.sort(-1).values,
        'sortFirst': lambda x: x.sort(0).values, 'topK': lambda x: x.topk(x.shape[-1] // 2, -1).values, 'cumsum': lambda x: x.cumsum(0)}.items()},
    'scatterAddNothing': (lambda x: x.scatter_add(0, torch.zeros(0, 3).long(), torch.zeros(0, 3).double()), [t([1, 2, 3, 4, 5, 6], 2, 3)]),
    'huberOfInfinity': (lambda x, y: F.huber_loss(x, y, reduction='none'), [t([I, -I, I, N, 0, 3, 0.5]), t([1, 0.5, -I, 1, I, 0, 0])]),
    'smoothL1OfInfinity': (lambda x, y: F.smooth_l1_loss(x, y, reduction='none', beta=0.4), [t([I, -I, I, N, 0, 3, 0.5]), t([1, 0.5, -I, 1, I, 0, 0.2])]),
    'mseOfInfinity': (lambda x, y: F.mse_loss(x, y, reduction='none'), [t([I, -I, I, N, 0]), t([1, 0.5, -I, 1, I])]),
    'l1OfInfinity': (lambda x, y: F.l1_loss(x, y, reduction='none'), [t([I, -I, I, N, 0]), t([1, 0.5, -I, 1, I])]),
    'klDivOfNoTarget': (lambda x, y: F.kl_div(x, y, reduction='none'), [t([-I, N, -1]), t([0, 0, 0])], False),
    'tril': (torch.tril, [t([[1, N], [2, I]])]), 'squeeze': (torch.squeeze, [t([1, 2, 3], 1, 3, 1)]),
    'roll': (lambda x: x.roll(4), [t([1, 2, 3, 4, 5, 6], 2, 3)]), 'rollTwo': (lambda x: x.roll((1, -2), (0, 1)), [t([1, 2, 3, 4, 5, 6], 2, 3)]),
    'slice': (lambda x: x[-100:100:3], [t([1, 2, 3, 4, 5, 6, 7])]), 'sliceOfNothing': (lambda x: x[5:2], [t([1, 2, 3, 4, 5, 6, 7])]),
    'layerNorm': (lambda x: F.layer_norm(x, (3,)), [t([[1e3, 1e3, 1e3], [0, 0, 0], [1, 2, 4]])]),
    'maxPool2d': (lambda x: F.max_pool2d(x, 2), [t([1, 1, 2, 2, N, 1, 3, 3, 3, 3, 0, 1, -I, -I, -I, -I], 1, 1, 4, 4)]),
    'maxPool2dOfNaNs': (lambda x: F.max_pool2d(x, 2), [t([N, N, 1, 2], 1, 1, 2, 2)]),
    'maxPool2dOfEquals': (lambda x: F.max_pool2d(x, 2, 1), [t([1] * 9, 1, 1, 3, 3)]),
}

labels = lambda *shape: (torch.arange(math.prod(shape)) * 7 + 3).reshape(shape) % 4
losses = {
    'mse': F.mse_loss, 'l1': F.l1_loss, 'huber': lambda x, y: F.huber_loss(x, y, delta=0.75),
    'smoothL1': lambda x, y: F.smooth_l1_loss(x, y, beta=0.4),
    'bceWithLogits': F.binary_cross_entropy_with_logits,
    'bce': lambda x, y: F.binary_cross_entropy(x.sigmoid(), y),
    'klDiv': lambda x, y: F.kl_div(x, y, reduction='batchmean'),
    'hinge': lambda x, y: (1 - x * (2 * y - 1)).clamp(min=0).mean(),
}
for name, f in losses.items():
    for shape in [(7,), (2, 3, 5), (1,)]:
        y = numbers(shape, 0.1, 0.9, 2)
        cases[f'loss {name} {list(shape)}'] = (lambda x, f=f, y=y: f(x, y), [numbers(shape, -2, 2, 1)])
for shape in [(7,), (2, 3), (1,)]:
    y = labels(*shape)
    flat = lambda x: x.reshape(-1, 4)
    w = t([0.5, 2, 0.25, 1.5])
    named = {
        'crossEntropy': lambda x, y=y: F.cross_entropy(flat(x), y.flatten()),
        'crossEntropyAll': lambda x, y=y: F.cross_entropy(flat(x), y.flatten(), w, ignore_index=0, label_smoothing=0.3),
        'nll': lambda x, y=y: F.nll_loss(flat(x), y.flatten(), w),
        'multiMargin': lambda x, y=y: F.multi_margin_loss(flat(x), y.flatten(), margin=0.75),
        'cosineEmbedding': lambda x, y=y: F.cosine_embedding_loss(flat(x), flat(x).detach().flip(-1) + 0.5, y.flatten() % 2 * 2 - 1),
    }
    for name, f in named.items():
        cases[f'loss {name} {list(shape)}'] = (f, [numbers((*shape, 4), -2, 2, 1)])


def plain(x):
    return float(f'{x:.9g}') if math.isfinite(x) else str(x)


def listed(x):
    return [plain(v) for v in x.detach().double().flatten().tolist()]


def evaluate(f, inputs, differentiable=True):
    xs = [x.clone().requires_grad_() for x in inputs]
    y = f(*xs)
    found = {'inputs': [[list(x.shape), listed(x)] for x in xs], 'shape': list(y.shape), 'y': listed(y)}
    if differentiable and y.requires_grad:
        seed = 1 + torch.arange(y.numel()).double().reshape(y.shape) / 4
        found['grads'] = [listed(g) for g in torch.autograd.grad((y * seed).sum(), xs)]
    return found


path = pathlib.Path(__file__).parent / 'data' / 'edges.json'
table = {name: evaluate(*case) for name, case in cases.items()}
path.write_text(json.dumps(table, separators=(',', ':'), allow_nan=False) + '\n')
