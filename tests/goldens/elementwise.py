"""Functions of one tensor, and of two with broadcasting."""
import numpy as np
import torch
import torch.nn.functional as F

from golden import buffer, param

TAILS = (1, 2, 3, 5, 7, 9, 15, 17, 31, 33, 63, 65)
SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 3e38, -3e38, 1e-45]


def hardsigmoid(x):
    """In pieces, because PyTorch 1.13 cannot differentiate its own twice."""
    return torch.where(x <= -3, torch.zeros_like(x), torch.where(x >= 3, torch.ones_like(x), x / 6 + 0.5))


def hardswish(x):
    return torch.where(x < -3, torch.zeros_like(x), torch.where(x > 3, x, x * (x / 6 + 0.5)))


def elu(x, alpha):
    """With expm1, because PyTorch's exp(x) - 1 loses what is left of a small x."""
    return torch.where(x > 0, x, alpha * torch.expm1(torch.clamp(x, max=0)))


def selu(x):
    return 1.0507009873554805 * elu(x, 1.6732632423543772)


# op: function, attributes, where random inputs may lie, kinks, tier
REAL, POSITIVE, NONZERO = "real", "positive", "nonzero"
UNARY = {
    "abs": (torch.abs, {}, REAL, [0.0], "core"),
    "neg": (torch.neg, {}, REAL, [], "core"),
    "exp": (torch.exp, {}, REAL, [], "core"),
    "log": (torch.log, {}, POSITIVE, [], "core"),
    "log1p": (torch.log1p, {}, POSITIVE, [], "extra"),
    "sqrt": (torch.sqrt, {}, POSITIVE, [], "core"),
    "rsqrt": (torch.rsqrt, {}, POSITIVE, [], "core"),
    "reciprocal": (torch.reciprocal, {}, NONZERO, [], "core"),
    "square": (torch.square, {}, REAL, [], "core"),
    "sin": (torch.sin, {}, REAL, [], "extra"),
    "cos": (torch.cos, {}, REAL, [], "extra"),
    "erf": (torch.erf, {}, REAL, [], "extra"),
    "tanh": (torch.tanh, {}, REAL, [], "core"),
    "sigmoid": (torch.sigmoid, {}, REAL, [], "core"),
    "log_sigmoid": (F.logsigmoid, {}, REAL, [], "extra"),
    "relu": (torch.relu, {}, REAL, [0.0], "core"),
    "leaky_relu": (lambda x: F.leaky_relu(x, 0.2), {"negative_slope": 0.2}, REAL, [0.0], "core"),
    "elu": (lambda x: elu(x, 0.5), {"alpha": 0.5}, REAL, [], "core"),
    "selu": (selu, {}, REAL, [], "extra"),
    "gelu": (F.gelu, {"approximate": "none"}, REAL, [], "core"),
    "silu": (F.silu, {}, REAL, [], "core"),
    "mish": (F.mish, {}, REAL, [], "extra"),
    "softplus": (F.softplus, {"beta": 1.0, "threshold": 20.0}, REAL, [], "core"),
    "softsign": (F.softsign, {}, REAL, [], "extra"),
    "hardsigmoid": (hardsigmoid, {}, REAL, [-3.0, 3.0], "extra"),
    "hardswish": (hardswish, {}, REAL, [], "extra"),
    "hardtanh": (lambda x: F.hardtanh(x, -1.0, 1.0), {"min": -1.0, "max": 1.0}, REAL, [-1.0, 1.0], "core"),
    "clamp": (lambda x: torch.clamp(x, -0.5, 0.75), {"min": -0.5, "max": 0.75}, REAL, [-0.5, 0.75], "core"),
}

VARIANTS = [
    ("leaky_relu", "slope_default", lambda x: F.leaky_relu(x, 0.01), {"negative_slope": 0.01}),
    ("leaky_relu", "slope_negative", lambda x: torch.where(x > 0, x, -0.5 * x), {"negative_slope": -0.5}),
    ("elu", "alpha1", lambda x: elu(x, 1.0), {"alpha": 1.0}),
    ("gelu", "tanh", lambda x: 0.5 * x * (1 + torch.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x ** 3))),
     {"approximate": "tanh"}),
    ("softplus", "beta2", lambda x: F.softplus(x, 2.0, 5.0), {"beta": 2.0, "threshold": 5.0}),
    ("clamp", "wide_bounds", lambda x: torch.clamp(x, -2.0, 2.5), {"min": -2.0, "max": 2.5}),
    ("hardtanh", "bounds", lambda x: F.hardtanh(x, -0.25, 1.5), {"min": -0.25, "max": 1.5}),
]


def sample(book, domain, *shape):
    if domain == POSITIVE:
        return book.positive(*shape)
    x = book.normal(*shape, scale=1.5)
    return np.where(np.abs(x) < 0.2, 0.2 + np.abs(x), x) if domain == NONZERO else x


def unary(book):
    for place, (op, (f, attrs, domain, kinks, tier)) in enumerate(UNARY.items()):
        common = {"attrs": attrs, "tier": tier, "elementwise": True}
        call = lambda t, f=f: f(t.x)  # noqa: E731
        book.add(op, "r2x19", {"x": sample(book, domain, 2, 19)}, call, **common)
        for n in (TAILS[place % 12], TAILS[(place + 5) % 12]):
            book.add(op, f"tail{n}", {"x": sample(book, domain, n)}, call, **common)
        book.add(op, "r3x5", {"x": sample(book, domain, 3, 5)}, call, order=2, **common)
        if domain == REAL:
            # Where exp and friends saturate: 86 is as far as eˣ and its square's root stay in float32.
            reach = 40.0 if op == "square" else 80.0
            x = np.linspace(-reach, reach, 27).astype(np.float32)
            book.add(op, "reach", {"x": x}, call, **common)
        if kinks:
            x = np.array(kinks + [-2.0, 2.5, 0.125], np.float32)
            book.add(op, "kinks", {"x": x}, call, **common, doc="the gradient at a kink is a convention")
        hard = {**common, "tier": "hard"}
        special = SPECIAL if domain == REAL else [np.nan, np.inf, 0.0, 3e38, 1e-45, 1e-38, 1.0]
        special = np.array(special, np.float32)
        # At ±Inf PyTorch computes these as Inf·0 or Inf/Inf; the limit is as good an answer.
        unsure = np.isinf(special) & (op in ("gelu", "silu", "mish", "softsign"))
        book.add(op, "special", {"x": special}, call, order=0, **hard,
                 dont_care=[int(i) for i in np.flatnonzero(unsure)], doc="NaN in gives NaN out, Inf gives the limit")
    for op, tag, f, attrs in VARIANTS:
        call = lambda t, f=f: f(t.x)  # noqa: E731
        book.add(op, tag, {"x": book.normal(4, 7, scale=2)}, call, attrs=attrs, elementwise=True)
        book.add(op, tag, {"x": book.normal(3, 4, scale=2)}, call, attrs=attrs, order=2, elementwise=True)
    book.add("tanh", "r2x5", {"x": book.normal(2, 5)}, lambda t: torch.tanh(t.x), order=3, tier="extra",
             elementwise=True)
    tiny = (10.0 ** np.linspace(-30, -3, 19)).astype(np.float32)
    for op in ("tanh", "log1p", "softsign", "erf", "sin", "silu", "gelu", "elu"):
        f, attrs, _, _, _ = UNARY[op]
        # Each value is a decade from the next; the largest is what the error is measured by.
        book.add(op, "hard_tiny", {"x": tiny}, lambda t, f=f: f(t.x), attrs=attrs, tier="hard", elementwise=True)
    denormal = np.array([1e-45, 1e-44, 3e-41, -2e-40, 1e-39, -1e-38], np.float32)
    for op in ("neg", "abs", "relu", "leaky_relu", "tanh", "sin", "softsign", "erf", "silu", "clamp", "elu"):
        f, attrs, _, _, _ = UNARY[op]
        book.add(op, "hard_denormal", {"x": denormal}, lambda t, f=f: f(t.x), attrs=attrs, tier="hard", elementwise=True)
    for op in ("sqrt", "log", "rsqrt"):
        book.add(op, "hard_denormal", {"x": abs(denormal)}, lambda t, f=UNARY[op][0]: f(t.x), order=0, tier="hard",
                 elementwise=True)
    big = np.array([87.0, 88.5, 89.0, 100.0, 1e4, -87.0, -88.5, -103.0, -1e4], np.float32)
    for op in ("exp", "sigmoid", "tanh", "softplus", "silu", "gelu", "elu", "mish", "log_sigmoid"):
        f, attrs, _, _, _ = UNARY[op]
        book.add(op, "hard_overflow", {"x": big}, lambda t, f=f: f(t.x), attrs=attrs, order=0, tier="hard",
                 elementwise=True, doc="beyond ln of the largest float")


FORMS = {  # how two shapes meet
    "same": ((3, 7), (3, 7)), "row": ((4, 5), (5,)), "column": ((4, 5), (4, 1)), "both": ((4, 1), (1, 6)),
    "scalar": ((2, 3, 3), ()), "channel": ((2, 3, 2, 5), (3, 1, 1)), "left": ((3,), (2, 2, 3)),
}
BINARY = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "div": lambda a, b: a / b,
    "maximum": torch.maximum, "minimum": torch.minimum,
}


def binary(book):
    for op, f in BINARY.items():
        call = lambda t, f=f: f(t.a, t.b)  # noqa: E731
        for tag, (left, right) in FORMS.items():
            a, b = book.normal(*left), book.normal(*right)
            if op == "div":
                b = np.where(np.abs(b) < 0.3, 0.5, b)
            book.add(op, f"bc_{tag}", {"a": a, "b": b}, call, elementwise=True)
        for tag in ("same", "both", "channel"):
            left, right = FORMS[tag]
            a, b = book.normal(*left), book.normal(*right)
            if op == "div":
                b = np.where(np.abs(b) < 0.3, 0.5, b)
            book.add(op, f"bc_{tag}", {"a": a, "b": b}, call, order=2, elementwise=True)
        book.add(op, "tail13", {"a": book.normal(13), "b": book.normal(13) + 4}, call, elementwise=True)
        book.refuse(op, "shapes", {"a": book.normal(3, 4), "b": book.normal(2, 4)}, "3 and 2 do not broadcast",
                    [3, 2, op], torch_call=lambda t, f=f: f(t.a, t.b))
        tiny = np.array([1e-45, 3e-41, -2e-40, 1e-39, -1e-38], np.float32)
        book.add(op, "hard_denormal", {"a": tiny, "b": np.array([2, 0.5, 3, -1, 1.5], np.float32) * (
            1 if op in ("mul", "div") else np.float32(1e-40))}, call, tier="hard", elementwise=True)
        special = np.array([np.nan, 1, np.inf, np.inf, -np.inf, 0, 0, 1, 3e38, 1e-38], np.float32)
        other = np.array([1, np.nan, np.inf, -np.inf, 2, 0, -1, 0, 3e38, 1e-7], np.float32)
        book.add(op, "special", {"a": special, "b": other}, call, order=0, tier="hard", elementwise=True)
    for op in ("maximum", "minimum"):
        ties = np.array([1.0, 2.0, -1.0, 0.5], np.float32)
        book.add(op, "ties", {"a": ties, "b": np.array([1.0, 0.0, -1.0, 0.75], np.float32)},
                 lambda t, f=BINARY[op]: f(t.a, t.b), attrs={"tie": "gradient split half/half"}, tier="extra",
                 elementwise=True)
    for exponent in (2.5, -1.5, 3.0, 0.5, 2.0, 1.0):
        attrs = {"exponent": exponent}
        call = lambda t, p=exponent: t.x ** p  # noqa: E731
        name = str(exponent).replace("-", "m").replace(".", "_")
        book.add("pow", f"p{name}", {"x": book.positive(3, 7)}, call, attrs=attrs, elementwise=True)
        book.add("pow", f"p{name}", {"x": book.positive(5)}, call, attrs=attrs, order=2, elementwise=True)
    for order in (1, 2):
        book.add("pow", "cube_negative", {"x": book.normal(9)}, lambda t: t.x ** 3.0, attrs={"exponent": 3.0},
                 order=order, elementwise=True)
        book.add("pow", "tensor", {"x": book.positive(3, 5), "exponent": book.normal(5)},
                 lambda t: t.x ** t.exponent, attrs={"exponent": "tensor"}, order=order, elementwise=True)
    for tag, shape, (left, right) in (("same", (3, 5), FORMS["same"]), ("bc", (4, 1), FORMS["row"]),
                                      ("channel", (2, 1, 2, 5), FORMS["channel"])):
        shape = left if tag == "same" else shape
        condition = buffer((book.normal(*shape) > 0).astype(np.float32))
        for order in (1, 2):
            book.add("where", tag, {"c": condition, "a": book.normal(*left), "b": book.normal(*right)},
                     lambda t: torch.where(t.c != 0, t.a, t.b), attrs={"cond": "in.c != 0"}, order=order,
                     elementwise=True)
    for tag, shape, count in (("shared", (3, 2, 5), 1), ("channel", (2, 3, 4), 3), ("4d", (2, 5, 3, 3), 5),
                              ("2d", (4, 3), 3)):
        for order in (1, 2):
            book.add("prelu", tag, {"x": book.normal(*shape), "weight": param(book.normal(count, scale=0.3))},
                     lambda t: torch.where(t.x > 0, t.x, t.x * t.weight.reshape(
                         [-1 if i == 1 else 1 for i in range(t.x.dim())]) if t.weight.numel() > 1 else t.x * t.weight),
                     attrs={"num_parameters": count}, order=order, elementwise=True)
    book.refuse("prelu", "count", {"x": book.normal(2, 3, 4), "weight": param(book.normal(2))},
                "two slopes for three channels", [2, 3], attrs={"num_parameters": 2},
                torch_call=lambda t: F.prelu(t.x, t.weight))


def cases(book):
    unary(book)
    binary(book)
    for order in (1, 2):
        book.add("shared_use", "diamond", {"x": book.normal(7)},
                 lambda t: t.x * t.x + t.x.sum() * t.x - t.x[0], attrs={"expr": "y = x*x + sum(x)*x - x[0]"},
                 order=order, doc="a value used several times gathers all its gradients")
