// What an error says, for tests of messages.
#ifndef TAPESTRY_TESTS_SUPPORT_ERRORS_H_
#define TAPESTRY_TESTS_SUPPORT_ERRORS_H_

#include <string>
#include <string_view>

#include "core/error.h"

namespace tapestry::testing {

/// The whole message of the Error that f() throws; "" when it throws nothing. Other exceptions pass
/// through and fail the test.
template <class F>
std::string error_of(F f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

/// The exit code of the Error that f() throws; 0 when it throws nothing.
template <class F>
int exit_code_of(F f) {
  try {
    f();
  } catch (const Error& error) {
    return error.exit_code();
  }
  return 0;
}

inline bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != text.npos;
}

}  // namespace tapestry::testing

#endif  // TAPESTRY_TESTS_SUPPORT_ERRORS_H_
