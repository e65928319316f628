"""Recurrent rules, written out step by step, and PyTorch's layers of them; the gates stand in PyTorch's order."""
import torch

from golden import param
from movement import both


def steps(t, gates, cell):
    """Runs `cell` over time; states are [h] or [h, c]."""
    hidden = t.w_hh.shape[1]
    zeros = torch.zeros(t.x.shape[1], hidden, dtype=t.x.dtype)
    states = [getattr(t, "h0", zeros), getattr(t, "c0", zeros)][:2 if gates == 4 else 1]
    out = []
    for x in t.x:
        from_input, from_state = x @ t.w_ih.T, states[0] @ t.w_hh.T
        if hasattr(t, "b_ih"):
            from_input, from_state = from_input + t.b_ih, from_state + t.b_hh
        states = cell(from_input.chunk(gates, 1), from_state.chunk(gates, 1), states)
        out.append(states[0])
    result = {"y": torch.stack(out), "h_n": states[0]}
    return {**result, "c_n": states[1]} if gates == 4 else result


def lstm(a, b, states):
    i, f, g, o = (p + q for p, q in zip(a, b))
    c = torch.sigmoid(f) * states[1] + torch.sigmoid(i) * torch.tanh(g)
    return [torch.sigmoid(o) * torch.tanh(c), c]


def gru(a, b, states):
    r, z = torch.sigmoid(a[0] + b[0]), torch.sigmoid(a[1] + b[1])
    n = torch.tanh(a[2] + r * b[2])
    return [(1 - z) * n + z * states[0]]


def plain(a, b, states):
    return [torch.tanh(a[0] + b[0])]


KINDS = {"lstm": (4, lstm, "i,f,g,o", "core"), "gru": (3, gru, "r,z,n (reset applied to W_hn h + b_hn)", "core"),
         "rnn_tanh": (1, plain, "-", "extra")}


def layers(t, attrs, gates):
    """PyTorch's own layers, with the weights as inputs."""
    directions = 2 if attrs["bidirectional"] else 1
    weights = [getattr(t, kind + suffix) for suffix in suffixes(attrs)
               for kind in (["weight_ih", "weight_hh"] + (["bias_ih", "bias_hh"] if attrs["bias"] else []))]
    batch = t.x.shape[0 if attrs["batch_first"] else 1]
    zeros = torch.zeros(attrs["num_layers"] * directions, batch, attrs["hidden_size"], dtype=t.x.dtype)
    h0, c0 = getattr(t, "h0", zeros), getattr(t, "c0", zeros)
    rest = (weights, attrs["bias"], attrs["num_layers"], 0.0, False, attrs["bidirectional"], attrs["batch_first"])
    if gates == 4:
        y, h_n, c_n = torch.lstm(t.x, (h0, c0), *rest)
        return {"y": y, "h_n": h_n, "c_n": c_n}
    y, h_n = (torch.gru if gates == 3 else torch.rnn_tanh)(t.x, h0, *rest)
    return {"y": y, "h_n": h_n}


def suffixes(attrs):
    return [f"_l{layer}{side}" for layer in range(attrs["num_layers"])
            for side in (["", "_reverse"] if attrs["bidirectional"] else [""])]


def layer_cases(book):
    n = book.normal
    for op, (gates, _, _, tier) in KINDS.items():
        for tag, deep, both_ways, batch_first, bias, initial in (
                ("l1", 1, False, False, True, False), ("l2", 2, False, False, True, True),
                ("l3_nobias", 3, False, False, False, False), ("bi", 1, True, False, True, True),
                ("l2_bi", 2, True, False, True, True), ("first", 1, False, True, True, True),
                ("l2_bi_first", 2, True, True, True, True), ("l2_bi_first_zero", 2, True, True, False, False)):
            inputs, hidden, length, batch = 3, 2, 4, 3
            directions = 2 if both_ways else 1
            attrs = {"input_size": inputs, "hidden_size": hidden, "num_layers": deep, "bias": bias,
                     "batch_first": batch_first, "bidirectional": both_ways}

            def make():
                given = {"x": n(*((batch, length, inputs) if batch_first else (length, batch, inputs)))}
                for suffix in suffixes(attrs):
                    features = inputs if suffix.startswith("_l0") else directions * hidden
                    given["weight_ih" + suffix] = param(n(gates * hidden, features, scale=0.6))
                    given["weight_hh" + suffix] = param(n(gates * hidden, hidden, scale=0.6))
                    if bias:
                        given["bias_ih" + suffix] = param(n(gates * hidden))
                        given["bias_hh" + suffix] = param(n(gates * hidden))
                if initial:
                    given["h0"] = n(deep * directions, batch, hidden)
                    if gates == 4:
                        given["c0"] = n(deep * directions, batch, hidden)
                return given
            both(book, op + "_layers", tag, make, lambda t: layers(t, attrs, gates), attrs=attrs, tier=tier)


def cases(book):
    op_cases(book)
    layer_cases(book)


def op_cases(book):
    n = book.normal
    for op, (gates, cell, order_text, tier) in KINDS.items():
        for tag, length, batch, inputs, hidden, bias, initial in (
                ("t4", 4, 2, 3, 4, True, True), ("t1", 1, 3, 2, 3, True, False), ("nobias", 3, 2, 3, 3, False, False),
                ("zero_state", 5, 1, 2, 4, True, False), ("tail17", 2, 2, 3, 17, True, True),
                ("nobias_state", 2, 3, 4, 2, False, True)):
            attrs = {"seq_len": length, "batch": batch, "input_size": inputs, "hidden_size": hidden, "bias": bias,
                     "layout": "[T,N,I]", "gate_order": order_text, "initial_state": initial}

            def make():
                given = {"x": n(length, batch, inputs), "w_ih": param(n(gates * hidden, inputs, scale=0.6)),
                         "w_hh": param(n(gates * hidden, hidden, scale=0.6 if hidden < 9 else 0.2))}
                if bias:
                    given.update(b_ih=param(n(gates * hidden)), b_hh=param(n(gates * hidden)))
                if initial:
                    given["h0"] = n(batch, hidden)
                    if gates == 4:
                        given["c0"] = n(batch, hidden)
                return given
            if tag == "tail17":
                book.add(op, tag, make(), lambda t: steps(t, gates, cell), attrs=attrs, tier=tier)
            else:
                both(book, op, tag, make, lambda t: steps(t, gates, cell), attrs=attrs, tier=tier)
        attrs = {"seq_len": 2, "batch": 2, "input_size": 3, "hidden_size": 2, "bias": False, "layout": "[T,N,I]",
                 "gate_order": order_text, "initial_state": False}
        book.refuse(op, "features", {"x": n(2, 2, 3), "w_ih": param(n(gates * 2, 4)), "w_hh": param(n(gates * 2, 2))},
                    "the weight takes 4 features, not 3", [4, 3], attrs=attrs, tier=tier,
                    torch_call=lambda t: steps(t, gates, cell))
