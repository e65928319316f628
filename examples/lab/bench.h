// How fast is it here? Times of ops with any shape, and of whole training steps.
#ifndef TAPESTRY_EXAMPLES_LAB_BENCH_H_
#define TAPESTRY_EXAMPLES_LAB_BENCH_H_

#include <cstdint>
#include <map>
#include <string>

namespace tapestry::lab {

struct BenchOptions {
  std::string what;  // gemm, conv2d, conv_transpose2d, norm, elementwise, dcgan; "": all
  std::map<std::string, std::int64_t> sizes{
      {"n", 16},     {"in", 64},     {"out", 64},   {"size", 32}, {"kernel", 3},
      {"stride", 1}, {"padding", 1}, {"groups", 1}, {"m", 512},   {"k", 512}};
  std::string norm = "batch";
  bool json = false;
};
/// Prints a table, or with options.json a JSON object per line: op, shape, threads, median and best
/// milliseconds, and GFLOP/s or GB/s. Returns the exit code.
int bench(const BenchOptions& options);

}  // namespace tapestry::lab

#endif  // TAPESTRY_EXAMPLES_LAB_BENCH_H_
