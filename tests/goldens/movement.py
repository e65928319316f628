"""Ops that move numbers, pooling and resampling."""
import numpy as np
import torch
import torch.nn.functional as F

from golden import index, param


def both(book, op, tag, inputs, function, **rest):
    """First and second order; inputs is a function, so that each gets its own numbers."""
    for order in (1, 2):
        book.add(op, tag, inputs(), function, order=order, **rest)


def rearranging(book):
    n = book.normal
    for tag, shape, to in (("flat", (2, 3, 4), [24]), ("split", (4, 6), [2, 2, 3, 2]), ("infer", (3, 8), [4, -1])):
        both(book, "reshape", tag, lambda: {"x": n(*shape)}, lambda t: t.x.reshape(to), attrs={"shape": to})
    book.add("reshape", "permuted", {"x": n(2, 3, 4)}, lambda t: t.x.permute(0, 2, 1).reshape(4, 6),
             attrs={"permute": [0, 2, 1], "shape": [4, 6]}, doc="permute, then reshape")
    book.refuse("reshape", "size", {"x": n(2, 3)}, "6 numbers do not fill [4, 2]", [6, 8], attrs={"shape": [4, 2]},
                torch_call=lambda t: t.x.reshape(4, 2))
    for order in ([1, 0], [2, 0, 1], [0, 3, 1, 2], [3, 2, 1, 0], [0, 2, 1, 4, 3]):
        shape = [2, 3, 4, 3, 2][:len(order)]
        both(book, "permute", "p" + "".join(map(str, order)), lambda: {"x": n(*shape)},
             lambda t, o=order: t.x.permute(o), attrs={"dims": order})
    book.refuse("permute", "twice", {"x": n(2, 3)}, "axis 0 named twice", [0], attrs={"dims": [0, 0]},
                torch_call=lambda t: t.x.permute(0, 0))
    for tag, dim, start, end, step in (("head", 0, 0, 2, 1), ("middle", 1, 2, 5, 1), ("step2", 1, 1, 7, 2),
                                       ("step3_last", 2, 0, 5, 3)):
        where = [slice(None)] * 3
        where[dim] = slice(start, end, step)
        both(book, "slice", tag, lambda: {"x": n(3, 7, 5)}, lambda t, w=tuple(where): t.x[w],
             attrs={"dim": dim, "start": start, "end": end, "step": step})
    for dim in (0, 1, 2):
        shapes = [[2, 3, 2] for _ in range(3)]
        shapes[1][dim], shapes[2][dim] = 1, 4
        both(book, "cat", f"d{dim}_three", lambda: {f"x{i}": n(*s) for i, s in enumerate(shapes)},
             lambda t, d=dim: torch.cat([t.x0, t.x1, t.x2], d), attrs={"dim": dim, "count": 3})
    book.add("cat", "square", {"x0": n(2, 3), "x1": n(2, 2)}, lambda t: torch.cat([t.x0, t.x1], 1).square(), order=2,
             attrs={"dim": 1, "count": 2, "then": "square"})
    book.refuse("cat", "rank", {"x0": n(2, 3), "x1": n(3)}, "ranks 2 and 1", ["[2, 3]", "[3]"], attrs={"dim": 0, "count": 2},
                torch_call=lambda t: torch.cat([t.x0, t.x1]))
    for sizes in ([1, 5], [2, 2, 2], [3, 1, 2]):
        both(book, "split", "s" + "".join(map(str, sizes)), lambda: {"x": n(2, 6, 3)},
             lambda t, s=sizes: {f"y{i}": y for i, y in enumerate(t.x.split(s, 1))}, attrs={"dim": 1, "sizes": sizes})
    book.refuse("split", "sum", {"x": n(2, 6)}, "2 + 3 is not 6", [5, 6], attrs={"dim": 1, "sizes": [2, 3]},
                torch_call=lambda t: t.x.split([2, 3], 1))
    for dim in (0, 1, 2):
        both(book, "stack", f"d{dim}", lambda: {f"x{i}": n(3, 4) for i in range(3)},
             lambda t, d=dim: torch.stack([t.x0, t.x1, t.x2], d), attrs={"dim": dim, "count": 3}, tier="extra")
    for dims in ([0], [1, 2], [3]):
        both(book, "flip", "d" + "".join(map(str, dims)), lambda: {"x": n(2, 2, 3, 5)},
             lambda t, d=dims: t.x.flip(d), attrs={"dims": dims}, tier="extra")
    for counts, shape in (([2, 1, 3], (1, 3, 2)), ([3, 2], (2, 5)), ([2, 2, 1], (3, 2))):
        both(book, "repeat", "c" + "".join(map(str, counts)), lambda: {"x": n(*shape)},
             lambda t, c=counts: t.x.repeat(*c), attrs={"repeats": counts}, tier="extra")
    for tag, shape, to in (("row", (5,), [3, 5]), ("middle", (2, 1, 3), [2, 4, 3]), ("ones", (1, 1), [3, 7])):
        both(book, "expand", tag, lambda: {"x": n(*shape)}, lambda t, s=to: t.x.expand(s), attrs={"shape": to})
    book.refuse("expand", "extent", {"x": n(2, 3)}, "extent 2 cannot become 4", [2, 4], attrs={"shape": [4, 3]},
                torch_call=lambda t: t.x.expand(4, 3))
    for diagonal in (-1, 0, 2):
        both(book, "tril", f"d{diagonal}".replace("-", "m"), lambda: {"x": n(2, 4, 5)},
             lambda t, d=diagonal: torch.tril(t.x, d), attrs={"diagonal": diagonal}, tier="extra")
    for tag, mode, pad, value in (
            ("zeros", "constant", [1, 2, 3, 0], 0.0), ("value", "constant", [2, 0, 1, 1], -1.5),
            ("crop", "constant", [-1, -1, 0, -2], 0.0), ("reflect", "reflect", [2, 1, 3, 2], None),
            ("reflect_full", "reflect", [4, 4, 3, 3], None), ("replicate", "replicate", [3, 5, 0, 6], None)):
        both(book, "pad", tag, lambda: {"x": n(2, 2, 4, 5)},
             lambda t, m=mode, p=pad, v=value: F.pad(t.x, p, m, **({"value": v} if v is not None else {})),
             attrs={"mode": mode, "pad_order": "left,right,top,bottom", "pad": pad, "value": value})
    book.refuse("pad", "reflect", {"x": n(1, 1, 4, 4)}, "reflecting 4 rows of 4", [4],
                attrs={"mode": "reflect", "pad_order": "left,right,top,bottom", "pad": [0, 0, 4, 0], "value": None},
                torch_call=lambda t: F.pad(t.x, [0, 0, 4, 0], "reflect"))
    book.refuse("pad", "mode", {"x": n(1, 1, 4, 4)}, "no such mode", ["mirror", "reflect"],
                attrs={"mode": "mirror", "pad_order": "left,right,top,bottom", "pad": [1, 1, 1, 1], "value": None},
                torch_call=lambda t: F.pad(t.x, [1, 1, 1, 1], "mirror"))
    for r, shape in ((2, (2, 8, 3, 2)), (3, (1, 9, 2, 3))):
        both(book, "pixel_shuffle", f"r{r}", lambda: {"x": n(*shape)}, lambda t, r=r: F.pixel_shuffle(t.x, r),
             attrs={"upscale_factor": r})
        both(book, "pixel_unshuffle", f"r{r}", lambda: {"x": n(2, 2, 2 * r, r)},
             lambda t, r=r: F.pixel_unshuffle(t.x, r), attrs={"downscale_factor": r})
    book.refuse("pixel_shuffle", "channels", {"x": n(1, 6, 2, 2)}, "6 channels and factor 2", [6, 4],
                attrs={"upscale_factor": 2}, torch_call=lambda t: F.pixel_shuffle(t.x, 2))
    book.refuse("pixel_unshuffle", "size", {"x": n(1, 2, 5, 4)}, "5 rows and factor 2", [5, 2],
                attrs={"downscale_factor": 2}, torch_call=lambda t: F.pixel_unshuffle(t.x, 2))


def indexing(book):
    n = book.normal
    for tag, shape, where in (("vector", (5, 3), [0, 4, 4, 2]), ("grid", (4, 6), [[3, 0], [1, 3], [3, 3]])):
        for order in (1, 2):
            attrs = {"num_embeddings": shape[0], "embedding_dim": shape[1], "padding_idx": None}
            if order == 2:
                attrs["then"] = "square"
            book.add("embedding", tag, {"weight": param(n(*shape)), "index": index(np.array(where))},
                     lambda t, o=order: F.embedding(t.index.long(), t.weight).pow(o), attrs=attrs, order=order)
    book.add("embedding", "padding", {"weight": param(n(4, 3)), "index": index([[1, 0, 2], [2, 1, 1]])},
             lambda t: F.embedding(t.index.long(), t.weight, padding_idx=1),
             attrs={"num_embeddings": 4, "embedding_dim": 3, "padding_idx": 1})
    book.refuse("embedding", "range", {"weight": param(n(4, 3)), "index": index([1, 4])}, "index 4 of 4", [4],
                attrs={"num_embeddings": 4, "embedding_dim": 3, "padding_idx": None},
                torch_call=lambda t: F.embedding(t.index.long(), t.weight))
    for dim, where in ((0, [3, 0, 3]), (1, [1, 1, 0, 2, 1])):
        both(book, "index_select", f"d{dim}", lambda: {"x": n(4, 3, 2), "index": index(where)},
             lambda t, d=dim: t.x.index_select(d, t.index.long()), attrs={"dim": dim})
    book.refuse("index_select", "range", {"x": n(3, 2), "index": index([0, 3])}, "index 3 of 3", [3],
                attrs={"dim": 0}, torch_call=lambda t: t.x.index_select(0, t.index.long()))
    for dim in (0, 1, 2):
        both(book, "gather", f"d{dim}", lambda: {"x": n(3, 4, 3), "index": index(book.integers(3, 2, 3, 2))},
             lambda t, d=dim: t.x.gather(d, t.index.long()), attrs={"dim": dim})
    book.refuse("gather", "range", {"x": n(3, 2), "index": index([[0], [2], [1]])}, "index 2 of 2", [2],
                attrs={"dim": 1}, torch_call=lambda t: t.x.gather(1, t.index.long()))


def pooling(book):
    for tag, kernel, stride, padding, dilation, ceil, shape in (
            ("k2", [2, 2], [2, 2], [0, 0], [1, 1], False, (2, 2, 4, 6)),
            ("k3s2p1", [3, 3], [2, 2], [1, 1], [1, 1], False, (1, 2, 7, 7)),
            ("k3s1p1", [3, 3], [1, 1], [1, 1], [1, 1], False, (1, 2, 5, 4)),
            ("pair", [3, 2], [2, 1], [1, 0], [1, 1], False, (1, 3, 6, 5)),
            ("ceil", [2, 2], [2, 2], [0, 0], [1, 1], True, (1, 2, 5, 7)),
            ("dilated", [2, 2], [1, 2], [0, 0], [2, 3], False, (1, 2, 6, 7)),
            ("odd_stride", [3, 3], [3, 4], [1, 0], [1, 1], True, (1, 1, 8, 9))):
        attrs = {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation, "ceil_mode": ceil}
        both(book, "max_pool2d", tag, lambda: {"x": book.distinct(*shape)},
             lambda t, a=attrs: F.max_pool2d(t.x, a["kernel"], a["stride"], a["padding"], a["dilation"],
                                             a["ceil_mode"]), attrs=attrs)
        if dilation == [1, 1]:
            for include in (True, False):
                some = {"kernel": kernel, "stride": stride, "padding": padding, "count_include_pad": include,
                        "ceil_mode": ceil}
                both(book, "avg_pool2d", tag + ("" if include else "_without_pad"),
                     lambda: {"x": book.normal(*shape)},
                     lambda t, a=some: F.avg_pool2d(t.x, a["kernel"], a["stride"], a["padding"], a["ceil_mode"],
                                                    a["count_include_pad"]), attrs=some)
    for size, shape in (([1, 1], (2, 3, 4, 5)), ([2, 3], (1, 2, 7, 8)), ([5, 4], (1, 2, 5, 4)), ([4, 6], (1, 2, 3, 5))):
        name = f"{size[0]}x{size[1]}"
        both(book, "adaptive_avg_pool2d", name, lambda: {"x": book.normal(*shape)},
             lambda t, s=size: F.adaptive_avg_pool2d(t.x, s), attrs={"output_size": size})
        both(book, "adaptive_max_pool2d", name, lambda: {"x": book.distinct(*shape)},
             lambda t, s=size: F.adaptive_max_pool2d(t.x, s), attrs={"output_size": size}, tier="extra")
    plain = {"stride": [1, 1], "padding": [0, 0], "ceil_mode": False}
    for op in ("max_pool2d", "avg_pool2d"):
        call = getattr(F, op)
        book.refuse(op, "window", {"x": book.normal(1, 1, 3, 3)}, "a window of 5 in 3 rows", [5, 3],
                    attrs={"kernel": [5, 5], **plain}, torch_call=lambda t, f=call: f(t.x, 5, 1))
        book.refuse(op, "padding", {"x": book.normal(1, 1, 6, 6)}, "padding 2 is more than half of 2", [2],
                    attrs={**plain, "kernel": [2, 2], "padding": [2, 2]}, torch_call=lambda t, f=call: f(t.x, 2, 1, 2))
        special = book.normal(1, 1, 4, 4)
        special[0, 0, 0, 1], special[0, 0, 2, 2], special[0, 0, 3, 0] = np.nan, np.inf, -np.inf
        book.add(op, "special", {"x": special}, lambda t, f=call: f(t.x, 2), order=0, tier="hard",
                 attrs={"kernel": [2, 2], **plain, "stride": [2, 2]})


def resampling(book):
    for tag, size, shape in (("double", [6, 8], (1, 2, 3, 4)), ("shrink", [2, 3], (1, 2, 5, 7)),
                             ("uneven", [7, 5], (2, 1, 4, 3)), ("to_one", [1, 1], (1, 2, 3, 4)),
                             ("same", [3, 4], (1, 2, 3, 4)), ("from_one", [3, 2], (1, 2, 1, 1))):
        both(book, "upsample", f"nearest_{tag}", lambda: {"x": book.normal(*shape)},
             lambda t, s=size: F.interpolate(t.x, size=s, mode="nearest"),
             attrs={"mode": "nearest", "size": size, "align_corners": None})
        for align in (False, True):
            both(book, "upsample", f"bilinear_{tag}" + ("_corners" if align else ""),
                 lambda: {"x": book.normal(*shape)},
                 lambda t, s=size, a=align: F.interpolate(t.x, size=s, mode="bilinear", align_corners=a),
                 attrs={"mode": "bilinear", "size": size, "align_corners": align})
    book.refuse("upsample", "mode", {"x": book.normal(1, 1, 2, 2)}, "no such mode", ["bicubc", "bilinear"],
                attrs={"mode": "bicubc", "size": [4, 4], "align_corners": None},
                torch_call=lambda t: F.interpolate(t.x, size=[4, 4], mode="bicubc"))
    book.refuse("upsample", "size", {"x": book.normal(1, 1, 2, 2)}, "a size of 0", ["0"],
                attrs={"mode": "nearest", "size": [0, 4], "align_corners": None},
                torch_call=lambda t: F.interpolate(t.x, size=[0, 4], mode="nearest"))


def cases(book):
    rearranging(book)
    indexing(book)
    pooling(book)
    resampling(book)
