"""Optimizers, learning-rate schedules and gradient clipping, with the gradients given."""
import numpy as np
import torch

from golden import buffer, evaluate, param, tolerance

STEPS = 5
SHAPES = [(2, 3), (5,), (1, 2, 2, 2)]

# op: PyTorch's class, and the state to compare by its name there
CLASSES = {
    "sgd": (torch.optim.SGD, ["momentum_buffer"]),
    "adam": (torch.optim.Adam, ["exp_avg", "exp_avg_sq", "max_exp_avg_sq"]),
    "adamw": (torch.optim.AdamW, ["exp_avg", "exp_avg_sq", "max_exp_avg_sq"]),
    "rmsprop": (torch.optim.RMSprop, ["square_avg", "momentum_buffer", "grad_avg"]),
    "adagrad": (torch.optim.Adagrad, ["sum"]),
}
SGD = {"lr": 0.1, "momentum": 0, "dampening": 0, "weight_decay": 0, "nesterov": False}
ADAM = {"lr": 0.01, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0, "amsgrad": False}
RMS = {"lr": 0.01, "momentum": 0, "alpha": 0.99, "eps": 1e-8, "centered": False, "weight_decay": 0}
ADAGRAD = {"lr": 0.1, "lr_decay": 0, "eps": 1e-10, "weight_decay": 0, "initial_accumulator_value": 0}
SETTINGS = [
    ("sgd", "plain", SGD), ("sgd", "momentum", {**SGD, "momentum": 0.9}),
    ("sgd", "nesterov", {**SGD, "momentum": 0.8, "nesterov": True, "weight_decay": 0.01}),
    ("sgd", "dampening", {**SGD, "momentum": 0.9, "dampening": 0.3}), ("sgd", "decay", {**SGD, "weight_decay": 0.05}),
    ("adam", "plain", ADAM), ("adam", "gan", {**ADAM, "lr": 2e-4, "betas": [0.5, 0.999]}),
    ("adam", "wgan", {**ADAM, "betas": [0.0, 0.9]}), ("adam", "decay", {**ADAM, "weight_decay": 0.1}),
    ("adam", "amsgrad", {**ADAM, "amsgrad": True}), ("adam", "eps", {**ADAM, "eps": 1e-3}),
    ("adamw", "plain", {**ADAM, "weight_decay": 0.01}), ("adamw", "decay", {**ADAM, "weight_decay": 0.1, "lr": 0.1}),
    ("adamw", "amsgrad", {**ADAM, "weight_decay": 0.01, "amsgrad": True}),
    ("rmsprop", "plain", RMS), ("rmsprop", "momentum", {**RMS, "momentum": 0.9}),
    ("rmsprop", "centered", {**RMS, "centered": True, "alpha": 0.9}),
    ("rmsprop", "everything", {**RMS, "centered": True, "momentum": 0.5, "weight_decay": 0.01}),
    ("adagrad", "plain", ADAGRAD), ("adagrad", "decay", {**ADAGRAD, "lr_decay": 0.1, "weight_decay": 0.05}),
    ("adagrad", "start", {**ADAGRAD, "initial_accumulator_value": 0.5}),
]


def run(op, attrs, t):
    make, names = CLASSES[op]
    parameters = [torch.nn.Parameter(getattr(t, f"p{i}").detach().clone()) for i in range(len(SHAPES))]
    optimizer = make(parameters, **attrs)
    out = {}
    for step in range(1, STEPS + 1):
        for i, p in enumerate(parameters):
            p.grad = getattr(t, f"g{step}_{i}").clone()
        optimizer.step()
        out.update({f"p{i}_s{step}": p.detach().clone() for i, p in enumerate(parameters)})
    for i, p in enumerate(parameters):
        state = optimizer.state[p]
        out.update({f"{n}_{i}": state[n] for n in names if isinstance(state.get(n), torch.Tensor)})
    return out


def optimizers(book):
    for op, tag, attrs in SETTINGS:
        inputs = {f"p{i}": param(book.normal(*s)) for i, s in enumerate(SHAPES)}
        for step in range(1, STEPS + 1):
            inputs.update({f"g{step}_{i}": buffer(book.normal(*s)) for i, s in enumerate(SHAPES)})
        add_optimizer(book, op, tag, inputs, attrs, "extra" if op == "adagrad" else "core")
    small = {f"p{i}": param(book.normal(*s)) for i, s in enumerate(SHAPES)}
    for step in range(1, STEPS + 1):
        small.update({f"g{step}_{i}": buffer(book.normal(*s, scale=10.0 ** (-6 * i))) for i, s in enumerate(SHAPES)})
    add_optimizer(book, "adam", "hard_small_gradients", small, ADAM, "hard")


def add_optimizer(book, op, tag, inputs, attrs, tier):
    def call(t):
        return run(op, attrs, t)

    reference = evaluate(call, inputs, 0, torch.float64, {}, None)
    single = evaluate(call, inputs, 0, torch.float32, {}, None)
    tensors = {f"in.{n}": v.value for n, v in inputs.items()}
    tensors.update({n: v.astype(np.float32) for n, v in reference.items()})
    bounds = {n: tolerance(tensors[n].astype(np.float64), single[n], tier, None) for n in reference}
    book.write(op, tag, "optimizer", tier, attrs, inputs, tensors, bounds,
               "the gradients are given, not recomputed; out.p<i>_s<t> is parameter i after step t", {"steps": str(STEPS)})


def schedules(book):
    from torch.optim import lr_scheduler as s
    kinds = [
        ("step", {"step_size": 5, "gamma": 0.5}, lambda o, a: s.StepLR(o, a["step_size"], a["gamma"])),
        ("multistep", {"milestones": [3, 9], "gamma": 0.1}, lambda o, a: s.MultiStepLR(o, a["milestones"], a["gamma"])),
        ("exponential", {"gamma": 0.8}, lambda o, a: s.ExponentialLR(o, a["gamma"])),
        ("cosine", {"T_max": 20, "eta_min": 0.001}, lambda o, a: s.CosineAnnealingLR(o, a["T_max"], a["eta_min"])),
        ("linear", {"start_factor": 0.1, "end_factor": 1.0, "total_iters": 5},
         lambda o, a: s.LinearLR(o, a["start_factor"], a["end_factor"], a["total_iters"])),
        ("linear", {"start_factor": 1.0, "end_factor": 0.2, "total_iters": 15},
         lambda o, a: s.LinearLR(o, a["start_factor"], a["end_factor"], a["total_iters"])),
    ]
    for place, (kind, attrs, make) in enumerate(kinds):
        attrs = {"type": kind, "base_lr": 0.1, **attrs}

        def rates(t):
            optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
            schedule, out = make(optimizer, attrs), []
            for _ in range(20):
                out.append(optimizer.param_groups[0]["lr"])
                optimizer.step()
                schedule.step()
            return {"lr": torch.tensor(out, dtype=torch.float64)}
        book.add("lr_schedule", f"{kind}{place}", {}, rates, attrs=attrs, order=0, tier="extra",
                 doc="the rate used at steps 0 to 19")


def clipping(book):
    for norm_type, name in ((2, "norm2"), ("inf", "max")):
        for tag, limit, scale in (("clips", 0.5, 1.0), ("passes", 1e4, 1.0), ("tiny", 1e-3, 1e-6)):
            def clip(t):
                parameters = [torch.nn.Parameter(torch.zeros_like(g)) for g in (t.g0, t.g1, t.g2)]
                for p, g in zip(parameters, (t.g0, t.g1, t.g2)):
                    p.grad = g.clone()
                total = torch.nn.utils.clip_grad_norm_(parameters, limit, float(norm_type))
                return {"aux.total_norm": total, **{f"aux.g{i}": p.grad for i, p in enumerate(parameters)}}
            book.add("clip_grad_norm", f"{name}_{tag}",
                     {f"g{i}": buffer(book.normal(*s, scale=scale)) for i, s in enumerate(SHAPES)}, clip,
                     attrs={"max_norm": limit, "norm_type": norm_type, "eps": 1e-6}, order=0)


def refused(book):
    for op, attrs, why, mention in (("sgd", {**SGD, "lr": -0.1}, "a negative rate", ["-0.1"]),
                                    ("adam", {**ADAM, "betas": [1.0, 0.999]}, "a beta of 1", ["beta", 1])):
        inputs = {"p0": param(book.normal(3)), "g1_0": buffer(book.normal(3))}
        book.refuse(op, "range", inputs, why, mention, attrs=attrs, torch_call=lambda t, o=op, a=attrs: CLASSES[o][0](
            [torch.nn.Parameter(t.p0)], **a))


def cases(book):
    optimizers(book)
    schedules(book)
    clipping(book)
    refused(book)
