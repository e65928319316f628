"""Vectors that are wrong on purpose: tapestry-conformance must say so of every one of them."""
import json

import numpy as np

from golden import Book, write_safetensors


def good(path):
    """A correct case: y = -x."""
    x = np.array([1.0, -2.0, 0.5], np.float32)
    tensors = {"in.x": x, "cot.y": np.ones(3, np.float32), "out.y": -x, "grad.x": -np.ones(3, np.float32)}
    bound = {"scale": 1.0, "torch_f32": 0.0, "tight": 1e-6, "loose": 1e-5}
    metadata = {"format": "golden-1", "case": path.stem, "op": "neg", "kind": "grad", "tier": "core", "attrs": "{}",
                "inputs": json.dumps([{"name": "x", "role": "input", "dtype": "float", "shape": [3]}]),
                "outputs": '["out.y","grad.x"]', "tol": json.dumps({"out.y": bound, "grad.x": bound})}
    return tensors, metadata


def cases(book: Book):
    def wrong(name, tensors=None, **metadata):
        path = book.folder / f"neg__{name}.safetensors"
        have, about = good(path)
        have.update(tensors or {})
        about.update(metadata)
        write_safetensors(path, have, about)
        return path

    wrong("value", {"out.y": np.array([-1.0, 2.0, -0.50002], np.float32)})
    wrong("gradient", {"grad.x": np.array([-1.0, -1.0, 1.0], np.float32)})
    wrong("nan", {"out.y": np.array([-1.0, np.nan, -0.5], np.float32)})
    wrong("infinity", {"out.y": np.array([-1.0, np.inf, -0.5], np.float32)})
    wrong("shape", {"out.y": np.array([[-1.0, 2.0, -0.5]], np.float32)})
    wrong("missing_output", outputs='["out.z"]')
    wrong("missing_input", inputs=json.dumps([{"name": "z", "role": "input", "dtype": "float", "shape": [3]}]))
    wrong("kind", kind="gradient")
    wrong("attributes", attrs="{\"scale\":")
    wrong("op", op="negate")  # not in the table: skipped, which is not a failure
    wrong("not_refused", kind="expect_error", outputs="[]", tol="{}")
    path = wrong("truncated")
    path.write_bytes(path.read_bytes()[:-5])
    path = wrong("not_safetensors")
    path.write_bytes(b"no safetensors")
