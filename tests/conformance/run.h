// Runs one case: computes what its kind asks for and compares.
#ifndef TAPESTRY_TESTS_CONFORMANCE_RUN_H_
#define TAPESTRY_TESTS_CONFORMANCE_RUN_H_

#include <string>
#include <vector>

#include "tests/conformance/case.h"

namespace tapestry::conformance {

struct Problem {
  std::string tensor, text;
};

struct Outcome {
  enum class State { kPassed, kFailed, kSkipped };
  State state = State::kPassed;
  bool tight = true;
  double error = 0;                      // the worst tensor's, in units of its scale
  std::vector<Problem> problems;         // why it failed or was skipped
  std::string refusal;                   // expect_error: the message
  std::vector<std::string> unmentioned;  // expect_error: what the message should have named
};

/// Never throws: whatever the library throws becomes a failure.
Outcome run(const Case& c);

}  // namespace tapestry::conformance

#endif  // TAPESTRY_TESTS_CONFORMANCE_RUN_H_
