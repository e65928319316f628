"""Normalizers. References are composed of elementary double-precision operations: PyTorch's fused BatchNorm and
LayerNorm give wrong third derivatives, and its float32 statistics are what the hard cases are about."""
import numpy as np
import torch
import torch.nn.functional as F

from golden import buffer, index, param

EPS = 1e-5


def standardize(x, dims, eps=EPS):
    centered = x - x.mean(dims, keepdim=True)
    return centered / ((centered * centered).mean(dims, keepdim=True) + eps).sqrt()


def per_channel(vector, x):
    return vector.reshape([1, -1] + [1] * (x.dim() - 2))


def affine(t, y, w="weight", b="bias"):
    if hasattr(t, w):
        y = y * per_channel(getattr(t, w), y)
    return y + per_channel(getattr(t, b), y) if hasattr(t, b) else y


def space(x, first=2):
    return list(range(first, x.dim()))


def batch_norm(t, eps=EPS):
    return affine(t, standardize(t.x, [0] + space(t.x), eps))


def group_norm(t, groups, eps=EPS):
    x = t.x
    y = standardize(x.reshape(x.shape[0], groups, -1), [2], eps).reshape(x.shape)
    return affine(t, y)


def instance_norm(t, eps=EPS):
    return affine(t, standardize(t.x, space(t.x), eps))


def layer_norm(t, axes, eps=EPS):
    y = standardize(t.x, list(range(-axes, 0)), eps)
    y = y * t.weight if hasattr(t, "weight") else y
    return y + t.bias if hasattr(t, "bias") else y


def weight(t):
    return getattr(t, "weight", None)


def bias(t):
    return getattr(t, "bias", None)


class Norm:
    """One of the four norms: attributes, parameters and the two ways to compute it."""

    def __init__(self, op, attrs, composed, fused, affine_shape=None):
        self.op, self.attrs, self.composed, self.fused = op, attrs, composed, fused
        self.affine_shape = affine_shape or (lambda x: (x.shape[1],))

    def add(self, book, tag, x, order=1, with_affine=True, **rest):
        inputs = {"x": x}
        if with_affine:
            shape = self.affine_shape(x)
            inputs.update(weight=param(book.normal(*shape, scale=0.5, mean=1)), bias=param(book.normal(*shape)))
        book.add(self.op, tag, inputs, self.composed, order=order, float32=self.fused if order == 1 else None,
                 attrs={**self.attrs, "affine": with_affine}, **rest)


def batch(eps=EPS):
    attrs = {"mode": "train", "eps": eps, "momentum": 0.1, "track_running_stats": False}
    return Norm("batch_norm", attrs, lambda t: batch_norm(t, eps),
                lambda t: F.batch_norm(t.x, None, None, weight(t), bias(t), True, 0.1, eps))


def group(groups, eps=EPS):
    return Norm("group_norm", {"num_groups": groups, "eps": eps}, lambda t: group_norm(t, groups, eps),
                lambda t: F.group_norm(t.x, groups, weight(t), bias(t), eps))


def instance(eps=EPS):
    attrs = {"eps": eps, "mode": "instance", "track_running_stats": False}
    return Norm("instance_norm", attrs, lambda t: instance_norm(t, eps),
                lambda t: F.instance_norm(t.x, None, None, weight(t), bias(t), True, 0.1, eps))


def layer(axes, shape, eps=EPS):
    size = list(shape[-axes:])
    return Norm("layer_norm", {"normalized_shape": size, "eps": eps, "bias": True}, lambda t: layer_norm(t, axes, eps),
                lambda t: F.layer_norm(t.x, size, weight(t), bias(t), eps), lambda x: size)


def the_four(book):
    n = book.normal
    four = {"batch": (batch(), (3, 4, 3, 3)), "group": (group(2), (2, 4, 3, 3)), "instance": (instance(), (2, 3, 4, 3)),
            "layer": (layer(3, (3, 2, 3, 3)), (3, 2, 3, 3))}
    for norm, shape in four.values():
        for order in (1, 2, 3):
            tier = "extra" if order == 3 else "core"
            norm.add(book, "affine", n(*shape, mean=0.5), order, tier=tier)
            norm.add(book, "plain", n(*shape, scale=2), order, with_affine=False, tier=tier)
        for order in (1, 2):
            norm.add(book, "hard_mean1e4", n(*shape, mean=1e4), order, tier="hard")
        norm.add(book, "hard_mean1e4_small", n(*shape, mean=1e4, scale=0.05), tier="hard")
        norm.add(book, "hard_mean1e6", n(*shape, mean=1e6, scale=3.0), with_affine=False, tier="hard")
        for name, scale in (("1e-20", 1e-20), ("1e-10", 1e-10), ("1e10", 1e10), ("1e18", 1e18), ("1e19", 1e19)):
            norm.add(book, f"hard_scale{name}", n(*shape, scale=scale), with_affine=False, tier="hard")
        norm.add(book, "hard_scale1e18_affine", n(*shape, scale=1e18), tier="hard")
        norm.add(book, "extreme_1e30", n(*shape, scale=1e30), tier="stretch",
                 doc="the variance, 1e60, is beyond float32")
        for name, value in (("1e8", 1e8), ("0.1", 0.1), ("0", 0.0)):
            x = n(*shape)
            x[:, 0] = value
            if norm.op == "layer_norm":
                x[0] = value  # here the set is a sample
            if norm.op == "group_norm":
                x[:, :2] = value
            norm.add(book, f"hard_constant{name}", x, tier="hard", doc="a set without variance")
            if value == 0.1:
                norm.add(book, "hard_constant", x, 2, tier="hard")
        norm.add(book, "hard_denormal", n(*shape, scale=1e-40), with_affine=False, tier="hard")
        special = n(*shape)
        special[0, 0, 0, 1] = np.inf
        norm.add(book, "special_inf", special, 0, tier="hard", doc="an Inf has no finite mean: its set is NaN")
        special = n(*shape)
        special[0, 0, 0, 0] = np.nan
        norm.add(book, "special_nan", special, 0, with_affine=False, tier="hard",
                 doc="a NaN spoils its set and no other")

    for tag, shape in (("2d", (6, 5)), ("3d", (3, 4, 5)), ("n1", (1, 3, 4, 4)), ("tail17", (2, 17, 3, 1)),
                       ("large_sets", (4, 2, 9, 7))):
        for order in (1, 2):
            batch().add(book, tag, n(*shape), order)
    batch(1e-3).add(book, "eps1e-3", n(4, 3, 2, 2))
    batch().add(book, "two_values", n(2, 5, 1, 1), natural={"grad.x": 1.0})
    for tag, groups, shape in (("g1", 1, (2, 5, 3, 2)), ("g_is_c", 4, (2, 4, 3, 3)), ("2d", 2, (3, 8)),
                               ("3d", 3, (2, 6, 5)), ("tail", 2, (1, 6, 5, 3)), ("one_sample", 4, (1, 8, 2, 2))):
        for order in (1, 2):
            group(groups).add(book, tag, n(*shape), order)
    group(2, 1e-3).add(book, "eps1e-3", n(2, 4, 3, 3))
    group(2).add(book, "two_values", n(3, 4), natural={"grad.x": 1.0})
    for tag, shape in (("3d", (2, 3, 7)), ("n1c1", (1, 1, 5, 5)), ("tail", (2, 3, 1, 17)), ("many", (3, 5, 2, 3))):
        for order in (1, 2):
            instance().add(book, tag, n(*shape), order)
    instance(1e-3).add(book, "eps1e-3", n(2, 3, 3, 3))
    instance().add(book, "two_values", n(2, 3, 2, 1), natural={"grad.x": 1.0})
    for tag, axes, shape, eps in (("last", 1, (4, 10), EPS), ("tail13", 1, (3, 13), EPS), ("last2", 2, (3, 4, 5), EPS),
                                  ("sequence", 1, (2, 3, 8), EPS), ("eps0.1", 1, (3, 6), 0.1),
                                  ("eps1e-12", 1, (3, 7), 1e-12), ("long", 1, (2, 65), EPS)):
        for order in (1, 2):
            layer(axes, shape, eps).add(book, tag, n(*shape), order)
    layer(1, (3, 1)).add(book, "hard_one_element", n(3, 1), tier="hard",
                         natural={"grad.x": 1.0, "grad.weight": 1.0}, doc="one element: y is the bias")
    for order in (1, 2):
        book.add("layer_norm", "no_bias", {"x": n(3, 6), "weight": param(n(6))}, lambda t: layer_norm(t, 1),
                 attrs={"normalized_shape": [6], "eps": EPS, "affine": True, "bias": False}, order=order)


def running(book):
    """BatchNorm and InstanceNorm that keep statistics, over several calls and in evaluation."""
    n = book.normal

    def tracked(t, steps, momentum, evaluate, instance_wise=False, eps=EPS):
        channels = t.x0.shape[1]
        mean, var = torch.zeros(channels, dtype=t.x0.dtype), torch.ones(channels, dtype=t.x0.dtype)
        out = {}
        for i in range(steps):
            x = getattr(t, f"x{i}")
            dims = space(x) if instance_wise else [0] + space(x)
            out[f"y{i}"] = affine(t, standardize(x, dims, eps))
            with torch.no_grad():
                count = np.prod([x.shape[d] for d in dims])
                m = x.mean(dims)
                v = x.var(dims, unbiased=False) * (count / (count - 1))
                if instance_wise:
                    m, v = m.mean(0), v.mean(0)
                share = momentum if momentum is not None else 1 / (i + 1)
                mean, var = (1 - share) * mean + share * m, (1 - share) * var + share * v
        if evaluate:
            x = t.x_eval
            out["y_eval"] = affine(t, (x - per_channel(mean, x)) / (per_channel(var, x) + eps).sqrt())
        return {**out, "aux.running_mean": mean, "aux.running_var": var}

    def inputs(shape, steps, with_affine, evaluate):
        given = {f"x{i}": n(*shape, mean=0.5 * i, scale=1 + i) for i in range(steps)}
        if evaluate:
            given["x_eval"] = n(*shape)
        if with_affine:
            given.update(weight=param(n(shape[1])), bias=param(n(shape[1])))
        return given

    start = {"running_mean_init": 0.0, "running_var_init": 1.0, "track_running_stats": True, "eps": EPS}
    for tag, momentum, shape, with_affine in (("momentum0.1", 0.1, (3, 2, 2, 3), True), ("cumulative", None, (2, 3, 3, 2), True),
                                              ("momentum0", 0.0, (4, 2, 2), False), ("momentum1", 1.0, (4, 3), True),
                                              ("momentum0.9", 0.9, (2, 2, 3, 3), False)):
        for evaluate in (True, False):
            mode = "train 3 steps x0,x1,x2" + (" then eval on x_eval" if evaluate else "")
            book.add("batch_norm", f"seq_{tag}" + ("_eval" if evaluate else ""), inputs(shape, 3, with_affine, evaluate),
                     lambda t, m=momentum, e=evaluate: tracked(t, 3, m, e),
                     attrs={"mode": mode, "affine": with_affine, "momentum": momentum, **start})
    book.add("batch_norm", "seq_second_order", inputs((3, 2, 4), 3, True, True), lambda t: tracked(t, 3, 0.1, True),
             order=2, attrs={"mode": "train 3 steps x0,x1,x2 then eval on x_eval", "affine": True, "momentum": 0.1, **start})
    book.add("batch_norm", "hard_seq_mean1e4", {**inputs((3, 2, 3, 3), 3, True, True),
                                                **{f"x{i}": n(3, 2, 3, 3, mean=1e4) for i in range(3)}},
             lambda t: tracked(t, 3, 0.1, True), tier="hard",
             attrs={"mode": "train 3 steps x0,x1,x2 then eval on x_eval", "affine": True, "momentum": 0.1, **start})
    for order in (1, 2):
        for tag, shape, with_affine in (("eval", (2, 3, 3, 2), True), ("eval_plain", (3, 4), False),
                                        ("eval_one", (1, 3, 1, 1), True)):
            given = {"x": n(*shape), "running_mean": buffer(n(shape[1])), "running_var": buffer(book.positive(shape[1]))}
            if with_affine:
                given.update(weight=param(n(shape[1])), bias=param(n(shape[1])))
            book.add("batch_norm", tag, given, lambda t: affine(
                t, (t.x - per_channel(t.running_mean, t.x)) / (per_channel(t.running_var, t.x) + EPS).sqrt()),
                attrs={"mode": "eval", "eps": EPS, "affine": with_affine, "momentum": 0.1, "track_running_stats": True},
                order=order)
    for tag, momentum, with_affine in (("momentum0.1", 0.1, True), ("momentum0.3", 0.3, False)):
        book.add("instance_norm", f"seq_{tag}", inputs((2, 3, 3, 2), 3, with_affine, True),
                 lambda t, m=momentum: tracked(t, 3, m, True, instance_wise=True),
                 attrs={"mode": "train 3 steps x0,x1,x2 then eval on x_eval", "affine": with_affine,
                        "momentum": momentum, **start})


def conditional(book):
    """Norms whose scale and shift come from a label, another image or a map."""
    n = book.normal
    for order in (1, 2):
        for styles in (1, 3):
            book.add("cin", f"styles{styles}", {"x": n(3, 2, 3, 2), "gamma": param(n(styles, 2)), "beta": param(n(styles, 2)),
                                                "label": index(np.arange(3) * 2 % styles)},
                     lambda t: standardize(t.x, [2, 3]) * t.gamma[t.label.long()][:, :, None, None]
                     + t.beta[t.label.long()][:, :, None, None],
                     attrs={"num_styles": styles, "eps": EPS, "select": "label"}, order=order)
        book.add("cin", "mix", {"x": n(2, 3, 3, 3), "gamma": param(n(4, 3)), "beta": param(n(4, 3)),
                                "mix": book.positive(2, 4, low=0, high=1)},
                 lambda t: standardize(t.x, [2, 3]) * (t.mix @ t.gamma)[:, :, None, None]
                 + (t.mix @ t.beta)[:, :, None, None],
                 attrs={"num_styles": 4, "eps": EPS, "select": "mix [N,num_styles] differentiable weights"}, order=order)
        for tag, shape in (("4d", (3, 2, 3, 2)), ("2d", (5, 3))):
            book.add("conditional_batch_norm", tag,
                     {"x": n(*shape), "gamma": param(n(3, shape[1])), "beta": param(n(3, shape[1])),
                      "label": index(book.integers(3, shape[0]))},
                     lambda t: standardize(t.x, [0] + space(t.x)) * t.gamma[t.label.long()].reshape(
                         list(t.x.shape[:2]) + [1] * (t.x.dim() - 2)) + t.beta[t.label.long()].reshape(
                         list(t.x.shape[:2]) + [1] * (t.x.dim() - 2)),
                     attrs={"num_classes": 3, "eps": EPS, "mode": "train"}, order=order, tier="extra")
        book.add("spade", "maps", {"x": n(2, 2, 3, 3), "gamma_map": n(2, 2, 3, 3), "beta_map": n(2, 2, 3, 3)},
                 lambda t: standardize(t.x, [0, 2, 3]) * (1 + t.gamma_map) + t.beta_map, attrs={"eps": EPS},
                 order=order, tier="extra")

    def moments(x, unbiased, eps):
        centered = x - x.mean([2, 3], keepdim=True)
        count = x.shape[2] * x.shape[3]
        var = (centered * centered).sum([2, 3], keepdim=True) / (count - (1 if unbiased else 0))
        return x.mean([2, 3], keepdim=True), centered, (var + eps).sqrt()

    def adain(t, unbiased, eps):
        _, centered, sigma = moments(t.x, unbiased, eps)
        mean, _, style = moments(t.style, unbiased, eps)
        return style * centered / sigma + mean

    for order in (1, 2, 3):
        tier = "extra" if order == 3 else "core"
        for unbiased in (False, True):
            book.add("adain", "unbiased" if unbiased else "biased", {"x": n(2, 2, 3, 3), "style": n(2, 2, 3, 3, mean=1)},
                     lambda t, u=unbiased: adain(t, u, EPS), attrs={"eps": EPS, "unbiased": unbiased}, order=order, tier=tier)
        book.add("adain", "other_size", {"x": n(1, 2, 3, 4), "style": n(1, 2, 5, 2)}, lambda t: adain(t, False, 1e-3),
                 attrs={"eps": 1e-3, "unbiased": False}, order=order, tier=tier)
        if order < 3:
            book.add("adain", "alpha", {"x": n(1, 3, 3, 3), "style": n(1, 3, 3, 3)},
                     lambda t: 0.6 * adain(t, False, EPS) + 0.4 * t.x,
                     attrs={"eps": EPS, "unbiased": False, "alpha": 0.6, "form": "alpha*adain+(1-alpha)*x"}, order=order)
            book.add("adain", "scale_shift", {"x": n(2, 3, 3, 2), "scale": n(2, 3), "shift": n(2, 3)},
                     lambda t: standardize(t.x, [2, 3]) * t.scale[:, :, None, None] + t.shift[:, :, None, None],
                     attrs={"eps": EPS, "unbiased": False, "form": "y=IN(x)*scale[n,c]+shift[n,c] (StyleGAN form)"},
                     order=order)
    flat = n(1, 2, 3, 3)
    flat[0, 0] = 0.25
    book.add("adain", "hard_constant_style", {"x": n(1, 2, 3, 3), "style": flat}, lambda t: adain(t, False, EPS),
             attrs={"eps": EPS, "unbiased": False}, tier="hard")
    book.add("adain", "hard_constant_content", {"x": flat, "style": n(1, 2, 3, 3)}, lambda t: adain(t, False, EPS),
             attrs={"eps": EPS, "unbiased": False}, tier="hard")
    book.add("adain", "hard_mean1e4", {"x": n(1, 2, 4, 4, mean=1e4), "style": n(1, 2, 4, 4, mean=-1e4)},
             lambda t: adain(t, False, EPS), attrs={"eps": EPS, "unbiased": False}, tier="hard")


def others(book):
    n = book.normal

    def rms(t, axes, eps):
        return t.weight * t.x / ((t.x * t.x).mean(list(range(-axes, 0)), keepdim=True) + eps).sqrt()

    for tag, axes, shape in (("last", 1, (3, 8)), ("last2", 2, (2, 3, 4)), ("tail33", 1, (2, 33))):
        for order in (1, 2, 3) if tag != "tail33" else (1,):
            book.add("rms_norm", tag, {"x": n(*shape), "weight": param(n(*shape[-axes:]))},
                     lambda t: rms(t, axes, 1e-6), attrs={"normalized_shape": list(shape[-axes:]), "eps": 1e-6},
                     order=order, tier="extra")
    for name, scale in (("1e18", 1e18), ("1e-20", 1e-20)):
        book.add("rms_norm", f"hard_scale{name}", {"x": n(3, 9, scale=scale), "weight": param(n(9))},
                 lambda t: rms(t, 1, 1e-6), attrs={"normalized_shape": [9], "eps": 1e-6}, tier="hard")
    for order in (1, 2, 3):
        book.add("pixel_norm", "4d", {"x": n(2, 5, 2, 3)},
                 lambda t: t.x / ((t.x * t.x).mean(1, keepdim=True) + 1e-8).sqrt(), attrs={"eps": 1e-8}, order=order,
                 tier="extra")
    book.add("pixel_norm", "2d", {"x": n(4, 7)}, lambda t: t.x / ((t.x * t.x).mean(1, keepdim=True) + 1e-8).sqrt(),
             attrs={"eps": 1e-8}, tier="extra")
    for order in (1, 2):
        for tag, shape in (("4d", (2, 3, 3, 3)), ("n1", (1, 2, 4, 3))):
            channels = shape[1]
            book.add("batch_instance_norm", tag,
                     {"x": n(*shape), "rho": param(book.positive(channels, low=0, high=1)), "weight": param(n(channels)),
                      "bias": param(n(channels))},
                     lambda t: affine(t, per_channel(t.rho, t.x) * standardize(t.x, [0, 2, 3])
                                      + (1 - per_channel(t.rho, t.x)) * standardize(t.x, [2, 3])),
                     attrs={"eps": EPS}, order=order, tier="extra")

            def switchable(t):
                sets = [[2, 3], [1, 2, 3], [0, 2, 3]]
                means = [t.x.mean(s, keepdim=True) for s in sets]
                spreads = [((t.x - m) ** 2).mean(s, keepdim=True) for m, s in zip(means, sets)]
                a, b = torch.softmax(t.w_mean, 0), torch.softmax(t.w_var, 0)
                mean = sum(a[i] * means[i] for i in range(3))
                var = sum(b[i] * spreads[i] for i in range(3))
                return affine(t, (t.x - mean) / (var + EPS).sqrt())
            book.add("switchable_norm", tag,
                     {"x": n(*shape), "w_mean": param(n(3)), "w_var": param(n(3)), "weight": param(n(channels)),
                      "bias": param(n(channels))}, switchable, attrs={"eps": EPS, "order": ["IN", "LN", "BN"]}, order=order,
                     tier="extra")
        book.add("frn_tlu", "4d", {"x": n(2, 3, 3, 4), "tau": param(n(3)), "weight": param(n(3)), "bias": param(n(3))},
                 lambda t: torch.maximum(affine(t, t.x / ((t.x * t.x).mean([2, 3], keepdim=True) + 1e-6).sqrt()),
                                         per_channel(t.tau, t.x)), attrs={"eps": 1e-6}, order=order, tier="extra")


def refused(book):
    n = book.normal
    train = {"mode": "train", "eps": EPS, "affine": False, "momentum": 0.1, "track_running_stats": False}
    book.refuse("batch_norm", "one_value", {"x": n(1, 3, 1, 1)}, "one value for each channel has no variance", [1],
                attrs=train, torch_call=lambda t: F.batch_norm(t.x, None, None, training=True))
    book.refuse("batch_norm", "weight", {"x": n(2, 3, 2, 2), "weight": param(n(4)), "bias": param(n(4))},
                "4 scales for 3 channels", [4, 3], attrs={**train, "affine": True},
                torch_call=lambda t: F.batch_norm(t.x, None, None, t.weight, t.bias, True))
    book.refuse("batch_norm", "rank", {"x": n(5)}, "no channel axis", ["channel", 5], attrs=train,
                torch_call=lambda t: F.batch_norm(t.x, None, None, training=True))
    book.refuse("group_norm", "groups", {"x": n(2, 6, 3, 3)}, "6 channels do not divide into 4 groups", [6, 4, "group"],
                attrs={"num_groups": 4, "eps": EPS, "affine": False}, torch_call=lambda t: F.group_norm(t.x, 4))
    book.refuse("group_norm", "no_groups", {"x": n(2, 6, 3, 3)}, "0 groups", [0, "group"],
                attrs={"num_groups": 0, "eps": EPS, "affine": False}, torch_call=lambda t: F.group_norm(t.x, 0))
    book.refuse("group_norm", "weight", {"x": n(2, 4, 3, 3), "weight": param(n(2)), "bias": param(n(2))},
                "2 scales for 4 channels", [2, 4], attrs={"num_groups": 2, "eps": EPS, "affine": True},
                torch_call=lambda t: F.group_norm(t.x, 2, t.weight, t.bias))
    book.refuse("layer_norm", "shape", {"x": n(2, 5)}, "rows of 5 are not [4]", [5, 4],
                attrs={"normalized_shape": [4], "eps": EPS, "affine": False, "bias": False},
                torch_call=lambda t: F.layer_norm(t.x, [4]))
    book.refuse("layer_norm", "rank", {"x": n(5)}, "one axis where two are normalized", [5, 2],
                attrs={"normalized_shape": [2, 5], "eps": EPS, "affine": False, "bias": False},
                torch_call=lambda t: F.layer_norm(t.x, [2, 5]))
    book.refuse("instance_norm", "one_pixel", {"x": n(2, 3, 1, 1)}, "one value for each plane has no variance", [1],
                attrs={"eps": EPS, "affine": False, "mode": "instance", "track_running_stats": False},
                torch_call=lambda t: F.instance_norm(t.x))
    book.refuse("cin", "label", {"x": n(2, 3, 2, 2), "gamma": param(n(2, 3)), "beta": param(n(2, 3)), "label": index([0, 2])},
                "style 2 of 2", [2], attrs={"num_styles": 2, "eps": EPS, "select": "label"})
    book.refuse("adain", "channels", {"x": n(1, 3, 3, 3), "style": n(1, 2, 3, 3)}, "3 channels and 2", [3, 2],
                attrs={"eps": EPS, "unbiased": False})
    book.refuse("rms_norm", "shape", {"x": n(2, 5), "weight": param(n(4))}, "rows of 5 are not [4]", [5, 4],
                attrs={"normalized_shape": [4], "eps": 1e-6}, tier="extra")


def cases(book):
    the_four(book)
    running(book)
    conditional(book)
    others(book)
    refused(book)
