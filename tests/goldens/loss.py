"""Losses."""
import numpy as np
import torch
import torch.nn.functional as F

from golden import buffer, index
from movement import both


def reduced(loss, reduction):
    return {"none": lambda y: y, "mean": torch.mean, "sum": torch.sum}[reduction](loss)


def huber(d, delta):
    return torch.where(d.abs() < delta, 0.5 * d * d, delta * (d.abs() - 0.5 * delta))


def smooth_l1(d, beta):
    return torch.where(d.abs() < beta, 0.5 * d * d / beta, d.abs() - 0.5 * beta)


def cross_entropy(t, reduction, ignore, smoothing):
    """-sum_c q_c log p_c with q the smoothed one-hot target; the mean divides by the sum of the targets' weights."""
    logp = torch.log_softmax(t.x, 1)
    weight = getattr(t, "weight", torch.ones(t.x.shape[1], dtype=t.x.dtype))
    target = t.target.long()
    keep = target != ignore
    safe = torch.where(keep, target, torch.zeros_like(target))
    own = weight[safe] * keep
    picked = logp.gather(1, safe.unsqueeze(1)).squeeze(1)
    shape = [1, -1] + [1] * (t.x.dim() - 2)
    spread = (logp * weight.reshape(shape)).sum(1) / t.x.shape[1] * keep
    loss = -(1 - smoothing) * own * picked - smoothing * spread
    return loss.sum() / own.sum() if reduction == "mean" else reduced(loss, reduction)


def regression(book):
    n = book.normal
    kinds = {"mse_loss": ({}, lambda d: d * d), "l1_loss": ({}, torch.abs),
             "huber": ({"delta": 1.5}, lambda d: huber(d, 1.5)), "smooth_l1_loss": ({"beta": 0.5}, lambda d: smooth_l1(d, 0.5))}
    for op, (attrs, f) in kinds.items():
        for reduction in ("mean", "sum", "none"):
            both(book, op, reduction, lambda: {"x": n(3, 5, scale=2), "target": n(3, 5)},
                 lambda t: reduced(f(t.x - t.target), reduction), attrs={**attrs, "reduction": reduction})
        book.add(op, "images", {"x": n(2, 3, 4, 3), "target": n(2, 3, 4, 3)}, lambda t: f(t.x - t.target).mean(),
                 attrs={**attrs, "reduction": "mean"})
        book.refuse(op, "shapes", {"x": n(4, 3), "target": n(4, 2)}, "shapes differ", [3, 2],
                    attrs={**attrs, "reduction": "mean"}, torch_call=lambda t: F.mse_loss(t.x, t.target))
    both(book, "huber", "delta0.3", lambda: {"x": n(9), "target": n(9)}, lambda t: huber(t.x - t.target, 0.3).mean(),
         attrs={"delta": 0.3, "reduction": "mean"})
    book.refuse("mse_loss", "reduction", {"x": n(3), "target": n(3)}, "no such reduction", ["average", "mean"],
                attrs={"reduction": "average"}, torch_call=lambda t: F.mse_loss(t.x, t.target, reduction="average"))


def classification(book):
    n = book.normal
    for reduction in ("mean", "sum", "none"):
        plain = {"reduction": reduction, "ignore_index": -100, "label_smoothing": 0.0, "class_weight": False}
        for tag, shape, extra in (
                ("plain", (5, 4), {}), ("smooth", (4, 3), {"label_smoothing": 0.1}),
                ("weighted", (6, 3), {"class_weight": True}), ("ignore", (6, 4), {"ignore_index": 2}),
                ("all", (7, 3), {"class_weight": True, "ignore_index": 0, "label_smoothing": 0.2})):
            attrs = {**plain, **extra}

            def make():
                given = {"x": n(*shape, scale=2), "target": index(np.arange(shape[0]) % shape[1])}
                return {**given, "weight": buffer(book.positive(shape[1]))} if attrs["class_weight"] else given
            both(book, "cross_entropy", f"{tag}_{reduction}", make,
                 lambda t: cross_entropy(t, reduction, attrs["ignore_index"], attrs["label_smoothing"]), attrs=attrs)
        probabilities = book.positive(4, 5)
        both(book, "cross_entropy", f"probabilities_{reduction}",
             lambda: {"x": n(4, 5), "target": buffer(probabilities / probabilities.sum(1, keepdims=True))},
             lambda t: F.cross_entropy(t.x, t.target, reduction=reduction), attrs={**plain, "target": "probabilities"})
        both(book, "nll_loss", reduction, lambda: {"x": n(5, 4), "target": index([0, 3, 1, 1, 2])},
             lambda t: F.nll_loss(t.x, t.target.long(), reduction=reduction), attrs={"reduction": reduction})
        for tag in ("plain", "pos_weight", "weight", "both"):
            attrs = {"reduction": reduction, "pos_weight": tag in ("pos_weight", "both"), "weight": tag in ("weight", "both")}

            def make():
                given = {"x": n(4, 3, scale=2), "target": buffer(book.positive(4, 3, low=0, high=1))}
                if attrs["pos_weight"]:
                    given["pos_weight"] = buffer(book.positive(3))
                return {**given, "weight": buffer(book.positive(4, 3))} if attrs["weight"] else given
            both(book, "bce_with_logits", f"{tag}_{reduction}", make,
                 lambda t: F.binary_cross_entropy_with_logits(
                     t.x, t.target, getattr(t, "weight", None), reduction=reduction,
                     pos_weight=getattr(t, "pos_weight", None)), attrs=attrs)
    plain = {"reduction": "mean", "ignore_index": -100, "label_smoothing": 0.0, "class_weight": False}
    book.add("cross_entropy", "pixels", {"x": n(2, 3, 2, 2), "target": index(book.integers(3, 2, 2, 2))},
             lambda t: F.cross_entropy(t.x, t.target.long()), attrs=plain)
    book.add("cross_entropy", "hard_certain", {"x": np.array([[1e4, 0, -1e4], [0, 200, 100], [-90, -90, 90]], np.float32),
                                               "target": index([0, 2, 2])},
             lambda t: F.cross_entropy(t.x, t.target.long()), attrs=plain, tier="hard")
    book.add("bce_with_logits", "hard_certain", {"x": np.array([1e4, -1e4, 100, -100, 0], np.float32),
                                                 "target": buffer([1, 1, 0, 0, 1])},
             lambda t: F.binary_cross_entropy_with_logits(t.x, t.target, reduction="none"), tier="hard",
             attrs={"reduction": "none", "pos_weight": False, "weight": False})
    call = {"torch_call": lambda t: F.cross_entropy(t.x, t.target.long())}
    book.refuse("cross_entropy", "label", {"x": n(3, 4), "target": index([0, 4, 1])}, "class 4 of 4", [4], attrs=plain, **call)
    book.refuse("cross_entropy", "negative_label", {"x": n(2, 4), "target": index([0, -1])}, "class -1", [-1], attrs=plain,
                **call)
    book.refuse("cross_entropy", "count", {"x": n(3, 4), "target": index([0, 1])}, "2 labels for 3 rows", [2, 3], attrs=plain,
                **call)
    book.refuse("bce_with_logits", "shapes", {"x": n(3, 2), "target": buffer(np.ones((3, 4)))}, "shapes differ", [2, 4],
                attrs={"reduction": "mean", "pos_weight": False, "weight": False},
                torch_call=lambda t: F.binary_cross_entropy_with_logits(t.x, t.target))
    q = book.positive(4, 5)
    for order in (1, 2):
        book.add("kl_div", "batchmean", {"x": n(4, 5), "target": buffer(q / q.sum(1, keepdims=True))},
                 lambda t: F.kl_div(t.x, t.target, reduction="batchmean"), order=order, tier="extra",
                 attrs={"reduction": "batchmean", "input": "log-probabilities", "target": "probabilities"})


def pictures_and_critics(book):
    n = book.normal
    formulas = {
        "least_squares": ("0.5*mean((real-1)^2)+0.5*mean(fake^2)",
                          lambda t: 0.5 * ((t.real - 1) ** 2).mean() + 0.5 * (t.fake ** 2).mean()),
        "wasserstein": ("mean(fake)-mean(real)", lambda t: t.fake.mean() - t.real.mean()),
        "hinge": ("mean(relu(1-real))+mean(relu(1+fake))", lambda t: F.relu(1 - t.real).mean() + F.relu(1 + t.fake).mean()),
        "nonsaturating": ("mean(softplus(-real))+mean(softplus(fake))",
                          lambda t: F.softplus(-t.real).mean() + F.softplus(t.fake).mean()),
    }
    for tag, (formula, f) in formulas.items():
        both(book, "gan_loss", tag, lambda: {"real": n(5, 1, scale=2), "fake": n(5, 1, scale=2)}, f,
             attrs={"formula": formula})
        book.add("gan_loss", f"{tag}_patches", {"real": n(2, 1, 3, 3), "fake": n(2, 1, 3, 3)}, f, attrs={"formula": formula})
    for shape in ((1, 2, 4, 5), (2, 1, 3, 3)):
        both(book, "total_variation", f"n{shape[0]}", lambda: {"x": n(*shape)},
             lambda t: (t.x[:, :, 1:] - t.x[:, :, :-1]).abs().sum() + (t.x[..., 1:] - t.x[..., :-1]).abs().sum(),
             attrs={"reduction": "sum of |dx|+|dy|"}, tier="extra")


def cases(book):
    regression(book)
    classification(book)
    pictures_and_critics(book)
