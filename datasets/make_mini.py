#!/usr/bin/env python3
"""Makes datasets/mini: contact sheets of Fashion-MNIST images, small enough to ship.

    apt-get install dataset-fashion-mnist python3-numpy
    /usr/bin/python3 datasets/make_mini.py [--source DIR] [--check]

train.png holds 2,000 images (the first 200 of every class in the training set), test.png 1,000 (the first
100 of every class in the test set). A sheet is one 8-bit grey PNG, 50 tiles of 28x28 pixels wide, read row by
row; classes are interleaved, so tile i has class i % 10 and any run of tiles is balanced. The label files say
so once more, one number a line. --check compares the sheets in place with the source and writes nothing.
"""
import argparse
import gzip
import hashlib
import pathlib
import struct
import sys
import zlib

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent / "mini"
TILE, COLUMNS, CLASSES = 28, 50, 10


def read_idx(path):
    """The array in a gzipped IDX file of unsigned bytes."""
    raw = gzip.decompress(path.read_bytes())
    rank = raw[3]
    shape = struct.unpack(f">{rank}I", raw[4:4 + 4 * rank])
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape)


def interleave(images, labels, per_class):
    """The first per_class images of each class, in the order 0 1 2 ... 9 0 1 2 ..."""
    rows = np.stack([np.flatnonzero(labels == c)[:per_class] for c in range(CLASSES)], axis=1).reshape(-1)
    return images[rows], labels[rows]


def contact_sheet(images):
    rows = len(images) // COLUMNS
    return images.reshape(rows, COLUMNS, TILE, TILE).transpose(0, 2, 1, 3).reshape(rows * TILE, COLUMNS * TILE)


def filtered(pixels):
    """PNG's five row filters; each row takes the one whose residuals have the least sum of magnitudes."""
    x = pixels.astype(np.int16)
    left = np.pad(x, ((0, 0), (1, 0)))[:, :-1]
    up = np.pad(x, ((1, 0), (0, 0)))[:-1]
    corner = np.pad(x, ((1, 0), (1, 0)))[:-1, :-1]
    estimate = left + up - corner
    distance = np.stack([abs(estimate - left), abs(estimate - up), abs(estimate - corner)])
    paeth = np.choose(distance.argmin(axis=0), [left, up, corner])
    residuals = np.stack([x, x - left, x - up, x - (left + up) // 2, x - paeth]).astype(np.uint8)
    best = abs(residuals.astype(np.int8).astype(np.int32)).sum(axis=2).argmin(axis=0)
    return b"".join(bytes([k]) + residuals[k, y].tobytes() for y, k in enumerate(best))


def png(pixels):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = pixels.shape
    plain = b"".join(b"\0" + row.tobytes() for row in pixels)
    packed = min((zlib.compress(data, 9) for data in (plain, filtered(pixels))), key=len)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def read_png(data):
    """The pixels of a PNG as png() writes it."""
    width, height = struct.unpack(">II", data[16:24])
    (length,) = struct.unpack(">I", data[33:37])
    rows = np.frombuffer(zlib.decompress(data[41:41 + length]), np.uint8).reshape(height, width + 1)
    out = np.zeros((height + 1, width + 1), np.int32)
    for y in range(height):
        kind, residual = rows[y, 0], rows[y, 1:].astype(np.int32)
        for x in range(width):
            a, b, c = out[y + 1, x], out[y, x + 1], out[y, x]
            p = a + b - c
            paeth = a if abs(p - a) <= min(abs(p - b), abs(p - c)) else b if abs(p - b) <= abs(p - c) else c
            out[y + 1, x + 1] = (residual[x] + (0, a, b, (a + b) // 2, paeth)[kind]) & 255
    return out[1:, 1:].astype(np.uint8)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=pathlib.Path, default=pathlib.Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()

    HERE.mkdir(exist_ok=True)
    for name, source, per_class in (("train", "train", 200), ("test", "t10k", 100)):
        images, labels = interleave(read_idx(options.source / f"{source}-images-idx3-ubyte.gz"),
                                    read_idx(options.source / f"{source}-labels-idx1-ubyte.gz"), per_class)
        sheet = contact_sheet(images)
        text = "".join(f"{label}\n" for label in labels)
        if options.check:
            same = (np.array_equal(read_png((HERE / f"{name}.png").read_bytes()), sheet)
                    and (HERE / f"{name}_labels.txt").read_text() == text)
            print(f"{name}: {'as the source has it' if same else 'DIFFERS from the source'}")
            if not same:
                sys.exit(1)
            continue
        (HERE / f"{name}.png").write_bytes(png(sheet))
        (HERE / f"{name}_labels.txt").write_text(text)
        size = (HERE / f"{name}.png").stat().st_size
        print(f"{name}.png  {sheet.shape[1]} x {sheet.shape[0]}  {size} bytes  "
              f"sha256 of the pixels {hashlib.sha256(sheet.tobytes()).hexdigest()}")


if __name__ == "__main__":
    main()
