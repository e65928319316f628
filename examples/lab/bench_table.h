// Measuring: repeated calls, what they cost in time, page faults and memory, and what this machine
// could do at most.
#ifndef TAPESTRY_EXAMPLES_LAB_BENCH_TABLE_H_
#define TAPESTRY_EXAMPLES_LAB_BENCH_TABLE_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/json.h"

namespace tapestry::lab {

/// Limits of the machine with the threads in use, measured once when first asked for.
struct MachinePeak {
  double gflops;            // multiply-adds in registers
  double copy_gb_s;         // 128 MiB, read and written
  double stream_copy_gb_s;  // the same past the caches
};
const MachinePeak& machine_peak();

/// Resident memory of the process in bytes, at most so far; page faults that needed no disk.
std::int64_t peak_resident_bytes();
std::int64_t page_faults();

/// What is measured. flops and bytes are of one call; 0: not given. Bytes count each operand and
/// result once.
struct Row {
  std::string op, shape;
  double flops = 0, bytes = 0;
};

/// What came out; milliseconds and page faults are of one call.
struct Timing {
  std::int64_t calls = 0;
  double median_ms = 0, best_ms = 0, faults = 0;
  /// Most that was held at once, if someone measured it: tensors and scratch space of the pool, and
  /// by how much the process grew.
  std::int64_t pool_bytes = 0, growth_bytes = 0;
};

/// Calls for `seconds` or 5 times, whichever is longer, after `warm_up` calls. Short calls are
/// timed several at a time.
Timing measure(const std::function<void()>& call, double seconds, int warm_up = 2);

/// Prints lines as a table, or as one JSON object each. Only the table states shares of
/// machine_peak().
class Table {
 public:
  explicit Table(bool json) : json_(json) {}
  /// Measures and prints a line.
  void time(const Row& row, const std::function<void()>& call);
  /// Prints a line measured elsewhere, with more members for the JSON form.
  void print(const Row& row, const Timing& timing, const std::vector<Json::Member>& more = {});
  bool json() const { return json_; }

  double seconds = 0.3;  // to measure a line for

 private:
  bool json_, begun_ = false;
};

}  // namespace tapestry::lab

#endif  // TAPESTRY_EXAMPLES_LAB_BENCH_TABLE_H_
