// A reference vector: one call of one op, with what PyTorch says about it. tests/goldens/README.md
// describes the files.
#ifndef TAPESTRY_TESTS_CONFORMANCE_CASE_H_
#define TAPESTRY_TESTS_CONFORMANCE_CASE_H_

#include <cstdint>
#include <filesystem>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "core/checkpoint.h"
#include "core/json.h"
#include "core/ops/conv.h"
#include "core/ops/index.h"
#include "core/tensor.h"

namespace tapestry::conformance {

/// The file is malformed or asks for something that cannot be understood. Not a tapestry::Error:
/// a case that must be refused by the library is not satisfied by this.
struct BadCase : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Input {
  std::string name;
  std::string role;  // input, param, buffer or index
  bool differentiable() const { return role == "input" || role == "param"; }
};

/// How far a tensor may be from its reference, in units of `scale`.
struct Tolerance {
  double scale = 1, tight = 1e-6, loose = 1e-5;
};

struct Case {
  std::string name, op, kind, tier;
  Json attrs;
  std::vector<Input> inputs;
  std::vector<std::string> outputs;  // every tensor to compare
  std::map<std::string, Tolerance> tolerances;
  std::map<std::string, std::vector<std::int64_t>>
      dont_care;  // positions; "" holds for every tensor
  std::vector<std::string> should_mention;
  Checkpoint file;

  /// The tensor stored under `name`. Throws BadCase when there is none.
  const Tensor& stored(const std::string& name) const;
};

/// Reads and checks a file. Throws BadCase.
Case read_case(const std::filesystem::path& path);

/// What the table's functions see of a case: inputs by name and attributes of the expected type.
/// Everything throws BadCase on absent or unfit values unless there is a fallback.
class Call {
 public:
  Call(const Case& origin, std::map<std::string, Tensor> inputs)
      : case_(origin), inputs_(std::move(inputs)) {}

  const std::string& op() const { return case_.op; }
  bool has(const std::string& input) const { return inputs_.count(input) != 0; }
  const Tensor& operator[](const std::string& input) const;
  /// The input of this name, or else the one at this position in the call.
  const Tensor& operator()(const std::string& input, std::size_t position) const;
  const Tensor& at(std::size_t position) const { return (*this)("", position); }
  /// An undefined Tensor when there is no such input.
  Tensor optional(const std::string& input) const;
  Indices indices(const std::string& input, std::size_t position) const;
  bool differentiable(const std::string& input) const;
  /// All inputs in the order of the call.
  std::vector<Named<Tensor>> inputs() const;

  /// The attribute, nullptr when absent or null.
  const Json* attribute(const std::string& key) const;
  /// Whether the attribute is there and null, which may mean something else than absent.
  bool is_null(const std::string& key) const;
  double number(const std::string& key) const;
  double number(const std::string& key, double fallback) const;
  Real real(const std::string& key, double fallback) const {
    return static_cast<Real>(number(key, fallback));
  }
  int integer(const std::string& key) const;
  int integer(const std::string& key, int fallback) const;
  bool flag(const std::string& key, bool fallback) const;
  std::string text(const std::string& key, const std::string& fallback) const;
  /// A list of whole numbers; a single number is a list of one, null or absent an empty one.
  std::vector<std::int64_t> extents(const std::string& key) const;
  std::vector<int> integers(const std::string& key) const;
  std::vector<double> numbers(const std::string& key) const;
  Pair pair(const std::string& key, Pair fallback) const;
  [[noreturn]] void unknown(const std::string& key) const;

 private:
  const Case& case_;
  std::map<std::string, Tensor> inputs_;
};

}  // namespace tapestry::conformance

#endif  // TAPESTRY_TESTS_CONFORMANCE_CASE_H_
