#!/usr/bin/python3
"""Times a DCGAN training step here and in PyTorch, interleaved, and prints the ratio.

  /usr/bin/python3 tests/bench/side_by_side.py [--norm batch,instance] [--threads 1,2] [--rounds 5]

Needs Debian's python3-torch and build/bin/tapestry. Each measurement is its own process; rounds alternate between the two programs, so that a
slow minute of the machine hits both. The ratio is that of the medians over rounds and, kinder to PyTorch, that of its best round. PyTorch runs well
at two threads only with the OpenMP build of OpenBLAS: give its folder with --blas (else the line says so).
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time


def torch_step(norm, threads):
    """The same net, step and optimizer as Dcgan in examples/lab/bench.cc."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    bias = norm == "none"

    def norm_layer(channels, size):
        return {"batch": lambda: nn.BatchNorm2d(channels), "layer": lambda: nn.LayerNorm([channels, size, size]),
                "group": lambda: nn.GroupNorm(8, channels), "instance": lambda: nn.InstanceNorm2d(channels, affine=True),
                "none": nn.Identity}[norm]()

    generator = nn.Sequential(
        nn.ConvTranspose2d(128, 256, 4, 1, 0, bias=bias), norm_layer(256, 4), nn.ReLU(),
        nn.ConvTranspose2d(256, 128, 4, 2, 1, bias=bias), norm_layer(128, 8), nn.ReLU(),
        nn.ConvTranspose2d(128, 64, 4, 2, 1, bias=bias), norm_layer(64, 16), nn.ReLU(),
        nn.ConvTranspose2d(64, 3, 4, 2, 1), nn.Tanh())
    critic = nn.Sequential(
        nn.Conv2d(3, 64, 4, 2, 1), nn.LeakyReLU(0.2),
        nn.Conv2d(64, 128, 4, 2, 1, bias=bias), norm_layer(128, 8), nn.LeakyReLU(0.2),
        nn.Conv2d(128, 256, 4, 2, 1, bias=bias), norm_layer(256, 4), nn.LeakyReLU(0.2),
        nn.Conv2d(256, 1, 4, 1, 0), nn.Flatten(0))
    adam = lambda net: torch.optim.Adam(net.parameters(), lr=2e-4, betas=(0.5, 0.999))
    g_adam, d_adam = adam(generator), adam(critic)
    real, one, zero = torch.randn(64, 3, 32, 32).tanh(), torch.ones(64), torch.zeros(64)
    bce = F.binary_cross_entropy_with_logits

    def step():
        fake = generator(torch.randn(64, 128, 1, 1))
        d_adam.zero_grad(set_to_none=True)
        (bce(critic(real), one) + bce(critic(fake.detach()), zero)).backward()
        d_adam.step()
        critic.requires_grad_(False)
        g_adam.zero_grad(set_to_none=True)
        bce(critic(fake), one).backward()
        g_adam.step()
        critic.requires_grad_(True)

    count = lambda net: sum(p.numel() for p in net.parameters())
    return step, f"G {count(generator)} + D {count(critic)} parameters"


def measure_torch(norm, threads):
    step, parameters = torch_step(norm, threads)
    for _ in range(3):
        step()
    times, end = [], time.perf_counter() + 1.0
    while len(times) < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        step()
        times.append(1e3 * (time.perf_counter() - start))
    blas = {line.split()[-1] for line in open("/proc/self/maps") if "openblas" in line}
    print(json.dumps({"ms_median": statistics.median(times), "shape": parameters, "openmp": any("openmp" in b for b in blas)}))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--norm", default="batch")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--blas", default="", help="folder of the OpenMP build of OpenBLAS, put before the others for PyTorch")
    parser.add_argument("--tapestry", default=os.path.join(os.path.dirname(__file__), "../../build/bin/tapestry"))
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.child:
        return measure_torch(a.norm, int(a.threads))

    print(f"{'step':26} {'threads':>7} {'tapestry ms':>12} {'torch ms':>10} {'ratio':>7} {'to best round':>14}")
    for norm in a.norm.split(","):
        for threads in a.threads.split(","):
            ours, theirs, shapes, openmp = [], [], set(), False
            for _ in range(a.rounds):
                line = json.loads(subprocess.run([a.tapestry, "bench", "dcgan", "--norm", norm, "--threads", threads, "--json"],
                                                 check=True, stdout=subprocess.PIPE, text=True).stdout)
                ours.append(line["ms_median"])
                env = dict(os.environ, OMP_NUM_THREADS=threads, OPENBLAS_NUM_THREADS=threads)
                if a.blas:
                    env["LD_LIBRARY_PATH"] = a.blas
                other = json.loads(subprocess.run([sys.executable, __file__, "--child", "--norm", norm, "--threads", threads], env=env,
                                                  check=True, stdout=subprocess.PIPE, text=True).stdout)
                theirs.append(other["ms_median"])
                openmp = other["openmp"]
                shapes |= {line["shape"], other["shape"]}
            if len(shapes) != 1:
                sys.exit(f"not the same nets: {shapes}")
            mine, its = statistics.median(ours), statistics.median(theirs)
            print(f"{'dcgan, ' + norm:26} {threads:>7} {mine:12.1f} {its:10.1f} {its / mine:7.2f} {min(theirs) / mine:14.2f}"
                  + ("" if openmp else "   (not the OpenMP build of OpenBLAS: PyTorch is slowed down)"), flush=True)


main()
