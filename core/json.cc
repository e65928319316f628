#include "core/json.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>
#include <limits>
#include <unordered_set>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "core/text.h"

namespace tapestry {
namespace {

constexpr std::size_t kMaxBytes = 1 << 20;
constexpr int kMaxDepth = 64;  // deeper ones overflow the stack of whoever walks them

/// Counts lines while the parser reads, so that each value knows its own.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;
  CountingIterator(const char* at, int* line) : at_(at), line_(line) {}
  reference operator*() const { return *at_; }
  CountingIterator& operator++() {
    *line_ += *at_ == '\n';
    ++at_;
    return *this;
  }
  CountingIterator operator++(int) {
    CountingIterator before = *this;
    ++*this;
    return before;
  }
  bool operator==(const CountingIterator& other) const { return at_ == other.at_; }
  bool operator!=(const CountingIterator& other) const { return at_ != other.at_; }

 private:
  const char* at_;
  int* line_;
};

/// Builds the tree from the parser's events.
class Builder final : public nlohmann::json_sax<nlohmann::json> {
 public:
  Builder(const std::string& name, const int& line) : name_(name), line_(line) {}
  Json take() { return std::move(root_); }

  bool null() override { return add(Json()); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override {
    return add(static_cast<std::int64_t>(value));
  }
  bool number_unsigned(number_unsigned_t value) override {
    if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
      fail("a whole number is too large for 63 bits");
    return add(static_cast<std::int64_t>(value));
  }
  bool number_float(number_float_t value, const string_t& text) override {
    // A whole number too long for 64 bits arrives here; it must not turn into a rounded one.
    if (text.find_first_of(".eE") == text.npos) fail("a whole number is too large for 63 bits");
    if (!std::isfinite(value)) fail("a number is too large for a double");
    return add(value);
  }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& value) override {
    if (!keys_.back().insert(value).second)
      fail("the key \"" + printable(value) + "\" stands twice in one object");
    key_ = value;
    return true;
  }
  bool parse_error(std::size_t, const std::string& token,
                   const nlohmann::detail::exception& error) override {
    const std::string_view what = error.what();
    const std::size_t colon = what.rfind("; expected");
    std::string problem = "this is not JSON: unexpected \"" + printable(token) + "\"";
    if (colon != what.npos) problem += " (" + printable(what.substr(colon + 2)) + ")";
    if (token == "}" || token == "]" || token.ends_with("]") || token.ends_with("}"))
      problem += "; is there a comma before it?";
    fail(problem);
  }

 private:
  [[noreturn]] void fail(const std::string& problem) {
    throw Error(name_ + ":" + std::to_string(line_), "{}", problem);
  }
  bool open(Json value) {
    if (stack_.size() >= static_cast<std::size_t>(kMaxDepth))
      fail("more than 64 levels of nesting");
    stack_.push_back(place(std::move(value)));
    keys_.emplace_back();
    return true;
  }
  bool close() {
    stack_.pop_back();
    keys_.pop_back();
    return true;
  }
  bool add(Json value) {
    place(std::move(value));
    return true;
  }
  Json* place(Json value) {
    value.set_origin(name_ + ":" + std::to_string(line_));
    if (stack_.empty()) return &(root_ = std::move(value));
    Json& parent = *stack_.back();
    if (parent.is_array()) {
      parent.items().push_back(std::move(value));
      return &parent.items().back();
    }
    parent.members().emplace_back(std::move(key_), std::move(value));
    return &parent.members().back().second;
  }

  const std::string& name_;
  const int& line_;
  Json root_;
  std::vector<Json*>
      stack_;  // pointers stay valid: a container does not grow while one of its values is open
  std::vector<std::unordered_set<std::string>> keys_;  // of the objects in stack_
  std::string key_;
};

std::string number_text(double value) {
  if (!std::isfinite(value)) return "null";
  std::string text = to_text(value);
  if (text.find_first_of(".eE") == text.npos)
    text += ".0";  // a number stays a number when read again
  return text;
}

std::string in_quotes(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\r':
        out += "\\r";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          char code[8];
          std::snprintf(code, sizeof code, "\\u%04x", static_cast<unsigned>(c));
          out += code;
        } else {
          out += c;
        }
    }
  }
  return out + "\"";
}

}  // namespace

// The nearest float prints as 0.1, not 0.10000000149: configs are read by people.
Json::Json(float value) : kind_(Kind::kNumber) {
  char text[32];
  const auto [end, error] = std::to_chars(text, text + sizeof text, value);
  std::from_chars(text, end, number_);
}

Json Json::array(std::vector<Json> items) {
  Json value;
  value.kind_ = Kind::kArray;
  value.items_ = std::move(items);
  return value;
}

Json Json::object(std::vector<Member> members) {
  Json value;
  value.kind_ = Kind::kObject;
  value.members_ = std::move(members);
  return value;
}

const Json* Json::find(std::string_view key) const {
  for (const Member& member : members_) {
    if (member.first == key) return &member.second;
  }
  return nullptr;
}
Json* Json::find(std::string_view key) { return const_cast<Json*>(std::as_const(*this).find(key)); }

Json& Json::set(std::string_view key, Json value) {
  if (Json* existing = find(key)) return *existing = std::move(value);
  members_.emplace_back(std::string(key), std::move(value));
  return members_.back().second;
}

bool Json::operator==(const Json& other) const {
  if (is_number() && other.is_number()) {
    return is_integer() && other.is_integer() ? integer_ == other.integer_
                                              : number() == other.number();
  }
  if (kind_ != other.kind_ || integer_ != other.integer_ || text_ != other.text_ ||
      items_ != other.items_)
    return false;
  if (members_.size() != other.members_.size()) return false;
  return std::all_of(members_.begin(), members_.end(), [&](const Member& member) {
    const Json* match = other.find(member.first);
    return match != nullptr && *match == member.second;
  });
}

bool Json::fits_on_a_line() const {
  constexpr std::size_t kShort = 8;
  if (items_.size() + members_.size() > kShort) return false;
  const auto plain = [](const Json& value) { return !value.is_array() && !value.is_object(); };
  return std::all_of(items_.begin(), items_.end(), plain) &&
         std::all_of(members_.begin(), members_.end(),
                     [&](const Member& member) { return plain(member.second); });
}

void Json::dump_to(std::string& out, int indent, int depth) const {
  switch (kind_) {
    case Kind::kNull:
      out += "null";
      return;
    case Kind::kBool:
      out += integer_ ? "true" : "false";
      return;
    case Kind::kInteger:
      out += std::to_string(integer_);
      return;
    case Kind::kNumber:
      out += number_text(number_);
      return;
    case Kind::kString:
      out += in_quotes(text_);
      return;
    case Kind::kArray:
    case Kind::kObject:
      break;
  }
  const bool is_list = kind_ == Kind::kArray;
  const std::size_t count = is_list ? items_.size() : members_.size();
  const bool broken = indent >= 0 && count > 0 && (depth == 0 || !fits_on_a_line());
  const auto line = [&](int level) {
    if (broken) out += "\n" + std::string(static_cast<std::size_t>(indent * level), ' ');
  };
  out += is_list ? "[" : "{";
  for (std::size_t i = 0; i < count; ++i) {
    if (i > 0) out += broken ? "," : ", ";
    line(depth + 1);
    if (!is_list) out += in_quotes(members_[i].first) + ": ";
    (is_list ? items_[i] : members_[i].second).dump_to(out, indent, depth + 1);
  }
  line(depth);
  out += is_list ? "]" : "}";
}

std::string Json::dump(int indent) const {
  std::string out;
  dump_to(out, indent, 0);
  return out;
}

Json parse_json(std::string_view text, const std::string& name) {
  if (text.size() > kMaxBytes)
    throw Error(name, "is {} bytes long; configs have at most 1 MiB", text.size());
  int line = 1;
  Builder builder(name, line);
  nlohmann::json::sax_parse(CountingIterator(text.data(), &line),
                            CountingIterator(text.data() + text.size(), &line), &builder,
                            nlohmann::json::input_format_t::json, true, true);
  return builder.take();
}

Json load_json(const std::filesystem::path& file) {
  return parse_json(read_file(file, kMaxBytes), path_text(file));
}

void merge(Json& base, const Json& changes) {
  if (!base.is_object() || !changes.is_object()) {
    base = changes;
    return;
  }
  for (const auto& [key, value] : changes.members()) {
    if (Json* existing = base.find(key)) {
      merge(*existing, value);
    } else {
      base.set(key, value);
    }
  }
}

namespace {

void collect_differences(const Json* before, const Json* after, const std::string& path,
                         std::vector<Difference>& out) {
  if (before != nullptr && after != nullptr && *before == *after) return;
  if (before != nullptr && after != nullptr && before->is_object() && after->is_object()) {
    for (const auto& [key, value] : before->members()) {
      collect_differences(&value, after->find(key), path.empty() ? key : path + "." + key, out);
    }
    for (const auto& [key, value] : after->members()) {
      if (before->find(key) == nullptr)
        collect_differences(nullptr, &value, path.empty() ? key : path + "." + key, out);
    }
    return;
  }
  out.push_back(
      {path, before == nullptr ? "–" : before->dump(-1), after == nullptr ? "–" : after->dump(-1)});
}

/// One step of a path: a key, or a place in an array.
struct PathStep {
  std::string key;
  std::int64_t place = -1;
};

std::vector<PathStep> split_path(std::string_view path) {
  std::vector<PathStep> steps;
  const auto bad = [&] {
    return Error("path", "\"{}\" is not a path like model.generator.blocks[2].width",
                 printable(path));
  };
  std::size_t i = 0;
  while (i < path.size()) {
    if (path[i] == '[') {
      std::int64_t place = 0;
      const auto [end, error] =
          std::from_chars(path.data() + i + 1, path.data() + path.size(), place);
      if (error != std::errc() || end == path.data() + path.size() || *end != ']' || place < 0)
        throw bad();
      steps.push_back({"", place});
      i = static_cast<std::size_t>(end - path.data()) + 1;
    } else {
      if (path[i] == '.') ++i;
      const std::size_t end = std::min(path.find_first_of(".[", i), path.size());
      if (end == i) throw bad();
      steps.push_back({std::string(path.substr(i, end - i)), -1});
      i = end;
    }
  }
  if (steps.empty() || steps.size() > static_cast<std::size_t>(kMaxDepth)) throw bad();
  return steps;
}

}  // namespace

std::vector<Difference> differences(const Json& before, const Json& after) {
  std::vector<Difference> result;
  collect_differences(&before, &after, "", result);
  return result;
}

const Json* find_path(const Json& root, std::string_view path) {
  const Json* at = &root;
  for (const PathStep& step : split_path(path)) {
    if (step.place < 0) {
      at = at->find(step.key);
    } else {
      at = static_cast<std::size_t>(step.place) < at->items().size()
               ? &at->items()[static_cast<std::size_t>(step.place)]
               : nullptr;
    }
    if (at == nullptr) return nullptr;
  }
  return at;
}

void set_path(Json& root, std::string_view path, Json value) {
  Json* at = &root;
  for (const PathStep& step : split_path(path)) {
    if (step.place >= 0) {
      if (!at->is_array() || static_cast<std::size_t>(step.place) >= at->items().size()) {
        throw Error(printable(path), "there is no item {}; the list has {}", step.place,
                    at->items().size());
      }
      at = &at->items()[static_cast<std::size_t>(step.place)];
      continue;
    }
    if (at->is_null()) *at = Json::object();
    if (!at->is_object())
      throw Error(printable(path), "\"{}\" cannot be set inside a value that is not an object",
                  printable(step.key));
    Json* next = at->find(step.key);
    at = next != nullptr ? next : &at->set(step.key, Json());
  }
  *at = std::move(value);
}

Json parse_loosely(std::string_view text) {
  try {
    return parse_json(text, "value");
  } catch (const Error&) {
    return Json(std::string(text));
  }
}

}  // namespace tapestry
