"""The machinery behind make_goldens.py: from a function of PyTorch tensors to a reference vector on disk.

A case is a function, its inputs and attributes. The inputs are rounded to float32 first; outputs and gradients are
then computed in float64 and rounded once, so that a file holds what the reference saw and what is true of it. The
same computation in float32 tells how well PyTorch itself does; the tolerances are multiples of that.
"""
import json
import pathlib
import struct
import types

import numpy as np
import torch

torch.set_num_threads(1)

# How far a result may be off, relative to the natural size of the tensor. `tight` is what careful float32 reaches,
# `loose` what any correct implementation reaches.
TIGHT_FLOOR, LOOSE_FLOOR = 1e-6, 1e-5
TIGHT_CAP = {"hard": 1e-5, "stretch": 1e-5}  # wide statistics reach it; elsewhere 1e-4


class Tensors(types.SimpleNamespace):
    """Inputs by name: t.x, t.weight."""


class In:
    """An input and its role: input and param have a gradient, buffer and index have none."""

    def __init__(self, value, role):
        # Copied, because PyTorch's optimizers write into it.
        self.value = np.array(value, dtype=np.float32, order="C", copy=True)
        self.role = role

    @property
    def differentiable(self):
        return self.role in ("input", "param")


def param(value):
    return In(value, "param")


def buffer(value):
    return In(value, "buffer")


def index(value):
    return In(value, "index")


def write_safetensors(path, tensors, metadata):
    """One header of JSON, padded to 8 bytes, then the numbers, little-endian float32."""
    header, offset = {"__metadata__": metadata}, 0
    for name, value in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [offset, offset + 4 * value.size]}
        offset += 4 * value.size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for value in tensors.values():
            file.write(np.ascontiguousarray(value, dtype="<f4").tobytes())


def compact(value):
    return json.dumps(value, separators=(",", ":"))


def tolerance(reference, float32, tier, natural):
    """Scale of a tensor, PyTorch's own float32 error in units of it, and the two bounds that follow."""
    finite = np.isfinite(reference)
    scale = natural if natural else float(np.max(np.abs(reference[finite]), initial=0.0)) or 1.0
    same_places = np.array_equal(np.isnan(reference), np.isnan(float32)) and np.array_equal(
        np.isinf(reference), np.isinf(float32))
    score = float(np.max(np.abs(float32[finite] - reference[finite]), initial=0.0)) / scale if same_places else 1e30
    cap = TIGHT_CAP.get(tier, 1e-4)
    return {"scale": float(f"{scale:.6g}"), "torch_f32": float(f"{min(score, 1e30):.2g}"),
            "tight": float(f"{min(max(2 * score, TIGHT_FLOOR), cap):.2g}"),
            "loose": float(f"{min(max(16 * score, LOOSE_FLOOR), 10 * cap):.2g}")}


class Book:
    """Collects cases and writes them."""

    def __init__(self, folder, seed=20230512):
        self.folder = pathlib.Path(folder)
        self.rng = np.random.default_rng(seed)
        self.names = set()
        self.bytes = 0

    # Inputs ------------------------------------------------------------------------------------------------------
    def normal(self, *shape, scale=1.0, mean=0.0):
        return (mean + scale * self.rng.standard_normal(shape)).astype(np.float32)

    def positive(self, *shape, low=0.1, high=3.0):
        return self.rng.uniform(low, high, shape).astype(np.float32)

    def distinct(self, *shape):
        """No two values closer than float32 can tell apart: for extremes, whose gradient must not depend on ties."""
        count = int(np.prod(shape))
        return ((self.rng.permutation(count) - count / 2) / count * 4).astype(np.float32).reshape(shape)

    def integers(self, high, *shape):
        return self.rng.integers(0, high, shape)

    # Kinds of cases ----------------------------------------------------------------------------------------------
    def add(self, op, tag, inputs, function, attrs=None, order=1, tier="core", doc="", natural=None, float32=None,
            elementwise=False, cotangents=None, kind=None, dont_care=None):
        """Writes one case.

        `function` takes the tensors (t.x, ...) and returns the output y, or a dict of outputs; names that start with
        "aux." are results without a gradient. `order` is 0 for forward only, else the order of differentiation.
        `float32` is the function to score PyTorch's single precision with, where it has a fused one. `natural` gives
        the natural size of tensors whose true value is 0 or nearly so.
        """
        inputs = {name: value if isinstance(value, In) else In(value, "input") for name, value in inputs.items()}
        attrs = attrs or {}
        if order == 0:
            inputs = {n: buffer(v.value) if v.differentiable else v for n, v in inputs.items()}
        prefix = {2: "gg_", 3: "ggg_"}.get(order, "")
        kind = kind or ["forward", "grad", "gradgrad", "gradgradgrad"][order]
        given = dict(cotangents or {})
        random = types.SimpleNamespace(normal=lambda shape: self.rng.standard_normal(shape).astype(np.float32))
        reference = evaluate(function, inputs, order, torch.float64, given, random)
        single = evaluate(float32 or function, inputs, order, torch.float32, given, random)

        tensors = {f"in.{n}": v.value for n, v in inputs.items()}
        tensors.update({n: v for n, v in given.items()})
        tolerances = {}
        for name, value in reference.items():
            size = (natural or {}).get(name)
            if size:
                value = np.where(np.abs(value) < 1e-12 * size, 0.0, value)
            with np.errstate(over="ignore"):
                tensors[name] = value.astype(np.float32)
            if order and not np.isfinite(tensors[name]).all() and tier == "core":
                raise ValueError(f"{op} {tag}: {name} is not finite")
            tolerances[name] = tolerance(tensors[name].astype(np.float64), single[name].astype(np.float64), tier, size)
        extra = {"elementwise": "1"} if elementwise else {}
        if dont_care is not None:
            extra["dont_care"] = compact(dont_care)
        self.write(op, prefix + tag, kind, tier, attrs, inputs, tensors, tolerances, doc, extra)

    def refuse(self, op, tag, inputs, why, mention, attrs=None, torch_call=None, tier="core"):
        """Writes a call that must be refused; torch_call shows what PyTorch says to it."""
        inputs = {name: value if isinstance(value, In) else In(value, "input") for name, value in inputs.items()}
        says = ""
        if torch_call:
            try:
                torch_call(Tensors(**{n: torch.tensor(v.value) for n, v in inputs.items()}))
                says = "(accepts it)"
            except Exception as error:  # noqa: BLE001 - whatever PyTorch raises is the answer
                says = str(error).split("\n")[0][:160]
        tensors = {f"in.{n}": v.value for n, v in inputs.items()}
        self.write(op, "err_" + tag, "expect_error", tier, attrs or {}, inputs, tensors, {}, "",
                   {"why": why, "message_should_mention": compact([str(m) for m in mention]), "torch_says": says})

    def write(self, op, tag, kind, tier, attrs, inputs, tensors, tolerances, doc, extra):
        case = f"{op}__{tag}"
        if case in self.names:
            raise ValueError(f"two cases are called {case}")
        self.names.add(case)
        metadata = {
            "format": "golden-1", "case": case, "op": op, "kind": kind, "tier": tier, "attrs": compact(attrs),
            "inputs": compact([{"name": n, "role": v.role, "dtype": "int" if v.role == "index" else "float",
                                "shape": list(v.value.shape)} for n, v in inputs.items()]),
            "outputs": compact(list(tolerances)), "tol": compact(tolerances), "doc": doc,
            "reference": f"PyTorch {torch.__version__}, float64", **extra}
        path = self.folder / f"{case}.safetensors"
        write_safetensors(path, tensors, metadata)
        self.bytes += path.stat().st_size


def evaluate(function, inputs, order, dtype, given, random):
    """Outputs and gradients up to `order`, as float64 arrays by file name; fills in the cotangents not yet given."""

    def cotangent(name, like):
        if name not in given:
            given[name] = random.normal(tuple(like.shape))
        return torch.tensor(given[name], dtype=dtype, requires_grad=order > 1)

    leaves = {n: torch.tensor(v.value, dtype=dtype, requires_grad=order > 0 and v.differentiable)
              for n, v in inputs.items()}
    result = function(Tensors(**leaves))
    result = result if isinstance(result, dict) else {"y": result}
    found = {n if n.startswith("aux.") else f"out.{n}": v for n, v in result.items()}
    wrt = {n: leaves[n] for n, v in inputs.items() if v.differentiable}

    def derive(values, prefix, targets, create):
        """The gradients of <cotangents, values>, named prefix + target."""
        weights = {n: cotangent(n, v) for n, v in values.items()}
        total = sum((weights[n] * v).sum() for n, v in values.items())
        grads = torch.autograd.grad(total, list(targets.values()), create_graph=create, allow_unused=True)
        return weights, {f"{prefix}{n}": torch.zeros_like(v) if g is None else g
                         for (n, v), g in zip(targets.items(), grads)}

    if order >= 1:
        outs = {n.replace("out.", "cot."): v for n, v in found.items() if n.startswith("out.") and v.requires_grad}
        weights, first = derive(outs, "grad.", wrt, order > 1)
        found.update(first)
    if order >= 2:
        targets = {**wrt, **weights}
        live = {n.replace("grad.", "cot2."): v for n, v in first.items() if v.requires_grad}
        for n, v in first.items():  # gradients that are constant still have a cotangent in the file
            cotangent(n.replace("grad.", "cot2."), v)
        _, second = derive(live, "grad2.", targets, order > 2)
        found.update(second)
    if order >= 3:
        live = {n.replace("grad2.", "cot3."): v for n, v in second.items() if v.requires_grad}
        for n, v in second.items():
            cotangent(n.replace("grad2.", "cot3."), v)
        _, third = derive(live, "grad3.", wrt, False)
        found.update(third)
    # PyTorch has zero tensors without memory behind them, whose numpy() is whatever stood there.
    found = {n: torch.zeros(v.shape) if v._is_zerotensor() else v for n, v in found.items()}
    return {n: v.detach().numpy().astype(np.float64) for n, v in found.items()}
