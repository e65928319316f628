// The benchmarks of single ops, and how any benchmark describes itself: its options with their
// defaults.
#ifndef TAPESTRY_EXAMPLES_LAB_BENCH_OPS_H_
#define TAPESTRY_EXAMPLES_LAB_BENCH_OPS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/ops/conv.h"
#include "core/shape.h"
#include "examples/lab/bench_table.h"

namespace tapestry::lab {

/// The options of one benchmark: given ones over defaults. The functions throw Error for a value of
/// another form.
class Values {
 public:
  Values(std::map<std::string, std::string> defaults,
         const std::map<std::string, std::string>& given);
  const std::string& text(const std::string& name) const { return values_.at(name); }
  bool flag(const std::string& name) const { return text(name) == "true"; }
  /// A whole number from `least` to 2²⁴.
  std::int64_t number(const std::string& name, std::int64_t least = 1) const;
  /// "32", or "32,48" for height and width.
  Pair pair(const std::string& name, int least = 1) const;
  /// "64,128": extents, or axes (which may be negative).
  std::vector<std::int64_t> list(const std::string& name, std::int64_t least = 1) const;
  Shape shape(const std::string& name) const { return Shape(list(name)); }
  double seconds(const std::string& name) const;
  /// One of `allowed`.
  const std::string& choice(const std::string& name, const std::vector<std::string>& allowed) const;

 private:
  [[noreturn]] void refuse(const std::string& name, const std::string& expected) const;
  std::map<std::string, std::string> values_;
};

struct Benchmark {
  std::string name, description;
  std::map<std::string, std::string> options;  // with their defaults
  std::function<void(const Values&, Table&)> run;
};
/// gemm, conv2d, …
const std::vector<Benchmark>& op_benchmarks();

}  // namespace tapestry::lab

#endif  // TAPESTRY_EXAMPLES_LAB_BENCH_OPS_H_
