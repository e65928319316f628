#include "core/error.h"

#include <charconv>
#include <mutex>
#include <unordered_map>

#include "core/tensor.h"

namespace tapestry {

namespace {

template <class T>
std::string shortest(T value) {
  char buffer[32];
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, value);
  return error == std::errc() ? std::string(buffer, end) : "?";
}

}  // namespace

std::string to_text(double value) { return shortest(value); }
std::string to_text(float value) { return shortest(value); }

std::string fill_in(std::string_view pattern, const std::vector<std::string>& values) {
  std::string text;
  std::size_t next = 0;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] == '{' && i + 1 < pattern.size() && pattern[i + 1] == '}' &&
        next < values.size()) {
      text += values[next++];
      ++i;
    } else {
      text += pattern[i];
    }
  }
  return text;
}

Error::Error(Composed, std::string op, std::string problem)
    : std::runtime_error(problem),
      op_(std::move(op)),
      problem_(std::move(problem)),
      where_(Context::path()) {
  compose();
}

Error& Error::shape(std::string_view name, const Shape& shape, std::string_view axes) {
  facts_.push_back({std::string(name), shape.str(), std::string(axes)});
  compose();
  return *this;
}

Error& Error::shape(std::string_view name, const Tensor& tensor, std::string_view axes) {
  if (!tensor.defined()) return fact(name, "undefined");
  return shape(name, tensor.shape(), axes);
}

Error& Error::fact(std::string_view name, std::string_view value) {
  facts_.push_back({std::string(name), std::string(value), ""});
  compose();
  return *this;
}

Error& Error::set_hint(std::string text) {
  hint_ = std::move(text);
  compose();
  return *this;
}

void Error::compose() {
  std::vector<Fact> lines = facts_;
  if (!where_.empty()) lines.push_back({"in", where_, ""});
  if (!hint_.empty()) lines.push_back({"hint", hint_, ""});
  std::size_t name_width = 0, value_width = 0;
  for (const Fact& line : lines) {
    name_width = std::max(name_width, line.name.size());
    if (!line.remark.empty()) value_width = std::max(value_width, line.value.size());
  }
  text_ = op_.empty() ? problem_ : op_ + ": " + problem_;
  for (const Fact& line : lines) {
    text_ += "\n  " + line.name + std::string(name_width - line.name.size() + 2, ' ') + line.value;
    if (!line.remark.empty()) {
      text_ += std::string(value_width - line.value.size() + 3, ' ') + line.remark;
    }
  }
}

namespace {

thread_local Context* innermost = nullptr;

// Paths are numbered once and kept: a tape of ten thousand entries then holds ten thousand ints
// instead of strings.
struct PlaceTable {
  std::mutex mutex;
  std::vector<std::string> names{""};
  std::unordered_map<std::string, int> numbers{{"", 0}};
};
PlaceTable& places() {
  static PlaceTable table;
  return table;
}

}  // namespace

Context::Context(std::string_view name, std::string_view kind)
    : name_(name), kind_(kind), outer_(innermost) {
  innermost = this;
}

Context::Context(int place) : outer_(innermost), gradient_of_(place) { innermost = this; }

Context::~Context() { innermost = outer_; }

std::string Context::path() {
  if (innermost == nullptr) return "";
  std::string text;
  for (const Context* step = innermost; step != nullptr; step = step->outer_) {
    if (step->gradient_of_ >= 0) {
      const std::string origin = place_name(step->gradient_of_);
      return "gradient of " + (origin.empty() ? "an op outside any module" : origin);
    }
    if (step->name_.empty()) continue;
    text = text.empty() ? std::string(step->name_) : std::string(step->name_) + "." + text;
  }
  if (innermost->kind_.empty()) return text;
  return text.empty() ? std::string(innermost->kind_)
                      : text + " (" + std::string(innermost->kind_) + ")";
}

int Context::place() {
  if (innermost == nullptr) return 0;
  if (innermost->place_ < 0) {
    const std::string text = path();
    PlaceTable& table = places();
    const std::lock_guard lock(table.mutex);
    const auto [entry, is_new] =
        table.numbers.try_emplace(text, static_cast<int>(table.names.size()));
    if (is_new) table.names.push_back(text);
    innermost->place_ = entry->second;
  }
  return innermost->place_;
}

std::string Context::place_name(int place) {
  PlaceTable& table = places();
  const std::lock_guard lock(table.mutex);
  return table.names.at(static_cast<std::size_t>(place));
}

}  // namespace tapestry
