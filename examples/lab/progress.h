// The line that tells how training goes: one that redraws itself on a terminal, plain lines now and
// then elsewhere.
#ifndef TAPESTRY_EXAMPLES_LAB_PROGRESS_H_
#define TAPESTRY_EXAMPLES_LAB_PROGRESS_H_

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace tapestry::lab {

/// "0:07", "12:34", "1:02:03"
std::string clock_text(double seconds);
/// Four significant digits, no exponent between 1e-4 and 1e6: "1.209", "0.0123", "3.2e-07".
std::string figure_text(double value);

/// Prints to standard output. Quiet: nothing at all.
///
///     norm=batch,seed=1  step 340/1500 ▕███▏ 23%  d 1.21  g 0.83  71 ms/step  ETA 1:22
class Progress {
 public:
  Progress(std::string title, std::int64_t first, std::int64_t steps, bool quiet);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Step `done` of `steps` is finished. Redraws at most ten times a second; when not on a
  /// terminal, prints at most five lines in all.
  void step(std::int64_t done, const std::vector<std::pair<std::string, double>>& figures);
  /// Prints a line that stays.
  void line(const std::string& text);
  /// Removes the redrawn line.
  void finish();

 private:
  std::string text(std::int64_t done,
                   const std::vector<std::pair<std::string, double>>& figures) const;
  std::string title_;
  std::int64_t first_, steps_;
  bool quiet_, terminal_, unicode_;
  bool drawn_ = false;
  std::int64_t next_plain_;
  std::chrono::steady_clock::time_point start_, last_draw_{};
};

}  // namespace tapestry::lab

#endif  // TAPESTRY_EXAMPLES_LAB_PROGRESS_H_
