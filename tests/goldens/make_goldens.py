#!/usr/bin/env python3
"""Makes the reference vectors in tests/goldens/vectors with PyTorch.

    apt-get install python3-torch python3-numpy
    /usr/bin/python3 tests/goldens/make_goldens.py [--out DIR] [--only FAMILY] [--seed N]

Each .safetensors file is one case: inputs, attributes, outputs and gradients up to third order, computed in
float64 and rounded to float32, with a tolerance for every tensor. README.md describes the format and
tapestry-conformance runs it. The same script on the same PyTorch writes the same bytes; another seed
gives the same cases with other numbers.
"""
import argparse
import importlib
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.dont_write_bytecode = True  # the families are imported from the source tree
sys.path.insert(0, str(HERE))
FAMILIES = ["elementwise", "reduce", "movement", "linear", "norm", "loss", "recurrent", "optim", "penalty",
            "refused"]


def main():
    from golden import Book

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "vectors")
    parser.add_argument("--only", choices=FAMILIES)
    parser.add_argument("--seed", type=int, default=1000)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if not options.only:
        for old in options.out.glob("*.safetensors"):
            old.unlink()
    count = size = 0
    for place, family in enumerate(FAMILIES):
        if options.only in (None, family):
            book = Book(options.out, seed=options.seed + place)  # each family its own numbers, so that --only changes none
            importlib.import_module(family).cases(book)
            print(f"{family:12} {len(book.names):4} cases {book.bytes // 1024:6} KiB")
            count, size = count + len(book.names), size + book.bytes
    print(f"{'all':12} {count:4} cases {size // 1024:6} KiB")
    if not options.only:
        broken = options.out.parent / "broken"
        broken.mkdir(exist_ok=True)
        importlib.import_module("broken").cases(Book(broken))


if __name__ == "__main__":
    main()
