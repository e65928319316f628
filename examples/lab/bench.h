// `tapestry bench`: how fast is it here? Times of ops with any shape, and of whole training steps.
#ifndef TAPESTRY_EXAMPLES_LAB_BENCH_H_
#define TAPESTRY_EXAMPLES_LAB_BENCH_H_

#include <map>
#include <string>
#include <vector>

namespace tapestry::lab {

struct BenchOptions {
  std::string what;  // an op or a step; "": a list and a short table; "all": everything once
  /// Options as given on the command line, without the dashes: {"kernel", "3"}. Those not given
  /// have a default that depends on what is timed.
  std::map<std::string, std::string> values = {};
  bool json = false;
};

/// An option that some benchmark understands.
struct BenchOption {
  std::string name, meaning;
  bool flag = false;  // given without a value
};
const std::vector<BenchOption>& bench_options();

/// Prints a table, or with options.json a JSON object per line. Returns the exit code. Throws Error
/// for a name or an option that does not exist, with the one that was probably meant, and for a
/// value that is not allowed.
int bench(const BenchOptions& options);

}  // namespace tapestry::lab

#endif  // TAPESTRY_EXAMPLES_LAB_BENCH_H_
