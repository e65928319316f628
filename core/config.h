// Settings that describe themselves: one function per struct lists its keys, and from that list
// come reading with precise errors, the written-out defaults, the resolved config and the JSON
// schema.
//
//     struct AdamSettings { double lr = 1e-3, beta1 = 0.9; };
//     void describe(Fields& f, AdamSettings& s) {
//       f.number("lr", s.lr, {.above = 0}, "learning rate");
//       f.number("beta1", s.beta1, {.min = 0, .below = 1}, "decay of the first moment");
//     }
//     AdamSettings adam;
//     Problems problems;
//     read_settings(json, adam, problems);  // collects unknown keys, wrong types and ranges
//     problems.throw_if_any();              // one Error that lists them all
//     Json all = write_settings(adam);      // every key with its value
//     Json schema = schema_of<AdamSettings>();
#ifndef TAPESTRY_CORE_CONFIG_H_
#define TAPESTRY_CORE_CONFIG_H_

#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeindex>
#include <vector>

#include "core/error.h"
#include "core/json.h"

namespace tapestry {

/// Everything found wrong in a config: all of it is told at once.
class Problems {
 public:
  /// `value` tells the line; `path` is like /train/batch.
  void add(const Json& value, const std::string& path, const std::string& problem,
           const std::string& hint = "");
  bool empty() const { return count_ == 0; }
  std::size_t size() const { return count_; }
  /// Whether so many are known that further ones are only counted.
  bool full() const { return texts_.size() >= kTold; }
  /// Throws one Error that lists them, with "N problems; nothing was run."
  void throw_if_any() const;

 private:
  static constexpr std::size_t kTold = 50;
  std::vector<std::string> texts_;
  std::size_t count_ = 0;
};

/// Allowed values of a number, all optional. min and max belong to the range, above and below do
/// not.
struct Limits {
  double min = -std::numeric_limits<double>::infinity(),
         max = std::numeric_limits<double>::infinity();
  double above = -std::numeric_limits<double>::infinity(),
         below = std::numeric_limits<double>::infinity();
  /// "a number above 0 and below 1"
  std::string text(bool whole) const;
  bool contains(double value) const {
    return value >= min && value <= max && value > above && value < below;
  }
};

/// What describe() talks to. Keys that are absent keep the value they have: the default.
class Fields {
 public:
  virtual ~Fields() = default;
  template <class T, class = std::enable_if_t<std::is_floating_point_v<T>>>
  void number(std::string_view key, T& value, Limits limits = {}, std::string_view help = "") {
    // A double that a float cannot hold would become infinite.
    limits.min = std::max(limits.min, static_cast<double>(std::numeric_limits<T>::lowest()));
    limits.max = std::min(limits.max, static_cast<double>(std::numeric_limits<T>::max()));
    double wide = std::is_same_v<T, float> ? Json(value).number() : static_cast<double>(value);
    number_field(key, wide, limits, help);
    value = static_cast<T>(wide);
  }
  template <class T, class = std::enable_if_t<std::is_integral_v<T>>>
  void integer(std::string_view key, T& value, Limits limits = {}, std::string_view help = "") {
    std::int64_t wide = static_cast<std::int64_t>(value);
    limits.min = std::max(limits.min, static_cast<double>(std::numeric_limits<T>::min()));
    limits.max = std::min(limits.max, static_cast<double>(std::numeric_limits<T>::max()));
    integer_field(key, wide, limits, help);
    value = static_cast<T>(wide);
  }
  virtual void boolean(std::string_view key, bool& value, std::string_view help = "") = 0;
  virtual void string(std::string_view key, std::string& value, std::string_view help = "") = 0;
  /// One of the words.
  virtual void choice(std::string_view key, std::string& value,
                      const std::vector<std::string>& words, std::string_view help = "") = 0;
  /// A word that decides which other keys there are: the schema lists one variant for all words
  /// that take the same keys. Describe it first, then branch on `value`.
  virtual void variant(std::string_view key, std::string& value,
                       const std::vector<std::string>& words, std::string_view help = "") = 0;
  /// A list of numbers, or one number that stands for a list of `repeat` equal ones (0: a list is
  /// required).
  virtual void numbers(std::string_view key, std::vector<double>& values, std::size_t repeat,
                       const Limits& limits, bool whole, std::string_view help = "") = 0;
  /// Any JSON value, kept as it is.
  virtual void json(std::string_view key, Json& value, std::string_view help = "") = 0;
  /// Says that the key must be given.
  virtual void required(std::string_view key) = 0;
  /// Reports a problem of the value under `key` ("" for the object itself) that the rules above
  /// cannot express. Ignored while writing.
  virtual void problem(std::string_view key, const std::string& problem,
                       const std::string& hint = "") = 0;
  /// Whether the file has the key.
  virtual bool given(std::string_view key) const = 0;

  /// A nested object with a describe() of its own.
  template <class S>
  void object(std::string_view key, S& settings, std::string_view help = "") {
    nested(key, help, [&](Fields& inner) { describe(inner, settings); });
  }
  /// A list of objects.
  template <class S>
  void list(std::string_view key, std::vector<S>& settings, std::string_view help = "") {
    list_of(
        key, help, typeid(S), settings.size(), [&](std::size_t count) { settings.resize(count); },
        [&](std::size_t i, Fields& inner) { describe(inner, settings[i]); },
        [blank = S()](Fields& inner) mutable { describe(inner, blank); });
  }
  /// An object, or a word that stands for {"<word_key>": word}: "norm": "batch" for {"type":
  /// "batch"}.
  template <class S>
  void word_or_object(std::string_view key, S& settings, std::string_view word_key,
                      const std::vector<std::string>& words, std::string_view help = "") {
    word_or_nested(key, word_key, words, help, [&](Fields& inner) { describe(inner, settings); });
  }

 protected:
  using Describe = std::function<void(Fields&)>;
  virtual void number_field(std::string_view key, double& value, const Limits& limits,
                            std::string_view help) = 0;
  virtual void integer_field(std::string_view key, std::int64_t& value, const Limits& limits,
                             std::string_view help) = 0;
  virtual void nested(std::string_view key, std::string_view help, const Describe& describe) = 0;
  virtual void word_or_nested(std::string_view key, std::string_view word_key,
                              const std::vector<std::string>& words, std::string_view help,
                              const Describe& describe) = 0;
  virtual void list_of(std::string_view key, std::string_view help, std::type_index type,
                       std::size_t count, const std::function<void(std::size_t)>& resize,
                       const std::function<void(std::size_t, Fields&)>& describe_item,
                       const Describe& describe_blank) = 0;
};

/// Reads an object into settings; `what` names the kind of object in errors ("a conv block").
/// Absent keys keep their values.
void read_fields(const Json& object, const std::string& path, Problems& problems,
                 const std::function<void(Fields&)>& describe);
Json write_fields(const std::function<void(Fields&)>& describe);
Json schema_fields(const std::function<void(Fields&)>& describe);

template <class S>
void read_settings(const Json& object, S& settings, Problems& problems,
                   const std::string& path = "") {
  read_fields(object, path, problems, [&](Fields& fields) { describe(fields, settings); });
}
/// Every key with its value, in the order of describe().
template <class S>
Json write_settings(S settings) {
  return write_fields([&](Fields& fields) { describe(fields, settings); });
}
/// A draft-07 schema of the object.
template <class S>
Json schema_of() {
  return schema_fields([blank = S()](Fields& fields) mutable { describe(fields, blank); });
}

}  // namespace tapestry

#endif  // TAPESTRY_CORE_CONFIG_H_
