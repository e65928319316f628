"""Sums, means, extremes, norms, softmax."""
import numpy as np
import torch
import torch.nn.functional as F

from golden import buffer

SHAPE = (2, 3, 4, 3)
FORMS = {"all": (None, False), "last": ([-1], False), "keep": ([1], True), "02": ([0, 2], False),
         "hw_keep": ([2, 3], True), "nhw": ([0, 2, 3], False)}


def dims(x, dim):
    return list(range(x.dim())) if dim is None else [d % x.dim() for d in dim]


def extreme(x, dim, keepdim, sign):
    """Largest (or least) element; the gradient goes to one of them."""
    over = dims(x, dim)
    rest = [d for d in range(x.dim()) if d not in over]
    y = (sign * x).permute(rest + over).reshape([x.shape[d] for d in rest] + [-1]).max(-1).values * sign
    return y.reshape([1 if d in over else x.shape[d] for d in range(x.dim())]) if keepdim else y


def variance(x, dim, keepdim, unbiased):
    over = dims(x, dim)
    count = np.prod([x.shape[d] for d in over])
    centered = x - x.mean(over, keepdim=True)
    return (centered * centered).sum(over, keepdim=keepdim) / (count - (1 if unbiased else 0))


REDUCTIONS = {
    "sum": lambda x, dim, keep: x.sum(dims(x, dim), keepdim=keep),
    "mean": lambda x, dim, keep: x.mean(dims(x, dim), keepdim=keep),
    "max": lambda x, dim, keep: extreme(x, dim, keep, 1),
    "min": lambda x, dim, keep: extreme(x, dim, keep, -1),
    "logsumexp": lambda x, dim, keep: torch.logsumexp(x, dims(x, dim), keepdim=keep),
    "norm2": lambda x, dim, keep: (x * x).sum(dims(x, dim), keepdim=keep).sqrt(),
}


def reductions(book):
    for op, f in REDUCTIONS.items():
        make = book.distinct if op in ("max", "min") else book.normal
        for tag, (dim, keep) in FORMS.items():
            attrs = {"dim": dim, "keepdim": keep}
            call = lambda t, f=f, dim=dim, keep=keep: f(t.x, dim, keep)  # noqa: E731
            book.add(op, f"r4_{tag}", {"x": make(*SHAPE)}, call, attrs=attrs)
            if tag in ("all", "keep", "02"):
                book.add(op, f"r4_{tag}", {"x": make(*SHAPE)}, call, attrs=attrs, order=2)
        book.add(op, "tail37", {"x": make(3, 37)}, lambda t, f=f: f(t.x, [-1], False),
                 attrs={"dim": [-1], "keepdim": False})
        book.add(op, "one", {"x": make(1, 1)}, lambda t, f=f: f(t.x, [0], True), attrs={"dim": [0], "keepdim": True})
        special = np.array([[np.nan, 1, 2], [np.inf, 1, 2], [-np.inf, 1, 2], [3e38, 1, 0]], np.float32)
        book.add(op, "special", {"x": special}, lambda t, f=f: f(t.x, [-1], False), order=0, tier="hard",
                 attrs={"dim": [-1], "keepdim": False})
        book.refuse(op, "axis", {"x": make(2, 3)}, "there is no axis 2", [2, "axis"], attrs={"dim": [2], "keepdim": False},
                    torch_call=lambda t, f=f: t.x.sum(2))
    for unbiased in (False, True):
        name = "unbiased" if unbiased else "biased"
        for tag, (dim, keep) in FORMS.items():
            attrs = {"dim": dim, "unbiased": unbiased, "keepdim": keep}
            for op, outer in (("var", lambda y: y), ("std", torch.sqrt)):
                call = lambda t, d=dim, k=keep, u=unbiased, o=outer: o(variance(t.x, d, k, u))  # noqa: E731
                own = lambda t, d=dim, k=keep, u=unbiased, o=outer: o(torch.var(  # noqa: E731
                    t.x, dims(t.x, d), unbiased=u, keepdim=k))
                for order in ((1, 2) if tag in ("02", "keep") else (1,)):
                    book.add(op, f"{name}_{tag}", {"x": book.normal(*SHAPE)}, call, attrs=attrs, order=order,
                             float32=own if order == 1 else None)
    for op, outer in (("var", lambda y: y), ("std", torch.sqrt)):
        for tag, scale, mean in (("mean1e4", 1.0, 1e4), ("scale1e18", 1e18, 0), ("scale1e-15", 1e-15, 0)):
            book.add(op, f"hard_{tag}", {"x": book.normal(3, 41, scale=scale, mean=mean)},
                     lambda t, o=outer: o(variance(t.x, [-1], False, False)),
                     attrs={"dim": [-1], "unbiased": False, "keepdim": False}, tier="hard")
    book.add("norm2", "eps_at_zero", {"x": np.zeros((2, 4), np.float32)},
             lambda t: ((t.x * t.x).sum(-1) + 1e-12).sqrt(),
             attrs={"dim": [-1], "keepdim": False, "eps_inside_sqrt": 1e-12}, doc="sqrt(sum x^2 + eps)")
    book.add("norm2", "eps", {"x": book.normal(3, 5)}, lambda t: ((t.x * t.x).sum(-1) + 0.1).sqrt(), order=2,
             attrs={"dim": [-1], "keepdim": False, "eps_inside_sqrt": 0.1})
    odd = np.array([[-np.inf, -np.inf], [np.inf, np.inf], [np.inf, -np.inf], [0, 0]], np.float32)
    for op in ("logsumexp", "max", "min", "sum"):
        book.add(op, "special_rows", {"x": odd}, lambda t, f=REDUCTIONS[op]: f(t.x, [-1], False), order=0, tier="hard",
                 attrs={"dim": [-1], "keepdim": False})
    for op in ("sum", "mean", "max"):
        book.add(op, "hard_denormal", {"x": book.normal(3, 11, scale=1e-40)}, lambda t, f=REDUCTIONS[op]: f(t.x, [-1], False),
                 attrs={"dim": [-1], "keepdim": False}, tier="hard")
    for op, fill in (("sum", 1e8), ("mean", 1e8)):
        x = np.concatenate([book.normal(2, 40), np.full((2, 1), fill, np.float32), book.normal(2, 40),
                            np.full((2, 1), -fill, np.float32)], axis=1)
        book.add(op, "hard_cancel", {"x": x}, lambda t, f=REDUCTIONS[op]: f(t.x, [-1], False), tier="hard",
                 attrs={"dim": [-1], "keepdim": False}, doc="two big terms cancel: needs a wide accumulator")
    for tag, x in (("1000", [[1000.0, 1001.0, 999.0]]), ("m1000", [[-1000.0, -1001.0, -1002.0]])):
        book.add("logsumexp", f"hard_{tag}", {"x": np.array(x, np.float32)},
                 lambda t: torch.logsumexp(t.x, -1), attrs={"dim": [-1], "keepdim": False}, tier="hard")

    zeros = book.normal(4, 5)
    zeros[1, 2] = zeros[2, 0] = zeros[2, 3] = 0
    for order in (1, 2):
        book.add("prod", "d1", {"x": book.normal(3, 5)}, lambda t: t.x.prod(1), attrs={"dim": [1], "keepdim": False},
                 order=order, tier="extra")
    book.add("prod", "zeros", {"x": zeros}, lambda t: t.x.prod(1, keepdim=True), tier="extra",
             attrs={"dim": [1], "keepdim": True}, doc="rows with one zero and with two")
    for dim in (0, 1, -1):
        book.add("argmax", f"d{dim}".replace("-", "m"), {"x": buffer(book.distinct(3, 4, 5))},
                 lambda t, d=dim: t.x.argmax(d).to(t.x.dtype), attrs={"dim": dim, "keepdim": False}, order=0)
    book.add("argmax", "keep", {"x": buffer(book.distinct(4, 7))},
             lambda t: t.x.argmax(1, keepdim=True).to(t.x.dtype), attrs={"dim": 1, "keepdim": True}, order=0)
    for dim in (0, 1, -1):
        for order in (1, 2):
            book.add("cumsum", f"d{dim}".replace("-", "m"), {"x": book.normal(3, 4, 5)},
                     lambda t, d=dim: t.x.cumsum(d), attrs={"dim": dim}, order=order, tier="extra")


def softmaxes(book):
    for op, f in (("softmax", F.softmax), ("log_softmax", F.log_softmax)):
        for tag, shape, dim in (("last", (3, 5), -1), ("tail17", (2, 17), 1), ("channel", (2, 3, 2, 4), 1),
                                ("first", (4, 3), 0), ("wide", (2, 65), -1)):
            for order in ((1, 2) if tag != "wide" else (1,)):
                book.add(op, tag, {"x": book.normal(*shape, scale=2)}, lambda t, f=f, d=dim: f(t.x, d),
                         attrs={"dim": dim}, order=order)
        book.add(op, "hard_spread", {"x": np.array([[0, 50, 100.], [-200, 0, 1e4], [5e3, 5e3, -5e3]], np.float32)},
                 lambda t, f=f: f(t.x, -1), attrs={"dim": -1}, tier="hard")
        book.add(op, "hard_offset", {"x": book.normal(3, 9, mean=1e4)}, lambda t, f=f: f(t.x, -1),
                 attrs={"dim": -1}, tier="hard")
        masked = book.normal(3, 6)
        masked[0, 2:] = masked[1, 0] = -np.inf
        book.add(op, "special_masked", {"x": masked}, lambda t, f=f: f(t.x, -1), attrs={"dim": -1}, order=0,
                 tier="hard", doc="a score of -Inf has probability 0")
        odd = np.array([[-np.inf, -np.inf], [np.inf, 1], [np.nan, 1], [np.inf, np.inf], [np.inf, -np.inf]], np.float32)
        book.add(op, "special_rows", {"x": odd}, lambda t, f=f: f(t.x, -1), attrs={"dim": -1}, order=0, tier="hard")
        book.refuse(op, "axis", {"x": book.normal(2, 3)}, "there is no axis 3", [3, "axis"], attrs={"dim": 3},
                    torch_call=lambda t, f=f: f(t.x, 3))


def cases(book):
    reductions(book)
    softmaxes(book)
