#include "tests/conformance/case.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"

namespace tapestry::conformance {
namespace {

/// Python's json module writes NaN and Infinity, which JSON does not have; they become null.
std::string without_bare_words(std::string text) {
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (quoted && text[i] == '\\') {
      ++i;
    } else if (text[i] == '"') {
      quoted = !quoted;
    } else if (!quoted) {
      for (const std::string_view word : {"-Infinity", "Infinity", "NaN"}) {
        if (text.compare(i, word.size(), word) == 0) text.replace(i, word.size(), "null");
      }
    }
  }
  return text;
}

Json parsed(const Checkpoint& file, const std::string& key, const char* fallback) {
  const auto text = file.texts.find(key);
  if (text == file.texts.end() && fallback == nullptr) throw BadCase("no metadata '" + key + "'");
  return parse_json(without_bare_words(text == file.texts.end() ? fallback : text->second), key);
}

std::string plain(const Checkpoint& file, const std::string& key) {
  const auto text = file.texts.find(key);
  if (text == file.texts.end()) throw BadCase("no metadata '" + key + "'");
  return text->second;
}

const Json& member(const Json& object, const std::string& key, Json::Kind kind,
                   const std::string& where) {
  const Json* value = object.find(key);
  if (value == nullptr || value->kind() != kind) {
    throw BadCase(where + ": '" + key + "' is missing or of the wrong kind");
  }
  return *value;
}

double number_or(const Json& object, const std::string& key, double fallback) {
  const Json* value = object.find(key);
  return value != nullptr && value->is_number() ? value->number() : fallback;
}

std::vector<std::int64_t> positions(const Json& list) {
  std::vector<std::int64_t> found;
  for (const Json& item : list.items()) {
    if (!item.is_integer()) throw BadCase("dont_care: positions must be whole numbers");
    found.push_back(item.integer());
  }
  return found;
}

std::vector<std::string> strings(const Json& list, const std::string& where) {
  if (!list.is_array()) throw BadCase(where + ": expected a list");
  std::vector<std::string> found;
  for (const Json& item : list.items()) {
    found.push_back(item.is_string() ? item.text() : item.dump(-1));
  }
  return found;
}

Case read(const std::filesystem::path& path) {
  Case c;
  c.file = load_checkpoint(path);
  c.name = path.stem().string();
  c.op = plain(c.file, "op");
  c.kind = plain(c.file, "kind");
  c.tier = plain(c.file, "tier");
  c.attrs = parsed(c.file, "attrs", "{}");
  if (!c.attrs.is_object()) throw BadCase("attrs: expected an object");
  const Json inputs = parsed(c.file, "inputs", nullptr);
  for (const Json& item : inputs.items()) {
    Input input{member(item, "name", Json::Kind::kString, "inputs").text(),
                member(item, "role", Json::Kind::kString, "inputs").text()};
    c.stored("in." + input.name);
    c.inputs.push_back(std::move(input));
  }
  c.outputs = strings(parsed(c.file, "outputs", "[]"), "outputs");
  const Json tolerances = parsed(c.file, "tol", "{}");
  for (const auto& [tensor, bounds] : tolerances.members()) {
    Tolerance t;
    t.scale = number_or(bounds, "scale", t.scale);
    t.tight = number_or(bounds, "tight", t.tight);
    t.loose = number_or(bounds, "loose", t.loose);
    c.tolerances[tensor] = t;
  }
  const Json dont_care = parsed(c.file, "dont_care", "[]");
  if (dont_care.is_array()) c.dont_care[""] = positions(dont_care);
  for (const auto& [tensor, list] : dont_care.members()) c.dont_care[tensor] = positions(list);
  c.should_mention =
      strings(parsed(c.file, "message_should_mention", "[]"), "message_should_mention");
  return c;
}

}  // namespace

const Tensor& Case::stored(const std::string& tensor) const {
  const Tensor* found = file.find(tensor);
  if (found == nullptr) throw BadCase("no tensor '" + tensor + "'");
  return *found;
}

Case read_case(const std::filesystem::path& path) {
  try {
    return read(path);
  } catch (const Error& error) {
    throw BadCase(error.what());
  }
}

const Tensor& Call::operator[](const std::string& input) const {
  const auto found = inputs_.find(input);
  if (found == inputs_.end()) throw BadCase("no input '" + input + "'");
  return found->second;
}

const Tensor& Call::operator()(const std::string& input, std::size_t position) const {
  if (has(input)) return (*this)[input];
  if (position >= case_.inputs.size()) throw BadCase("no input '" + input + "'");
  return (*this)[case_.inputs[position].name];
}

Tensor Call::optional(const std::string& input) const {
  return has(input) ? (*this)[input] : Tensor();
}

Indices Call::indices(const std::string& input, std::size_t position) const {
  Indices found;
  for (const Real value : (*this)(input, position).data()) {
    if (!(std::abs(value) < Real(1 << 24))) throw BadCase(input + ": not a whole number");
    found.push_back(static_cast<std::int32_t>(value));
  }
  return found;
}

bool Call::differentiable(const std::string& input) const {
  return std::any_of(case_.inputs.begin(), case_.inputs.end(), [&](const Input& candidate) {
    return candidate.name == input && candidate.differentiable();
  });
}

std::vector<Named<Tensor>> Call::inputs() const {
  std::vector<Named<Tensor>> all;
  for (const Input& input : case_.inputs) all.push_back({input.name, (*this)[input.name]});
  return all;
}

const Json* Call::attribute(const std::string& key) const {
  const Json* value = case_.attrs.find(key);
  return value == nullptr || value->is_null() ? nullptr : value;
}

bool Call::is_null(const std::string& key) const {
  const Json* value = case_.attrs.find(key);
  return value != nullptr && value->is_null();
}

double Call::number(const std::string& key) const {
  const Json* value = attribute(key);
  if (value == nullptr || !value->is_number()) throw BadCase("attribute '" + key + "': no number");
  return value->number();
}

double Call::number(const std::string& key, double fallback) const {
  return attribute(key) == nullptr ? fallback : number(key);
}

int Call::integer(const std::string& key) const {
  const std::vector<std::int64_t> list = extents(key);
  if (list.size() != 1) throw BadCase("attribute '" + key + "': expected one whole number");
  if (std::abs(list[0]) > std::numeric_limits<int>::max()) throw BadCase(key + ": too large");
  return static_cast<int>(list[0]);
}

int Call::integer(const std::string& key, int fallback) const {
  return attribute(key) == nullptr ? fallback : integer(key);
}

bool Call::flag(const std::string& key, bool fallback) const {
  const Json* value = attribute(key);
  if (value == nullptr) return fallback;
  if (value->is_bool()) return value->boolean();
  if (value->is_integer()) return value->integer() != 0;
  throw BadCase("attribute '" + key + "': expected true or false");
}

std::string Call::text(const std::string& key, const std::string& fallback) const {
  const Json* value = attribute(key);
  if (value == nullptr) return fallback;
  return value->is_string() ? value->text() : value->dump(-1);
}

std::vector<double> Call::numbers(const std::string& key) const {
  const Json* value = attribute(key);
  if (value == nullptr) return {};
  std::vector<double> list;
  const auto add = [&](const Json& item) {
    if (!item.is_number()) throw BadCase("attribute '" + key + "': expected numbers");
    list.push_back(item.number());
  };
  if (value->is_array()) {
    for (const Json& item : value->items()) add(item);
  } else {
    add(*value);
  }
  return list;
}

std::vector<std::int64_t> Call::extents(const std::string& key) const {
  std::vector<std::int64_t> list;
  for (const double number : numbers(key)) {
    if (number != std::floor(number) || std::abs(number) > 1e15) {
      throw BadCase("attribute '" + key + "': expected whole numbers");
    }
    list.push_back(static_cast<std::int64_t>(number));
  }
  return list;
}

std::vector<int> Call::integers(const std::string& key) const {
  std::vector<int> list;
  for (const std::int64_t value : extents(key)) {
    if (std::abs(value) > std::numeric_limits<int>::max()) throw BadCase(key + ": too large");
    list.push_back(static_cast<int>(value));
  }
  return list;
}

Pair Call::pair(const std::string& key, Pair fallback) const {
  const std::vector<int> list = integers(key);
  if (list.empty()) return fallback;
  if (list.size() > 2) throw BadCase("attribute '" + key + "': expected one or two numbers");
  return {list.front(), list.back()};
}

void Call::unknown(const std::string& key) const {
  throw BadCase("attribute '" + key + "': no such choice: " + text(key, "(none)"));
}

}  // namespace tapestry::conformance
