"""Matrix products and convolutions, and what is built of them."""
import math

import torch
import torch.nn.functional as F

from golden import buffer, param
from movement import both


def products(book):
    n = book.normal
    for tag, a, b in (("2d", (4, 5), (5, 3)), ("tails", (7, 9), (9, 17)), ("row", (1, 13), (13, 5)),
                      ("column", (6, 7), (7, 1)), ("batch", (3, 2, 4), (3, 4, 5)), ("batch4", (2, 2, 3, 4), (2, 2, 4, 2)),
                      ("broadcast", (3, 2, 4), (4, 5)), ("broadcast4", (2, 1, 3, 2), (1, 3, 2, 4)),
                      ("vector", (5,), (5, 3)), ("dot", (7,), (7,)), ("matrix_vector", (3, 4), (4,))):
        both(book, "matmul", tag, lambda: {"a": n(*a), "b": n(*b)}, lambda t: t.a @ t.b)
    both(book, "matmul", "transposed", lambda: {"a": n(5, 4), "b": n(3, 5)}, lambda t: t.a.T @ t.b.T,
         attrs={"expr": "y = a^T @ b^T"})
    book.add("matmul", "deep", {"a": n(2, 301), "b": n(301, 2)}, lambda t: t.a @ t.b)
    book.refuse("matmul", "inner", {"a": n(2, 3), "b": n(4, 5)}, "3 columns meet 4 rows", [3, 4],
                torch_call=lambda t: t.a @ t.b)
    book.refuse("matmul", "batch", {"a": n(2, 3, 4), "b": n(3, 4, 5)}, "2 and 3 matrices", [2, 3],
                torch_call=lambda t: t.a @ t.b)
    for tag, x, out, bias in (("plain", (4, 5), 3, True), ("nobias", (3, 6), 4, False), ("tails", (5, 19), 7, True),
                              ("one", (1, 1), 1, True), ("3d", (2, 3, 4), 5, True)):
        def make():
            given = {"x": n(*x), "weight": param(n(out, x[-1]))}
            return {**given, "bias": param(n(out))} if bias else given
        both(book, "linear", tag, make, lambda t: F.linear(t.x, t.weight, t.bias if bias else None),
             attrs={"bias": bias})
    book.refuse("linear", "features", {"x": n(2, 5), "weight": param(n(3, 4))}, "the weight takes 4 features, not 5",
                [5, 4], attrs={"bias": False}, torch_call=lambda t: F.linear(t.x, t.weight))
    book.refuse("linear", "bias", {"x": n(2, 4), "weight": param(n(3, 4)), "bias": param(n(2))},
                "a bias of 2 for 3 outputs", [2, 3], attrs={"bias": True},
                torch_call=lambda t: F.linear(t.x, t.weight, t.bias))
    both(book, "gram", "style", lambda: {"x": n(2, 3, 4, 3)},
         lambda t: t.x.flatten(2) @ t.x.flatten(2).transpose(1, 2) / (3 * 4 * 3), attrs={"divide_by": "C*H*W"},
         tier="extra")
    for causal in (False, True):
        def attend(t):
            score = t.q @ t.k.transpose(-1, -2) / math.sqrt(t.q.shape[-1])
            if causal:
                score = score + torch.full_like(score, -math.inf).triu(1)
            return torch.softmax(score, -1) @ t.v
        both(book, "scaled_dot_product_attention", f"causal_{causal}".lower(),
             lambda: {"q": n(1, 2, 4, 3), "k": n(1, 2, 4, 3), "v": n(1, 2, 4, 5)}, attend, attrs={"causal": causal},
             tier="extra")


# tag, x, out channels, kernel, stride, padding, dilation, groups, bias
CONV = [
    ("k3p1", (2, 3, 5, 5), 4, (3, 3), (1, 1), (1, 1), (1, 1), 1, True),
    ("k1", (2, 5, 3, 3), 3, (1, 1), (1, 1), (0, 0), (1, 1), 1, True),
    ("k1_nobias", (1, 3, 4, 5), 17, (1, 1), (1, 1), (0, 0), (1, 1), 1, False),
    ("k4s2p1", (2, 3, 8, 8), 4, (4, 4), (2, 2), (1, 1), (1, 1), 1, True),
    ("k3s2", (1, 2, 7, 9), 3, (3, 3), (2, 2), (0, 0), (1, 1), 1, True),
    ("s3_drops", (1, 2, 9, 10), 2, (3, 3), (3, 3), (0, 0), (1, 1), 1, False),
    ("stride_pair", (1, 2, 6, 7), 3, (3, 2), (2, 1), (1, 0), (1, 1), 1, True),
    ("kernel_row", (1, 2, 4, 9), 3, (1, 5), (1, 2), (0, 2), (1, 1), 1, True),
    ("kernel_column", (1, 2, 9, 3), 2, (5, 1), (1, 1), (2, 0), (1, 1), 1, True),
    ("dilated", (1, 2, 9, 9), 3, (3, 3), (1, 1), (2, 2), (2, 2), 1, True),
    ("dilated_pair", (1, 2, 9, 8), 2, (2, 3), (2, 1), (1, 2), (3, 2), 1, False),
    ("groups2", (2, 4, 5, 5), 6, (3, 3), (1, 1), (1, 1), (1, 1), 2, True),
    ("depthwise", (1, 5, 5, 6), 5, (3, 3), (1, 1), (1, 1), (1, 1), 5, True),
    ("depthwise_x2", (1, 3, 6, 5), 6, (3, 3), (2, 2), (1, 1), (1, 1), 3, False),
    ("full_image", (3, 4, 4, 4), 2, (4, 4), (1, 1), (0, 0), (1, 1), 1, True),
    ("big_pad", (1, 1, 3, 3), 2, (3, 3), (1, 1), (4, 3), (1, 1), 1, True),
    ("stride_over_kernel", (1, 2, 8, 7), 2, (2, 2), (3, 4), (0, 0), (1, 1), 1, True),
    ("one_pixel", (2, 3, 1, 1), 4, (3, 3), (1, 1), (1, 1), (1, 1), 1, True),
    ("wide", (1, 1, 3, 37), 2, (3, 3), (1, 1), (1, 1), (1, 1), 1, True),
    ("k5", (1, 2, 7, 6), 2, (5, 5), (1, 1), (2, 2), (1, 1), 1, True),
    ("channels17", (1, 17, 3, 3), 3, (3, 3), (1, 1), (1, 1), (1, 1), 1, True),
]
# tag, x, out channels, kernel, stride, padding, output padding, dilation, groups, bias
TRANSPOSED = [
    ("k4s2p1", (2, 3, 4, 4), 2, (4, 4), (2, 2), (1, 1), (0, 0), (1, 1), 1, True),
    ("k3s1", (1, 2, 4, 5), 3, (3, 3), (1, 1), (0, 0), (0, 0), (1, 1), 1, True),
    ("k3s2p1_out1", (1, 3, 3, 4), 2, (3, 3), (2, 2), (1, 1), (1, 1), (1, 1), 1, True),
    ("from_one", (2, 5, 1, 1), 3, (4, 4), (1, 1), (0, 0), (0, 0), (1, 1), 1, False),
    ("pair", (1, 2, 3, 4), 3, (2, 3), (1, 2), (0, 1), (0, 1), (1, 1), 1, True),
    ("stride3", (1, 2, 3, 3), 2, (2, 2), (3, 3), (0, 0), (2, 1), (1, 1), 1, True),
    ("dilated", (1, 2, 4, 4), 2, (3, 3), (1, 1), (1, 1), (0, 0), (2, 2), 1, True),
    ("dilated_stride", (1, 2, 3, 3), 2, (2, 3), (2, 2), (1, 0), (1, 1), (3, 2), 1, False),
    ("groups2", (1, 4, 3, 3), 6, (3, 3), (2, 2), (1, 1), (0, 0), (1, 1), 2, True),
    ("depthwise", (1, 4, 3, 4), 4, (4, 4), (2, 2), (1, 1), (0, 0), (1, 1), 4, True),
    ("k1", (2, 3, 3, 2), 5, (1, 1), (1, 1), (0, 0), (0, 0), (1, 1), 1, True),
    ("k1_stride2", (1, 2, 3, 4), 3, (1, 1), (2, 2), (0, 0), (1, 0), (1, 1), 1, True),
    ("k5_pad2", (1, 2, 4, 3), 2, (5, 5), (2, 2), (2, 2), (1, 1), (1, 1), 1, True),
]


def convolutions(book):
    n = book.normal
    for tag, x, out, kernel, stride, padding, dilation, groups, bias in CONV:
        attrs = {"stride": list(stride), "padding": list(padding), "dilation": list(dilation), "groups": groups,
                 "bias": bias}

        def make():
            given = {"x": n(*x), "weight": param(n(out, x[1] // groups, *kernel, scale=0.5))}
            return {**given, "bias": param(n(out))} if bias else given
        both(book, "conv2d", tag, make,
             lambda t: F.conv2d(t.x, t.weight, t.bias if bias else None, stride, padding, dilation, groups),
             attrs=attrs)
    for tag, x, out, kernel, stride, padding, extra, dilation, groups, bias in TRANSPOSED:
        attrs = {"stride": list(stride), "padding": list(padding), "output_padding": list(extra),
                 "dilation": list(dilation), "groups": groups, "bias": bias}

        def make():
            given = {"x": n(*x), "weight": param(n(x[1], out // groups, *kernel, scale=0.5))}
            return {**given, "bias": param(n(out))} if bias else given
        both(book, "conv_transpose2d", tag, make,
             lambda t: F.conv_transpose2d(t.x, t.weight, t.bias if bias else None, stride, padding, extra, groups,
                                          dilation), attrs=attrs)
    for tag, x, out, kernel, stride, padding, dilation, groups in (
            ("k3p1", (2, 3, 9), 4, 3, 1, 1, 1, 1), ("k4s2p1", (1, 2, 10), 3, 4, 2, 1, 1, 1),
            ("groups", (1, 4, 7), 6, 3, 1, 0, 1, 2), ("dilated", (1, 2, 11), 2, 3, 1, 2, 2, 1)):
        both(book, "conv1d", tag,
             lambda: {"x": n(*x), "weight": param(n(out, x[1] // groups, kernel, scale=0.5)), "bias": param(n(out))},
             lambda t: F.conv1d(t.x, t.weight, t.bias, stride, padding, dilation, groups), tier="extra",
             attrs={"stride": [stride], "padding": [padding], "dilation": [dilation], "groups": groups, "bias": True})
    plain = {"stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "groups": 1, "bias": False}
    for mode in ("reflect", "replicate", "circular"):
        both(book, "conv2d", f"pad_{mode}", lambda: {"x": n(1, 2, 5, 4), "weight": param(n(3, 2, 3, 3))},
             lambda t: F.conv2d(F.pad(t.x, [1, 1, 2, 2], mode), t.weight),
             attrs={**plain, "padding": [2, 1], "padding_mode": mode})
    call = {"torch_call": lambda t: F.conv2d(t.x, t.weight)}
    book.refuse("conv2d", "channels", {"x": n(1, 3, 5, 5), "weight": param(n(2, 4, 3, 3))},
                "the weight takes 4 channels, not 3", [4, 3], attrs=plain, **call)
    book.refuse("conv2d", "small_image", {"x": n(1, 2, 3, 3), "weight": param(n(2, 2, 5, 5))},
                "a kernel of 5 in 3 rows", [5, 3], attrs=plain, **call)
    book.refuse("conv2d", "rank", {"x": n(2, 5, 5, 1, 1), "weight": param(n(2, 2, 3, 3))}, "rank 5", ["5"], attrs=plain,
                **call)
    book.refuse("conv2d", "groups", {"x": n(1, 4, 5, 5), "weight": param(n(3, 2, 3, 3))},
                "3 output channels do not divide into 2 groups", [3, 2, "group"], attrs={**plain, "groups": 2},
                torch_call=lambda t: F.conv2d(t.x, t.weight, groups=2))
    book.refuse("conv2d", "stride", {"x": n(1, 2, 5, 5), "weight": param(n(2, 2, 3, 3))}, "a stride of 0",
                ["stride", 0], attrs={**plain, "stride": [0, 1]},
                torch_call=lambda t: F.conv2d(t.x, t.weight, stride=(0, 1)))
    book.refuse("conv2d", "bias", {"x": n(1, 2, 5, 5), "weight": param(n(2, 2, 3, 3)), "bias": param(n(3))},
                "a bias of 3 for 2 outputs", ["bias", 3, 2], attrs={**plain, "bias": True},
                torch_call=lambda t: F.conv2d(t.x, t.weight, t.bias))
    book.refuse("conv_transpose2d", "channels", {"x": n(1, 3, 5, 5), "weight": param(n(4, 2, 3, 3))},
                "the weight takes 4 channels, not 3", [4, 3], attrs={**plain, "output_padding": [0, 0]},
                torch_call=lambda t: F.conv_transpose2d(t.x, t.weight))
    book.refuse("conv_transpose2d", "output_padding", {"x": n(1, 3, 4, 4), "weight": param(n(3, 2, 3, 3))},
                "output padding 2 with stride 2", ["output_padding", 2],
                attrs={**plain, "stride": [2, 2], "output_padding": [2, 2]},
                torch_call=lambda t: F.conv_transpose2d(t.x, t.weight, stride=2, output_padding=2))
    for order in (1, 2):
        book.add("conv2d", "offset", {"x": n(1, 3, 5, 5, mean=100.0), "weight": param(n(2, 3, 3, 3, mean=1.0))},
                 lambda t: F.conv2d(t.x, t.weight), attrs=plain, order=order)


def reparametrized(book):
    n = book.normal

    def normalize(a, eps):
        return a / a.norm().clamp_min(eps)

    def spectral(t, dim, steps, eps):
        matrix = t.weight.permute(dim, *[d for d in range(t.weight.dim()) if d != dim]).flatten(1)
        u, v = t.u, t.v
        with torch.no_grad():
            for _ in range(steps):
                v = normalize(matrix.T @ u, eps)
                u = normalize(matrix @ v, eps)
        sigma = u @ matrix @ v
        return {"y": t.weight / sigma, "aux.u": u, "aux.v": v, "aux.sigma": sigma.detach()}

    for tag, shape, dim, steps, mode in (("linear", (4, 7), 0, 1, "train"), ("conv", (5, 3, 2, 2), 0, 1, "train"),
                                         ("three_steps", (3, 2, 3, 3), 0, 3, "train"),
                                         ("transposed", (3, 4, 2, 2), 1, 2, "train"),
                                         ("eval", (4, 3, 2, 2), 0, 0, "eval")):
        def make():
            rows = shape[dim]
            u, v = n(rows), n(math.prod(shape) // rows)
            return {"weight": param(n(*shape)), "u": buffer(u / (u @ u) ** 0.5), "v": buffer(v / (v @ v) ** 0.5)}
        both(book, "spectral_norm", tag, make, lambda t: spectral(t, dim, steps, 1e-12),
             attrs={"dim": dim, "n_power_iterations": steps, "eps": 1e-12, "mode": mode})
    for tag, dim, layer in (("linear_rows", 0, "linear"), ("linear_columns", 1, "linear"),
                            ("conv", 0, "conv2d padding 1"), ("conv_dim1", 1, "conv2d padding 1")):
        shape = (4, 5) if layer == "linear" else (3, 2, 3, 3)

        def make():
            g = [shape[d] if d == dim else 1 for d in range(len(shape))]
            return {"x": n(3, 5) if layer == "linear" else n(2, 2, 4, 4), "v": param(n(*shape)), "g": param(n(*g))}

        def apply(t):
            rest = [d for d in range(len(shape)) if d != dim]
            w = t.g * t.v / (t.v * t.v).sum(rest, keepdim=True).sqrt()
            return F.linear(t.x, w) if layer == "linear" else F.conv2d(t.x, w, padding=1)
        both(book, "weight_norm", tag, make, apply, attrs={"dim": dim, "layer": layer}, tier="extra")
    for groups in (1, 2):
        def standardized(t):
            rest = (1, 2, 3)
            centered = t.weight - t.weight.mean(rest, keepdim=True)
            w = centered / ((centered * centered).mean(rest, keepdim=True) + 1e-5).sqrt()
            return F.conv2d(t.x, w, t.bias, padding=1, groups=groups)
        both(book, "weight_standardization", f"groups{groups}",
             lambda: {"x": n(1, 4, 4, 5), "weight": param(n(4, 4 // groups, 3, 3)), "bias": param(n(4))},
             standardized, attrs={"eps": 1e-5, "padding": 1, "groups": groups}, tier="extra")


def cases(book):
    products(book)
    convolutions(book)
    reparametrized(book)
