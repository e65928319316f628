#include "examples/lab/bench_table.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <string>

#include <sys/resource.h>

#include "core/kernels/machine.h"
#include "core/memory.h"
#include "core/parallel.h"

namespace tapestry::lab {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// The largest amount per second of several runs on all threads at once. A limit is what was
/// reached at best.
double best_rate(int runs, const std::function<double(int thread)>& run) {
  double best = 0;
  for (int i = 0; i < runs; ++i) {
    const Clock::time_point start = Clock::now();
    const double amount = parallel_sum(threads(), 1, [&](std::int64_t begin, std::int64_t end) {
      double sum = 0;
      for (std::int64_t thread = begin; thread < end; ++thread)
        sum += run(static_cast<int>(thread));
      return sum;
    });
    best = std::max(best, amount / seconds_since(start));
  }
  return best;
}

MachinePeak measure_peak() {
  MachinePeak peak{};
  std::vector<Real> sinks(static_cast<std::size_t>(threads()) * 64);  // each on its own cache line
  peak.gflops =
      // A scheduler may leave two new threads on one processor for some 100 ms.
      1e-9 * best_rate(50, [&](int thread) {
        constexpr std::int64_t kRounds = 1 << 20;  // some 6 ms
        return kernels::multiply_add_loop(kRounds, &sinks[static_cast<std::size_t>(thread) * 64]);
      });
  constexpr std::int64_t kNumbers = 1 << 24;  // more than a last-level cache holds
  Scratch<Real> from(kNumbers), to(kNumbers);
  std::fill(from.data(), from.data() + kNumbers, Real(1));
  std::fill(to.data(), to.data() + kNumbers, Real(0));
  const auto copy = [&](void (*loop)(const Real*, Real*, std::int64_t)) {
    const std::int64_t part = kNumbers / threads() / 64 * 64;
    return 1e-9 * best_rate(5, [&](int thread) {
             loop(from.data() + thread * part, to.data() + thread * part, part);
             return 2.0 * sizeof(Real) * static_cast<double>(part);
           });
  };
  peak.copy_gb_s = copy(kernels::copy_loop);
  peak.stream_copy_gb_s = copy(kernels::copy_loop_streaming);
  return peak;
}

rusage usage() {
  rusage result{};
  getrusage(RUSAGE_SELF, &result);
  return result;
}

}  // namespace

const MachinePeak& machine_peak() {
  static const MachinePeak peak = measure_peak();
  return peak;
}

std::int64_t peak_resident_bytes() {
  // Not ru_maxrss: that begins with what the process that started this one had.
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    std::int64_t kilobytes = 0;
    if (word == "VmHWM:" && status >> kilobytes) return kilobytes * 1024;
  }
  return usage().ru_maxrss * 1024;
}
std::int64_t page_faults() { return usage().ru_minflt; }

Timing measure(const std::function<void()>& call, double seconds, int warm_up) {
  for (int i = 0; i < warm_up; ++i) call();
  Clock::time_point start = Clock::now();
  call();
  // 50 µs: a thousand times what reading the clock costs.
  const double once = seconds_since(start);
  const int together = static_cast<int>(std::clamp(50e-6 / std::max(once, 1e-8), 1.0, 5000.0));
  constexpr std::size_t kAtLeast = 5, kAtMost = 10000;
  std::vector<double> ms;
  ms.reserve(kAtMost);  // and touched, so that it adds no page faults
  ms.assign(kAtMost, 0);
  ms.clear();
  const std::int64_t faults = page_faults();
  start = Clock::now();
  while (ms.size() < kAtLeast || (seconds_since(start) < seconds && ms.size() < kAtMost)) {
    const Clock::time_point before = Clock::now();
    for (int i = 0; i < together; ++i) call();
    ms.push_back(1e3 * seconds_since(before) / together);
  }
  Timing timing{.calls = static_cast<std::int64_t>(ms.size()) * together};
  timing.faults = static_cast<double>(page_faults() - faults) / static_cast<double>(timing.calls);
  std::sort(ms.begin(), ms.end());
  timing.median_ms = ms[ms.size() / 2];
  timing.best_ms = ms[0];
  return timing;
}

void Table::time(const Row& row, const std::function<void()>& call) {
  print(row, measure(call, seconds));
}

void Table::print(const Row& row, const Timing& timing, const std::vector<Json::Member>& more) {
  const double gflops = row.flops / timing.median_ms * 1e-6,
               gb_s = row.bytes / timing.median_ms * 1e-6;
  if (json_) {
    Json line = Json::object({{"op", row.op},
                              {"shape", row.shape},
                              {"threads", threads()},
                              {"ms_median", timing.median_ms},
                              {"ms_min", timing.best_ms},
                              {"calls", timing.calls},
                              {"faults", timing.faults}});
    if (row.flops > 0) {
      line.set("gflop", row.flops * 1e-9);
      line.set("gflops", gflops);
    }
    if (row.bytes > 0) line.set("gb_s", gb_s);
    if (timing.pool_bytes > 0) {
      line.set("pool_peak_bytes", timing.pool_bytes);
      line.set("growth_bytes", timing.growth_bytes);
    }
    for (const auto& [key, value] : more) line.set(key, value);
    std::printf("%s\n", line.dump(-1).c_str());
  } else {
    if (!begun_) {
      std::printf("%-28s %-34s %3s %10s %10s %14s %5s %7s\n", "op", "shape", "thr", "median ms",
                  "best ms", "rate", "peak", "faults");
    }
    char rate[32] = "", share[16] = "";
    if (row.flops > 0) {
      std::snprintf(rate, sizeof rate, "%.1f GFLOP/s", gflops);
      std::snprintf(share, sizeof share, "%.0f%%", 100 * gflops / machine_peak().gflops);
    } else if (row.bytes > 0) {
      std::snprintf(rate, sizeof rate, "%.1f GB/s", gb_s);
      std::snprintf(share, sizeof share, "%.0f%%", 100 * gb_s / machine_peak().copy_gb_s);
    }
    std::printf("%-28s %-34s %3d %10.4f %10.4f %14s %5s %7.1f", row.op.c_str(), row.shape.c_str(),
                threads(), timing.median_ms, timing.best_ms, rate, share, timing.faults);
    if (timing.pool_bytes > 0) {
      std::printf("   tensors %.0f MB, process grew %.0f MB",
                  static_cast<double>(timing.pool_bytes) * 1e-6,
                  static_cast<double>(timing.growth_bytes) * 1e-6);
    }
    std::printf("\n");
  }
  begun_ = true;
  std::fflush(stdout);
}

}  // namespace tapestry::lab
