// Errors that teach: which op, what was expected, what came, both shapes, where in the model, and
// what to try.
#ifndef TAPESTRY_CORE_ERROR_H_
#define TAPESTRY_CORE_ERROR_H_

#include <concepts>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "core/shape.h"

namespace tapestry {

class Tensor;

/// Text of a value as messages show it: shapes as [64, 3], numbers in their shortest exact form.
inline std::string to_text(std::string_view text) { return std::string(text); }
inline std::string to_text(const char* text) { return text; }
inline std::string to_text(const Shape& shape) { return shape.str(); }
inline std::string to_text(bool value) { return value ? "true" : "false"; }
template <std::integral T>
std::string to_text(T value) {
  return std::to_string(value);
}
std::string to_text(double value);
std::string to_text(float value);

/// `pattern` with each "{}" replaced by the next value. g++ 12 has no <format>.
std::string fill_in(std::string_view pattern, const std::vector<std::string>& values);
template <class... Args>
std::string format(std::string_view pattern, const Args&... args) {
  return fill_in(pattern, {to_text(args)...});
}

/// What the program's exit code says about a failure.
enum class Fault { kInput = 2, kEnvironment = 3, kDiverged = 4, kInternal = 5 };

/// What went wrong, what was expected, and what to try. Built where the check fails:
///
///     throw Error("conv2d", "the weight expects {} input channels, the input has {}", want, got)
///         .shape("input", x, "(N, C, H, W)").hint("build the layer as Conv2d({}, …)", got);
///
/// what() then reads, with the module path of the Context objects alive at the throw:
///
///     conv2d: the weight expects 3 input channels, the input has 1
///       input   [64, 1, 32, 32]   (N, C, H, W)
///       in      discriminator.main.0 (Conv2d)
///       hint    build the layer as Conv2d(1, …)
class Error : public std::runtime_error {
 public:
  template <class... Args>
  Error(std::string_view op, std::string_view pattern, const Args&... args)
      : Error(Composed{}, std::string(op), format(pattern, args...)) {}

  Error& shape(std::string_view name, const Shape& shape, std::string_view axes = "");
  Error& shape(std::string_view name, const Tensor& tensor, std::string_view axes = "");
  Error& fact(std::string_view name, std::string_view value);
  template <class... Args>
  Error& hint(std::string_view pattern, const Args&... args) {
    return set_hint(format(pattern, args...));
  }
  Error& fault(Fault fault) {
    fault_ = fault;
    return *this;
  }

  const char* what() const noexcept override { return text_.c_str(); }
  /// The sentence without the facts, the place and the hint.
  const std::string& problem() const { return problem_; }
  /// The process exit code this error asks for: 2 bad input, 3 environment, 4 diverged, 5 a bug of
  /// ours. Default 2.
  int exit_code() const { return static_cast<int>(fault_); }

 private:
  struct Composed {};
  Error(Composed, std::string op, std::string problem);
  Error& set_hint(std::string text);
  void compose();

  struct Fact {
    std::string name, value, remark;
  };
  std::string op_, problem_, where_, hint_, text_;
  std::vector<Fact> facts_;
  Fault fault_ = Fault::kInput;
};

/// Names a place for as long as it lives; nested ones make the path that errors and the tape show:
/// "generator.main.3 (BatchNorm2d)".
class Context {
 public:
  /// `name` is one step of the path (may be empty), `kind` the type shown behind the path. Both
  /// must outlive the Context.
  Context(std::string_view name, std::string_view kind);
  /// The reverse sweep through what was recorded at `place`: the path reads "gradient of …".
  explicit Context(int place);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  /// The path of this thread's live contexts, "" when there are none.
  static std::string path();
  /// A number for the current path that place_name() turns back into text; 0 for "". Cheap when
  /// asked again in the same scope.
  static int place();
  static std::string place_name(int place);

 private:
  std::string_view name_, kind_;
  Context* outer_;
  int place_ = -1;
  int gradient_of_ = -1;
};

}  // namespace tapestry

#endif  // TAPESTRY_CORE_ERROR_H_
