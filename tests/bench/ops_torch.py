"""The ops that side_by_side.py compares: for each case, the arguments of `tapestry bench` and the same in PyTorch.

GROUPS maps a name to a list of cases (name, arguments, make). make() returns a function for each line that `tapestry bench` prints with
these arguments, in the same order; it may leave out the last.
"""
import torch
from torch.nn import functional as F

GEMMS = [(n, n, n) for n in (64, 128, 256, 512, 1024, 2048)] + [
    # the nets' shapes: m (channels), k (channels times taps), n (pixels or batch)
    (64, 576, 1024), (128, 1152, 4096), (256, 2304, 64), (512, 4608, 16), (64, 288, 784), (64, 784, 256), (64, 128, 512)]

# name, batch, channels in and out, side, kernel, stride, padding; ct: transposed
CONVS = [
    ("dcgan d1", 64, 3, 64, 32, 4, 2, 1), ("dcgan d2", 64, 64, 128, 16, 4, 2, 1), ("dcgan d3", 64, 128, 256, 8, 4, 2, 1),
    ("dcgan g1 ct", 64, 128, 256, 1, 4, 1, 0), ("dcgan g2 ct", 64, 256, 128, 4, 4, 2, 1), ("dcgan g3 ct", 64, 128, 64, 8, 4, 2, 1),
    ("dcgan g4 ct", 64, 64, 3, 16, 4, 2, 1), ("style in", 4, 3, 32, 128, 9, 1, 4), ("style half", 4, 32, 64, 128, 3, 2, 1),
    ("style quarter", 4, 64, 128, 64, 3, 2, 1), ("style residual", 4, 128, 128, 32, 3, 1, 1), ("style up", 4, 64, 32, 128, 3, 1, 1),
    ("style out", 4, 32, 3, 128, 9, 1, 4), ("vgg 1.1", 4, 3, 64, 128, 3, 1, 1), ("vgg 1.2", 4, 64, 64, 128, 3, 1, 1),
    ("vgg 2.1", 4, 64, 128, 64, 3, 1, 1), ("vgg 2.2", 4, 128, 128, 64, 3, 1, 1), ("vgg 3.2", 4, 256, 256, 32, 3, 1, 1),
    ("resnet 16", 128, 16, 16, 32, 3, 1, 1), ("resnet 32", 128, 32, 32, 16, 3, 1, 1), ("resnet 64", 128, 64, 64, 8, 3, 1, 1),
    ("resnet 16-32", 128, 16, 32, 32, 3, 2, 1), ("edsr up", 16, 64, 256, 32, 3, 1, 1), ("espcn in", 16, 3, 64, 32, 5, 1, 2),
    ("lenet 2", 64, 6, 16, 14, 5, 1, 0), ("unet e3", 8, 64, 128, 16, 4, 2, 1), ("unet d3 ct", 8, 256, 64, 8, 4, 2, 1),
    ("1x1", 16, 128, 64, 32, 1, 1, 0)]

NORM_SHAPES = [(64, 64, 32), (4, 32, 128), (128, 16, 32), (64, 256, 8)]

UNARY = {
    "relu": torch.relu, "leaky_relu": lambda x: F.leaky_relu(x, 0.2), "tanh": torch.tanh, "sigmoid": torch.sigmoid, "exp": torch.exp,
    "gelu": F.gelu, "silu": F.silu, "softplus": F.softplus, "square": torch.square, "abs": torch.abs, "sqrt": torch.sqrt, "log": torch.log}
BINARY = {"add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div}
REDUCE = {"sum": torch.sum, "mean": torch.mean}


def quiet(function):
    """Runs without recording."""
    def call():
        with torch.no_grad():
            function()
    return call


def forward_backward(function, *inputs, backward=True):
    """The op alone, and the gradient alone of an output that was recorded once. A gradient that PyTorch gives as a view, without writing
    numbers, is not compared."""
    inputs = [x.requires_grad_() for x in inputs]
    lines = [quiet(lambda: function(*inputs))]
    if backward:
        y = function(*inputs)
        g = torch.randn_like(y)
        lines.append(lambda: torch.autograd.grad(y, inputs, g, retain_graph=True))
    return lines


def gemm(m, k, n):
    a, b = torch.randn(m, k), torch.randn(k, n)
    return [lambda: a @ b]


def conv(n, i, o, size, kernel, stride, padding, transposed):
    x, w, b = torch.randn(n, i, size, size), torch.randn(*((i, o) if transposed else (o, i)), kernel, kernel), torch.randn(o)
    apply = F.conv_transpose2d if transposed else F.conv2d
    g = torch.randn_like(apply(x, w, b, stride, padding))
    back = lambda mask: torch.ops.aten.convolution_backward(
        g, x, w, [o], [stride] * 2, [padding] * 2, [1, 1], transposed, [0, 0], 1, mask)
    return [quiet(lambda: apply(x, w, b, stride, padding)), lambda: back([True, False, False]), lambda: back([False, True, False])]


def norm(kind, n, c, size):
    x = torch.randn(n, c, size, size, requires_grad=True)
    shape = (c, size, size) if kind == "layer" else (c,)
    w, b = torch.ones(shape, requires_grad=True), torch.zeros(shape, requires_grad=True)
    mean, var = torch.zeros(c), torch.ones(c)
    apply = {"batch": lambda: F.batch_norm(x, mean, var, w, b, True), "layer": lambda: F.layer_norm(x, shape, w, b),
             "group": lambda: F.group_norm(x, 8, w, b), "instance": lambda: F.instance_norm(x, None, None, w, b)}[kind]
    g = torch.randn_like(x)
    return [quiet(apply), lambda: torch.autograd.grad(apply(), (x, w, b), g)]


def optimizer(kind, count, tensors, foreach):
    parameters = [torch.randn(count // tensors, requires_grad=True) for _ in range(tensors)]
    for p in parameters:
        p.grad = torch.randn_like(p)
    if kind == "adam":
        return [torch.optim.Adam(parameters, lr=2e-4, betas=(0.5, 0.999), foreach=foreach).step]
    return [torch.optim.SGD(parameters, lr=0.1, momentum=0.9, foreach=foreach).step]


def overhead():
    a = torch.randn(64)
    s = torch.randn(64, requires_grad=True)
    return [quiet(lambda: a + a), lambda: torch.autograd.grad((s * s + s).sum(), s)]


def arguments(name, **options):
    return [name] + [word for key, value in options.items() for word in (f"--{key.replace('_', '-')}", str(value))]


def positive():
    return torch.rand(2048, 2048) + 0.5


def cases():
    groups = {name: [] for name in ("gemm", "conv", "norm", "elementwise", "pool", "reduce", "optimizer", "overhead")}
    add = lambda group, name, args, make, *values: groups[group].append((name, args, lambda: make(*values)))
    for m, k, n in GEMMS:
        add("gemm", f"{m}x{k}x{n}", arguments("gemm", m=m, k=k, n=n), gemm, m, k, n)
    for name, n, i, o, size, kernel, stride, padding in CONVS:
        transposed = name.endswith("ct")
        add("conv", name, arguments("conv_transpose2d" if transposed else "conv2d", n=n, out=o, size=size, kernel=kernel, stride=stride,
                                    padding=padding) + ["--in", str(i)], conv, n, i, o, size, kernel, stride, padding, transposed)
    for n, c, size in NORM_SHAPES:
        for kind in ("batch", "layer", "group", "instance"):
            add("norm", f"{kind} {n}x{c}x{size}x{size}", arguments("norm", norm=kind, n=n, size=size) + ["--in", str(c)], norm, kind, n, c, size)
    for name, function in UNARY.items():
        add("elementwise", name, arguments("elementwise", op=name, shape="2048,2048"),
            lambda f=function: forward_backward(f, positive()))
    for name, function in BINARY.items():
        # The gradient of a sum is the upstream gradient itself: nothing to time.
        add("elementwise", name, arguments("elementwise", op=name, shape="2048,2048"),
            lambda f=function, b=name not in ("add", "sub"): forward_backward(f, positive(), positive(), backward=b))
    for name, function in (("softmax", F.softmax), ("log_softmax", F.log_softmax)):
        add("elementwise", name, arguments("softmax", op=name, shape="4096,1024"),
            lambda f=function: forward_backward(lambda x: f(x, 1), torch.randn(4096, 1024)))
    image, small = lambda: torch.randn(16, 64, 64, 64), lambda: torch.randn(16, 64, 32, 32)
    pools = [("max_pool2d", {}, image, lambda x: F.max_pool2d(x, 2)), ("avg_pool2d", {}, image, lambda x: F.avg_pool2d(x, 2)),
             ("global_avg_pool2d", {}, image, lambda x: F.adaptive_avg_pool2d(x, 1)),
             ("upsample", {"mode": "nearest", "size": 32}, small, lambda x: F.interpolate(x, scale_factor=2, mode="nearest")),
             ("upsample", {"mode": "bilinear", "size": 32}, small,
              lambda x: F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)),
             ("pad", {"mode": "reflect", "padding": 1}, image, lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect")),
             ("pixel_shuffle", {"factor": 2}, image, lambda x: F.pixel_shuffle(x, 2))]
    for name, options, x, function in pools:
        add("pool", f"{name} {options.get('mode', '')}".strip(), arguments(name, n=16, **{"size": 64, **options}) + ["--in", "64"],
            lambda f=function, x=x: forward_backward(f, x()))
    for name, function in REDUCE.items():
        for axes in (None, 0, 1):
            args = arguments("reduce", op=name, shape="2048,2048") + ([] if axes is None else ["--axes", str(axes)])
            add("reduce", name if axes is None else f"{name} axis {axes}", args,
                lambda f=function, a=axes, b=name != "sum": forward_backward(
                    f if a is None else (lambda x: f(x, a)), torch.randn(2048, 2048), backward=b))
    for kind in ("adam", "sgd"):
        for tensors in (50, 1):
            for foreach in (False, True):
                add("optimizer", f"{kind} 5M in {tensors}" + (", foreach" if foreach else ""),
                    arguments(kind, n=5000000, tensors=tensors), optimizer, kind, 5000000, tensors, foreach)
    add("overhead", "64 numbers", arguments("overhead"), overhead)
    return groups


GROUPS = cases()
