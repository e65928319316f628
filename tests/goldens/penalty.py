"""Gradient penalties: the gradient of a critic with respect to its input is itself part of the loss."""
import numpy as np
import torch
import torch.nn.functional as F

from golden import In, Tensors, buffer, param, tolerance
from norm import EPS, affine, group_norm, standardize

WGAN = "mean((norm_i-1)^2)"
R1 = "0.5*mean(norm_i^2) with eps=0 under no sqrt"


def build(book, net, shape):
    """Parameters of the layers for inputs of this shape (without the batch)."""
    inputs, shape = {}, list(shape)
    for i, layer in enumerate(net):
        kind, name = layer["type"], f"l{i}_"
        if kind in ("conv2d", "spectral_conv2d"):
            k, s, p = layer["kernel"], layer.get("stride", 1), layer.get("padding", 0)
            inputs[name + "weight"] = param(book.normal(layer["out"], shape[0], k, k, scale=0.4))
            inputs[name + "bias"] = param(book.normal(layer["out"], scale=0.2))
            if kind == "spectral_conv2d":
                u, v = book.normal(layer["out"]), book.normal(shape[0] * k * k)
                inputs[name + "u"] = buffer(u / (u @ u) ** 0.5)
                inputs[name + "v"] = buffer(v / (v @ v) ** 0.5)
            shape = [layer["out"]] + [(n + 2 * p - k) // s + 1 for n in shape[1:]]
        elif kind == "linear":
            inputs[name + "weight"] = param(book.normal(layer["out"], shape[0], scale=0.4))
            inputs[name + "bias"] = param(book.normal(layer["out"], scale=0.2))
            shape = [layer["out"]]
        elif kind == "flatten":
            shape = [torch.Size(shape).numel()]
        elif kind.endswith("norm"):
            size = shape if kind == "layer_norm" else shape[:1]
            inputs[name + "weight"] = param(book.normal(*size, scale=0.3, mean=1))
            inputs[name + "bias"] = param(book.normal(*size, scale=0.3))
    return inputs


class Layer:
    """The tensors of one layer, by their plain names."""

    def __init__(self, t, i):
        prefix = f"l{i}_"
        for name, value in vars(t).items():
            if name.startswith(prefix):
                setattr(self, name[len(prefix):], value)


def critic(t, net, x):
    for i, layer in enumerate(net):
        own, kind = Layer(t, i), layer["type"]
        own.x = x
        if kind == "conv2d":
            x = F.conv2d(x, own.weight, own.bias, layer.get("stride", 1), layer.get("padding", 0))
        elif kind == "spectral_conv2d":
            matrix = own.weight.flatten(1)
            with torch.no_grad():
                v = F.normalize(matrix.T @ own.u, dim=0, eps=1e-12)
                u = F.normalize(matrix @ v, dim=0, eps=1e-12)
            x = F.conv2d(x, own.weight / (u @ matrix @ v), own.bias, layer.get("stride", 1), layer.get("padding", 0))
        elif kind == "linear":
            x = F.linear(x, own.weight, own.bias)
        elif kind == "flatten":
            x = x.flatten(1)
        elif kind == "leaky_relu":
            x = F.leaky_relu(x, layer["negative_slope"])
        elif kind == "tanh":
            x = torch.tanh(x)
        elif kind == "batch_norm":
            x = affine(own, standardize(x, [0] + list(range(2, x.dim())), EPS))
        elif kind == "instance_norm":
            x = affine(own, standardize(x, list(range(2, x.dim())), EPS))
        elif kind == "group_norm":
            x = group_norm(own, layer["num_groups"])
        elif kind == "layer_norm":
            x = standardize(x, list(range(1, x.dim())), EPS) * own.weight + own.bias
    return x


def penalized(t, net, attrs):
    d = critic(t, net, t.x)
    (g,) = torch.autograd.grad(d.sum(), t.x, create_graph=True)
    squares = (g * g).flatten(1).sum(1)
    gp = 0.5 * squares.mean() if attrs["penalty"] == R1 else (((squares + attrs["eps"]).sqrt() - 1) ** 2).mean()
    return d, g, gp, d.sum() * attrs["d_weight"] + attrs["gp_weight"] * gp


def add(book, tag, net, shape, penalty=WGAN, batch=2, scale=1.0, mean=0.0, tier="core"):
    attrs = {"net": net, "penalty": penalty, "gp_weight": 10.0, "d_weight": 1.0, "eps": 0.0 if penalty == R1 else 1e-12}
    inputs = {"x": In(book.normal(batch, *shape, scale=scale, mean=mean), "input"), **build(book, net, shape)}

    def values(dtype):
        leaves = {n: torch.tensor(v.value, dtype=dtype, requires_grad=v.differentiable) for n, v in inputs.items()}
        d, g, gp, total = penalized(Tensors(**leaves), net, attrs)
        wrt = {n: leaves[n] for n, v in inputs.items() if v.differentiable}
        grads = torch.autograd.grad(total, list(wrt.values()), allow_unused=True)
        found = {"out.d": d, "out.grad_x": g, "out.gp": gp, "out.total": total,
                 **{f"grad.{n}": torch.zeros_like(v) if q is None else q for (n, v), q in zip(wrt.items(), grads)}}
        return {n: v.detach().numpy().astype(np.float64) for n, v in found.items()}

    reference, single = values(torch.float64), values(torch.float32)
    tensors = {f"in.{n}": v.value for n, v in inputs.items()}
    tensors.update({n: v.astype(np.float32) for n, v in reference.items()})
    # A bias under a normalizer that subtracts its mean has no influence; what float64 leaves of it is rounding.
    natural = {n: float(np.abs(reference["grad." + n[5:].replace("bias", "weight")]).max())
               for n in reference if n.endswith("_bias") and np.abs(reference[n]).max() < 1e-9}
    for n, size in natural.items():
        tensors[n] = np.zeros_like(tensors[n])
    bounds = {n: tolerance(tensors[n].astype(np.float64), single[n], tier, natural.get(n)) for n in reference}
    book.write("gradient_penalty", tag, "double_backward", tier, attrs, inputs, tensors, bounds,
               "g = d sum(D(x))/dx; norm_i over sample i, sqrt(sum g^2 + eps); total = d_weight*sum(D) + gp_weight*gp", {})


def cases(book):
    leaky = {"type": "leaky_relu", "negative_slope": 0.2}
    tanh, flatten, end = {"type": "tanh"}, {"type": "flatten"}, {"type": "linear", "out": 1}
    conv = {"type": "conv2d", "out": 3, "kernel": 3, "stride": 1, "padding": 1}
    down = {"type": "conv2d", "out": 4, "kernel": 4, "stride": 2, "padding": 1}
    norms = {"layer": {"type": "layer_norm"}, "group": {"type": "group_norm", "num_groups": 2},
             "instance": {"type": "instance_norm"}, "batch": {"type": "batch_norm"}}
    for penalty, name in ((WGAN, "wgan"), (R1, "r1")):
        add(book, f"{name}_linear", [{"type": "linear", "out": 5}, tanh, end], (4,), penalty, batch=3)
        add(book, f"{name}_conv", [conv, leaky, flatten, end], (2, 4, 4), penalty)
        add(book, f"{name}_conv_tanh", [down, tanh, flatten, end], (2, 6, 6), penalty)
        add(book, f"{name}_deep", [conv, leaky, down, tanh, flatten, end], (1, 6, 6), penalty, batch=3)
        add(book, f"{name}_spectral", [{**conv, "type": "spectral_conv2d"}, leaky, {**down, "type": "spectral_conv2d"},
                                       leaky, flatten, end], (2, 4, 4), penalty)
        for kind, layer in norms.items():
            add(book, f"{name}_{kind}", [down, layer, leaky, flatten, end], (2, 6, 6), penalty)
            add(book, f"{name}_{kind}_tanh", [conv, tanh, down, layer, tanh, flatten, end], (1, 6, 6), penalty)
        add(book, f"{name}_stacked", [{**down, "out": 4}, norms["layer"], leaky, {**conv, "out": 4}, norms["group"], leaky,
                                      flatten, end], (2, 6, 6), penalty)
    add(book, "wgan_no_influence", [{"type": "linear", "out": 1}], (3,), WGAN)
    add(book, "wgan_batch_n4", [down, norms["batch"], leaky, flatten, end], (1, 4, 4), WGAN, batch=4)
    add(book, "hard_wgan_layer_mean1e4", [norms["layer"], conv, leaky, flatten, end], (2, 4, 4), WGAN, mean=1e4, tier="hard")
