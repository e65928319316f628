"""Calls that must be refused with a message that says what is wrong; the commoner ones stand with their ops."""
import numpy as np

from golden import buffer, index, param


def cases(book):
    n = book.normal

    def refuse(op, tag, why, mention, attrs=None, **inputs):
        book.refuse(op, tag, inputs, why, mention, attrs=attrs)

    refuse("slice", "step", "a step of 0", ["step"], {"dim": 0, "start": 0, "end": 2, "step": 0}, x=n(3, 4))
    refuse("stack", "shapes", "shapes differ", [3, 4], {"dim": 0, "count": 2}, x0=n(2, 3), x1=n(2, 4))
    refuse("stack", "axis", "there is no axis 5", [5], {"dim": 5, "count": 2}, x0=n(2, 3), x1=n(2, 3))
    refuse("flip", "twice", "axis 0 named twice", [0], {"dims": [0, 0]}, x=n(2, 3))
    refuse("flip", "axis", "there is no axis 2", [2], {"dims": [2]}, x=n(2, 3))
    refuse("tril", "vector", "a vector has no triangle", [3], {"diagonal": 0}, x=n(3))
    refuse("repeat", "counts", "one count for two axes", [1, 2], {"repeats": [2]}, x=n(2, 3))
    refuse("repeat", "negative", "a count of -1", [-1], {"repeats": [2, -1]}, x=n(2, 3))
    refuse("expand", "rank", "an axis cannot vanish", ["[2, 3]", "[3]"], {"shape": [3]}, x=n(2, 3))
    refuse("reshape", "two_unknown", "two unknown extents", [-1], {"shape": [-1, -1]}, x=n(2, 3))
    refuse("reshape", "indivisible", "6 is not divisible by 4", [4], {"shape": [4, -1]}, x=n(2, 3))
    refuse("permute", "short", "one of two axes", [2], {"dims": [0]}, x=n(2, 3))
    refuse("split", "negative", "a size of -2", ["size"], {"dim": 1, "sizes": [-2, 8]}, x=n(2, 6))
    refuse("pixel_shuffle", "factor", "a factor of 0", [0], {"upscale_factor": 0}, x=n(1, 4, 2, 2))
    refuse("gather", "rank", "ranks 1 and 2", ["axes"], {"dim": 1}, x=n(2, 3), index=index([0, 1]))
    refuse("embedding", "negative", "index -1", [-1], {"num_embeddings": 4, "embedding_dim": 3, "padding_idx": None},
           weight=param(n(4, 3)), index=index([-1]))
    refuse("adaptive_avg_pool2d", "size", "a size of 0", [0], {"output_size": [0, 2]}, x=n(1, 1, 3, 3))
    refuse("max_pool2d", "kernel", "a kernel of 0", ["kernel"], {"kernel": [0, 2], "stride": [1, 1]}, x=n(1, 1, 4, 4))

    refuse("where", "shapes", "2 and 3 do not broadcast", [2, 3], c=buffer(n(2)), a=n(3), b=n(3))
    refuse("pow", "shapes", "3 and 2 do not broadcast", [3, 2], {"exponent": "tensor"}, x=n(3), exponent=n(2))
    refuse("clamp", "bounds", "the lower bound is above the upper", [1, 0], {"min": 1.0, "max": 0.0}, x=n(3))
    refuse("hardtanh", "bounds", "the lower bound is above the upper", [1, 0], {"min": 1.0, "max": 0.0}, x=n(3))
    refuse("gelu", "form", "no such form", ["tan", "tanh"], {"approximate": "tan"}, x=n(3))

    refuse("sum", "twice", "axis 0 named twice", [0], {"dim": [0, 0], "keepdim": False}, x=n(2, 3))
    refuse("argmax", "axis", "there is no axis 4", [4], {"dim": 4, "keepdim": False}, x=buffer(n(2, 3)))
    refuse("cumsum", "axis", "there is no axis 2", [2], {"dim": 2}, x=n(2, 3))
    refuse("mean", "empty", "a mean of nothing", ["0"], {"dim": [0], "keepdim": False}, x=np.zeros((0, 3)))
    refuse("max", "empty", "a maximum of nothing", ["0"], {"dim": [0], "keepdim": False}, x=np.zeros((0, 3)))

    refuse("matmul", "vector", "4 columns meet 5 rows", [4, 5], a=n(3, 4), b=n(5))
    one = {"stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "groups": 1, "bias": False}
    refuse("conv2d", "no_groups", "0 groups", ["group"], {**one, "groups": 0}, x=n(1, 2, 4, 4), weight=param(n(2, 2, 3, 3)))
    refuse("conv2d", "dilation", "a dilation of 0", ["dilation"], {**one, "dilation": [0, 1]}, x=n(1, 2, 4, 4),
           weight=param(n(2, 2, 3, 3)))
    refuse("conv2d", "padding", "a padding of -1", ["padding"], {**one, "padding": [-1, 0]}, x=n(1, 2, 4, 4),
           weight=param(n(2, 2, 3, 3)))
    refuse("conv2d", "no_batch", "three axes", ["[2, 4, 4]"], one, x=n(2, 4, 4), weight=param(n(2, 2, 3, 3)))
    refuse("conv_transpose2d", "nothing_left", "the padding takes all", ["padding"],
           {**one, "padding": [3, 3], "output_padding": [0, 0]}, x=n(1, 2, 1, 1), weight=param(n(2, 2, 3, 3)))
    refuse("conv1d", "channels", "the weight takes 2 channels, not 3", [3, 2],
           {"stride": [1], "padding": [0], "dilation": [1], "groups": 1, "bias": False}, x=n(1, 3, 5),
           weight=param(n(2, 2, 3)))

    refuse("batch_norm", "eps", "a negative eps", ["eps"], {"mode": "train", "eps": -1.0, "affine": False}, x=n(3, 4))
    refuse("batch_norm", "running", "statistics of 5 channels, not 4", [5, 4], {"mode": "eval", "eps": 1e-5}, x=n(3, 4),
           running_mean=buffer(n(5)), running_var=buffer(book.positive(5)))
    refuse("layer_norm", "weight", "a weight of 3, not 4", [3, 4], {"normalized_shape": [4], "eps": 1e-5, "affine": True},
           x=n(3, 4), weight=param(n(3)), bias=param(n(3)))
    refuse("instance_norm", "vectors", "no positions", ["[3, 4]"], {"eps": 1e-5, "affine": False, "mode": "instance"}, x=n(3, 4))
    refuse("cin", "channels", "tables of 4 channels, not 3", [3, 4], {"num_styles": 2, "eps": 1e-5, "select": "label"},
           x=n(2, 3, 2, 2), gamma=param(n(2, 4)), beta=param(n(2, 4)), label=index([0, 1]))
    refuse("cin", "labels", "one label for two samples", [2, 1], {"num_styles": 2, "eps": 1e-5, "select": "label"},
           x=n(2, 3, 2, 2), gamma=param(n(2, 3)), beta=param(n(2, 3)), label=index([0]))

    refuse("huber", "delta", "a negative delta", ["delta", -1], {"delta": -1.0, "reduction": "mean"}, x=n(3), target=n(3))
    plain = {"reduction": "mean", "ignore_index": -100, "label_smoothing": 0.0, "class_weight": False}
    refuse("cross_entropy", "smoothing", "a smoothing of 2", ["label_smoothing", 2], {**plain, "label_smoothing": 2.0},
           x=n(3, 4), target=index([0, 1, 2]))
    refuse("cross_entropy", "weights", "3 weights for 4 classes", [3, 4], {**plain, "class_weight": True}, x=n(3, 4),
           target=index([0, 1, 2]), weight=buffer(book.positive(3)))
    refuse("lstm", "state", "a state of 3 samples, not 2", [3, 2],
           {"seq_len": 2, "batch": 2, "input_size": 3, "hidden_size": 2, "bias": False, "initial_state": True},
           x=n(2, 2, 3), w_ih=param(n(8, 3)), w_hh=param(n(8, 2)), h0=n(3, 2), c0=n(3, 2))

    refuse("sgd", "shapes", "a gradient of 4 for 3", [3, 4], {"lr": 0.1}, p0=param(n(3)), g1_0=buffer(n(4)))
    refuse("sgd", "not_finite", "a gradient with a NaN", ["finite"], {"lr": 0.1}, p0=param(n(3)), g1_0=buffer([np.nan, 1, 2]))
    refuse("sgd", "nesterov", "Nesterov without momentum", ["nesterov", "momentum"],
           {"lr": 0.1, "momentum": 0, "nesterov": True}, p0=param(n(3)), g1_0=buffer(n(3)))
    refuse("rmsprop", "alpha", "a negative alpha", ["alpha"], {"lr": 0.1, "alpha": -1.0}, p0=param(n(3)), g1_0=buffer(n(3)))
    refuse("adagrad", "eps", "a negative eps", ["eps"], {"lr": 0.1, "eps": -1.0}, p0=param(n(3)), g1_0=buffer(n(3)))
    refuse("lr_schedule", "type", "no such schedule", ["cosin", "cosine"], {"type": "cosin", "base_lr": 0.1})
    refuse("lr_schedule", "step_size", "steps of 0", ["step"], {"type": "step", "base_lr": 0.1, "step_size": 0, "gamma": 0.5})
