#!/usr/bin/python3
"""Times training steps and ops here and in PyTorch, side by side, and compares the losses of the first steps.

  /usr/bin/python3 tests/bench/side_by_side.py                            # all steps, 1 and 2 threads
  /usr/bin/python3 tests/bench/side_by_side.py --steps dcgan,style --norm batch,instance --threads 2
  /usr/bin/python3 tests/bench/side_by_side.py --steps none --ops all     # gemm, conv, norm, elementwise, pool, reduce, optimizer, overhead
  /usr/bin/python3 tests/bench/side_by_side.py --losses                   # the same losses from the same initial values?

Needs Debian's python3-torch and build/bin/tapestry. The steps are those of examples/lab/bench_steps.cc and steps_torch.py, the ops those of
ops_torch.py. Each measurement of a step is a process of its own; rounds alternate between the two programs, so that a slow minute of the
machine hits both. "ratio" is the median over rounds of PyTorch's time divided by ours in the same round; "to best" divides PyTorch's best
round by the median of ours. Above 1: we are faster. PyTorch runs well at two threads only with the OpenMP build of OpenBLAS: give its
folder with --blas.
"""
import argparse
import json
import math
import os
import resource
import statistics
import struct
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
NORMS = {"dcgan": "batch layer group instance none", "style": "instance batch none", "resnet20": "batch layer group instance none",
         "unet": "batch instance none", "wgangp": "none layer", "lnlstm": "layer",
         "lnlstm_cell": "layer"}
STEPS = "dcgan style resnet20 unet espcn edsr wgangp lenet mlp lstm lstm_cell lnlstm lnlstm_cell".split()
OPS = "gemm conv norm elementwise pool reduce optimizer overhead".split()


# PyTorch's side -------------------------------------------------------------------------------------------------------------------


def measure(call, seconds, warm_up):
    """Median and best milliseconds, page faults of a call."""
    for _ in range(warm_up):
        call()
    start = time.perf_counter()
    call()
    # Calls that are much shorter than a millisecond are timed several at a time, as `tapestry bench` does.
    together = int(min(max(50e-6 / max(time.perf_counter() - start, 1e-8), 1), 5000))
    times, faults = [], resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    end = time.perf_counter() + seconds
    while len(times) < 5 or (time.perf_counter() < end and len(times) < 10000):
        start = time.perf_counter()
        for _ in range(together):
            call()
        times.append(1e3 * (time.perf_counter() - start) / together)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
    return {"ms_median": statistics.median(times), "ms_min": min(times), "faults": faults / len(times) / together}


def peak_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def random_tensor(kind, name, *shape):
    import torch
    if kind == "normal":
        return torch.randn(*shape)
    return torch.rand(*shape) if kind == "uniform" else torch.randint(0, 10, shape)


def write_safetensors(tensors, path):
    """8 bytes of length, a JSON header, the numbers."""
    header, data = {}, []
    at = 0
    for name, tensor in tensors.items():
        numbers = tensor.detach().contiguous().numpy().tobytes()
        header[name] = {"dtype": {4: "F32", 8: "I64"}[tensor.element_size()], "shape": list(tensor.shape), "data_offsets": [at, at + len(numbers)]}
        data.append(numbers)
        at += len(numbers)
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(data))


def torch_losses(name, norm, steps, path):
    """Runs the first steps in single and in double precision, writes what they started from, prints their losses."""
    import torch
    import steps_torch
    inputs, start = {}, {}

    def draw(kind, what, *shape):
        inputs.setdefault("input." + what, random_tensor(kind, what, *shape))
        value = inputs["input." + what]
        return value.to(torch.get_default_dtype()) if value.is_floating_point() else value
    result = {}
    for precision in (torch.float32, torch.float64):
        torch.set_default_dtype(precision)
        networks, step = steps_torch.STEPS[name](norm, draw)
        for network, net in networks.items():
            for key, value in net.state_dict().items():
                value.copy_(start.setdefault(f"{network}.{key}", value.clone()))
        result[str(precision)] = [[loss.item() for loss in step()] for _ in range(steps)]
    write_safetensors({**start, **inputs}, path)
    print(json.dumps(result))


def torch_step(name, norm, seconds):
    import steps_torch
    before = peak_bytes()
    networks, step = steps_torch.STEPS[name](norm, random_tensor)
    result = measure(step, seconds, 3)
    result["growth_bytes"] = peak_bytes() - before
    result["parameters"] = {key: sum(p.numel() for p in net.parameters()) for key, net in networks.items()}
    print(json.dumps(result))


def torch_ops(group, seconds):
    import ops_torch
    for _, _, make in ops_torch.GROUPS[group][:2]:  # the first ops of a process pay for what is set up once
        for call in make():
            measure(call, 0.05, 1)
    for name, _, make in ops_torch.GROUPS[group]:
        print(json.dumps({"name": name, "lines": [measure(call, seconds, 2) for call in make()]}), flush=True)


def child(a):
    import torch
    torch.set_num_threads(int(a.threads))
    torch.manual_seed(0)
    sys.path.insert(0, HERE)
    what, name, norm = a.child.split(":")
    if what == "losses":
        torch_losses(name, norm, 5, a.json)
    elif what == "step":
        torch_step(name, norm, a.budget)
    else:
        torch_ops(name, a.budget)


# Both -----------------------------------------------------------------------------------------------------------------------------


class Runner:
    def __init__(self, a):
        self.a = a

    def tapestry(self, *arguments):
        text = subprocess.run([self.a.tapestry, "bench", *arguments, "--json"], check=True, stdout=subprocess.PIPE, text=True).stdout
        return [json.loads(line) for line in text.splitlines()]

    def torch(self, what, threads, *more):
        env = dict(os.environ, OMP_NUM_THREADS=threads, OPENBLAS_NUM_THREADS=threads)
        if self.a.blas:
            env["LD_LIBRARY_PATH"] = self.a.blas
        command = [sys.executable, os.path.abspath(__file__), "--child", what, "--threads", threads, *more]
        text = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True).stdout
        return [json.loads(line) for line in text.splitlines()]


def ratios(ours, theirs):
    """Of paired rounds, and of PyTorch's best round."""
    return {"ms": statistics.median(ours), "torch_ms": statistics.median(theirs), "torch_best_ms": min(theirs),
            "ratio": statistics.median(t / o for o, t in zip(ours, theirs)), "to_best": min(theirs) / statistics.median(ours)}


def rate_text(row):
    return f"{row['gflops']:7.1f} GF/s" if "gflops" in row else f"{row['gb_s']:7.1f} GB/s" if "gb_s" in row else " " * 12


def compare_step(run, name, norm, threads, peaks):
    ours, theirs = [], []
    for _ in range(run.a.rounds):
        ours += run.tapestry(name, "--norm", norm, "--threads", threads, "--budget", str(run.a.budget))
        theirs += run.torch(f"step:{name}:{norm}", threads, "--budget", str(run.a.budget))
    if ours[0]["parameters"] != theirs[0]["parameters"]:
        sys.exit(f"not the same nets: {ours[0]['parameters']} and {theirs[0]['parameters']}")
    row = {"name": f"{name} {norm}".replace(" none", "") if name not in NORMS else f"{name} {norm}", "threads": int(threads),
           **ratios([r["ms_median"] for r in ours], [r["ms_median"] for r in theirs])}
    row["gflops"] = ours[0]["gflop"] / row["ms"] * 1e3
    row["of_peak"] = row["gflops"] / peaks[threads]["gflops"]
    for key in ("faults", "growth_bytes"):
        row[key], row["torch_" + key] = (statistics.median(r[key] for r in rows) for rows in (ours, theirs))
    row["memory_ratio"] = row["growth_bytes"] / row["torch_growth_bytes"]
    print(f"{row['name']:18} {threads:>2} {row['ms']:9.2f} {row['torch_ms']:9.2f} {row['torch_best_ms']:9.2f} {row['ratio']:6.2f} {row['to_best']:7.2f} "
          f"{rate_text(row)} {row['of_peak']:5.0%} {row['faults']:7.0f} {row['torch_faults']:7.0f} "
          f"{row['growth_bytes'] / 1e6:7.0f} {row['torch_growth_bytes'] / 1e6:7.0f} {row['memory_ratio']:6.2f}", flush=True)
    return row


def compare_ops(run, group, threads, peaks):
    """PyTorch runs the whole group in one process: starting it costs more than most ops."""
    sys.path.insert(0, HERE)
    import ops_torch
    cases = ops_torch.GROUPS[group]
    ours, theirs = [[] for _ in cases], [[] for _ in cases]
    for _ in range(run.a.rounds):
        for i, (_, arguments, _) in enumerate(cases):
            ours[i].append(run.tapestry(*arguments, "--threads", threads, "--budget", str(run.a.op_budget)))
        for i, line in enumerate(run.torch(f"ops:{group}:", threads, "--budget", str(run.a.op_budget))):
            theirs[i].append(line["lines"])
    rows = []
    for (name, _, _), mine, its in zip(cases, ours, theirs):
        for line in range(min(len(mine[0]), len(its[0]))):
            first = mine[0][line]
            row = {"group": group, "name": name, "op": first["op"], "threads": int(threads),
                   **ratios([r[line]["ms_median"] for r in mine], [r[line]["ms_median"] for r in its])}
            if "gflop" in first:
                row["gflops"] = first["gflop"] / row["ms"] * 1e3
                row["of_peak"] = row["gflops"] / peaks[threads]["gflops"]
            elif "gb_s" in first:
                row["gb_s"] = first["gb_s"] * first["ms_median"] / row["ms"]
                row["of_peak"] = row["gb_s"] / peaks[threads]["copy_gb_s"]
            row["faults"], row["torch_faults"] = (statistics.median(r[line]["faults"] for r in side) for side in (mine, its))
            share = f"{row['of_peak']:5.0%}" if "of_peak" in row else "     "
            print(f"{name:26} {first['op']:28} {threads:>2} {row['ms']:9.4f} {row['torch_ms']:9.4f} {row['ratio']:6.2f} {row['to_best']:7.2f} "
                  f"{rate_text(row)} {share} {row['faults']:7.1f} {row['torch_faults']:7.1f}", flush=True)
            rows.append(row)
    return rows


def mean_ratio(rows, key):
    return math.exp(statistics.mean(math.log(row[key]) for row in rows))


def differences(losses, right):
    """Largest relative difference of each step."""
    return [max(abs(a - b) / max(abs(b), 1e-30) for a, b in zip(mine, its)) for mine, its in zip(losses, right)]


def check_losses(run, jobs, threads):
    """Losses of the first five steps from the same initial values, ours and PyTorch's, against PyTorch in double precision.

    The very first loss has seen nothing but a forward pass and must agree to rounding. The gradient of LeakyReLU jumps at 0, so an
    activation within rounding of 0 changes what follows, and Adam's first steps have one length however small the gradient: from there on
    what is reasonable is what PyTorch's own rounding does, which stands beside ours. A penalty on a gradient meets the jumps at once."""
    print(f"relative difference of the losses to PyTorch in double precision, {threads} thread(s)\n"
          f"{'':18} {'tapestry, steps 1 to 5':49} {'PyTorch':49} {'first losses'}")
    good = True
    for name, norm in jobs:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "initial.safetensors")
            theirs = run.torch(f"losses:{name}:{norm}", threads, "--json", path)[0]
            ours = run.tapestry(name, "--norm", norm, "--threads", threads, "--initial", path, "--losses", "5")[0]["losses"]
        right = theirs["torch.float64"]
        mine, its = differences(ours, right), differences(theirs["torch.float32"], right)
        first = abs(ours[0][0] - right[0][0]) / abs(right[0][0])
        fits = first < (5e-4 if name == "wgangp" else 5e-6) and max(mine) < 2e-2
        good = good and fits
        print(f"{name + ' ' + norm:18} " + " ".join(f"{d:9.1e}" for d in mine) + " " + " ".join(f"{d:9.1e}" for d in its) + " "
              + ", ".join(f"{loss:.6g}" for loss in ours[0]) + ("" if fits else "   DIFFERENT"), flush=True)
    return good


def chosen(text, known, what):
    if text in ("all", "none"):
        return known if text == "all" else []
    for name in text.split(","):
        if name not in known:
            sys.exit(f"there is no {what} {name}; choose from {', '.join(known)}")
    return text.split(",")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", default="all", help="names with commas, all or none")
    parser.add_argument("--ops", default="none", help="groups with commas, all or none")
    parser.add_argument("--norm", default="", help="only these norms")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--budget", type=float, default=1.0, help="seconds of steps in a process")
    parser.add_argument("--op-budget", type=float, default=0.1, help="seconds of one op in a round")
    parser.add_argument("--blas", default="", help="folder of the OpenMP build of OpenBLAS, put before the others for PyTorch")
    parser.add_argument("--losses", action="store_true", help="compare losses instead of times")
    parser.add_argument("--json", default="", help="also write all figures to this file")
    parser.add_argument("--tapestry", default=os.path.join(HERE, "../../build/bin/tapestry"))
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.child:
        return child(a)
    run = Runner(a)
    steps, groups = chosen(a.steps, STEPS, "step"), chosen(a.ops, OPS, "group of ops")
    jobs = [(name, norm) for name in steps for norm in NORMS.get(name, "none").split() if not a.norm or norm in a.norm.split(",")]
    if a.losses:
        sys.exit(0 if all([check_losses(run, jobs, threads) for threads in a.threads.split(",")]) else 1)
    peaks = {threads: run.tapestry("peak", "--threads", threads)[0] for threads in a.threads.split(",")}
    for threads, peak in peaks.items():
        print(f"{threads} thread(s), {peak['simd']}: at most {peak['gflops']:.0f} GFLOP/s, copying {peak['copy_gb_s']:.1f} GB/s")
    if not a.blas:
        print("PyTorch uses the system's OpenBLAS; unless that is its OpenMP build, PyTorch is slow with two threads")
    rows = []
    if jobs:
        print(f"{'step':18} {'th':>2} {'ms':>9} {'torch ms':>9} {'its best':>9} {'ratio':>6} {'to best':>7} {'rate':>12} {'peak':>5} "
              f"{'faults':>7} {'torch':>7} {'grew MB':>7} {'torch':>7} {'memory':>6}")
    for name, norm in jobs:
        for threads in a.threads.split(","):
            rows.append(compare_step(run, name, norm, threads, peaks))
    for group in groups:
        print(f"{group:26} {'':28} {'th':>2} {'ms':>9} {'torch ms':>9} {'ratio':>6} {'to best':>7} {'rate':>12} {'peak':>5} {'faults':>7} {'torch':>7}")
        for threads in a.threads.split(","):
            rows += compare_ops(run, group, threads, peaks)
    print("\ngeometric means             th  ratio to best")
    for group in ["steps"] + groups:
        for threads in a.threads.split(","):
            part = [r for r in rows if r.get("group", "steps") == group and r["threads"] == int(threads)]
            if part:
                print(f"{group:26} {threads:>3} {mean_ratio(part, 'ratio'):6.2f} {mean_ratio(part, 'to_best'):7.2f}")
    if a.json:
        with open(a.json, "w") as file:
            json.dump({"peaks": peaks, "rows": rows}, file, indent=1)


main()
