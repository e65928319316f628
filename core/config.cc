#include "core/config.h"

#include <algorithm>
#include <cmath>

#include "core/text.h"

namespace tapestry {

void Problems::add(const Json& value, const std::string& path, const std::string& problem,
                   const std::string& hint) {
  ++count_;
  if (full()) return;
  std::string text = value.origin().empty() ? "" : value.origin() + ": ";
  text += path.empty() ? "/" : path;
  text += "\n  " + problem;
  if (!hint.empty()) text += "\n  hint: " + hint;
  texts_.push_back(std::move(text));
}

void Problems::throw_if_any() const {
  if (empty()) return;
  std::string all;
  for (const std::string& text : texts_) all += text + "\n";
  if (count_ > texts_.size()) all += format("and {} more\n", count_ - texts_.size());
  throw Error("", "{}{} problem{}; nothing was run.", all, count_, count_ == 1 ? "" : "s");
}

std::string Limits::text(bool whole) const {
  const auto shown = [](double value) {
    return std::abs(value) < 1e15 && value == std::floor(value)
               ? std::to_string(static_cast<std::int64_t>(value))
               : to_text(value);
  };
  // The limits of the C++ type itself are no news to anyone.
  const auto finite = [](double value) { return std::abs(value) < 2e9; };
  std::string text = whole ? "a whole number" : "a number";
  if (finite(min) && finite(max)) return text + " from " + shown(min) + " to " + shown(max);
  std::string joint = " ";
  if (finite(min)) text += joint + "of at least " + shown(min), joint = " and ";
  if (finite(above)) text += joint + "above " + shown(above), joint = " and ";
  if (finite(max)) text += joint + "of at most " + shown(max), joint = " and ";
  if (finite(below)) text += joint + "below " + shown(below);
  return text;
}

namespace {

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

std::string kind_text(const Json& value) {
  switch (value.kind()) {
    case Json::Kind::kNull:
      return "null";
    case Json::Kind::kBool:
      return "true or false";
    case Json::Kind::kInteger:
    case Json::Kind::kNumber:
      return "a number";
    case Json::Kind::kString:
      return "a string";
    case Json::Kind::kArray:
      return "a list";
    case Json::Kind::kObject:
      break;
  }
  return "an object";
}

std::string shown(const Json& value) {
  const std::string text = printable(value.dump(-1));
  return value.is_number() || value.is_null() || value.is_bool()
             ? text
             : text + " (" + kind_text(value) + ")";
}

// Reading
// --------------------------------------------------------------------------------------------------------------

class ReadFields final : public Fields {
 public:
  ReadFields(const Json& object, std::string path, Problems& problems)
      : object_(object), path_(std::move(path)), problems_(problems) {}

  void boolean(std::string_view key, bool& value, std::string_view) override {
    const Json* found = take(key);
    if (found == nullptr) return;
    if (!found->is_bool()) return wrong(key, *found, "true or false");
    value = found->boolean();
  }
  void string(std::string_view key, std::string& value, std::string_view) override {
    const Json* found = take(key);
    if (found == nullptr) return;
    if (!found->is_string()) return wrong(key, *found, "a string");
    if (found->text().find('\0') != std::string::npos)
      return wrong(key, *found, "a string without the character NUL");
    if (!is_utf8(found->text())) return wrong(key, *found, "a string of UTF-8");
    value = found->text();
  }
  void choice(std::string_view key, std::string& value, const std::vector<std::string>& words,
              std::string_view) override {
    const Json* found = take(key);
    if (found == nullptr) return;
    if (!found->is_string()) return wrong(key, *found, "one of " + joined(words));
    if (std::find(words.begin(), words.end(), found->text()) == words.end()) {
      const std::vector<std::string> near = similar(found->text(), words);
      return wrong(key, *found, "one of " + joined(words),
                   near.empty() ? "" : "did you mean \"" + joined(near) + "\"?");
    }
    value = found->text();
  }
  void variant(std::string_view key, std::string& value, const std::vector<std::string>& words,
               std::string_view help) override {
    const std::size_t before = problems_.size();
    choice(key, value, words, help);
    // Without knowing the variant, the other keys cannot be judged.
    if (problems_.size() > before) judged_ = false;
    what_ += (what_.empty() ? "" : ", ") + value;
  }
  void numbers(std::string_view key, std::vector<double>& values, std::size_t repeat,
               const Limits& limits, bool whole, std::string_view) override {
    const Json* found = take(key);
    if (found == nullptr) return;
    std::string wanted = "a list, each " + limits.text(whole);
    if (repeat > 0) wanted = limits.text(whole) + ", or a list of " + std::to_string(repeat);
    const auto fits = [&](const Json& item) {
      return (whole ? item.is_integer() : item.is_number()) && limits.contains(item.number());
    };
    if (found->is_array()) {
      const bool all = std::all_of(found->items().begin(), found->items().end(), fits);
      if (!all || (repeat > 0 && found->items().size() != repeat))
        return wrong(key, *found, wanted);
      values.clear();
      for (const Json& item : found->items()) values.push_back(item.number());
    } else if (repeat > 0 && fits(*found)) {
      values.assign(repeat, found->number());
    } else {
      wrong(key, *found, wanted);
    }
  }
  void json(std::string_view key, Json& value, std::string_view) override {
    if (const Json* found = take(key)) value = *found;
  }
  void required(std::string_view key) override {
    if (object_.is_object() && object_.find(key) == nullptr) {
      problems_.add(object_, path_, "the key \"" + std::string(key) + "\" is missing");
    }
  }
  void problem(std::string_view key, const std::string& text, const std::string& hint) override {
    const Json* found = key.empty() ? nullptr : object_.find(key);
    problems_.add(found != nullptr ? *found : object_, key.empty() ? path_ : below(key), text,
                  hint);
  }
  bool given(std::string_view key) const override { return object_.find(key) != nullptr; }

  /// Reports the keys that nobody asked for.
  void finish() {
    if (!object_.is_object() || !judged_) return;
    for (const auto& [key, value] : object_.members()) {
      if (std::find(known_.begin(), known_.end(), key) != known_.end()) continue;
      const std::vector<std::string> near =
          problems_.full() ? std::vector<std::string>() : similar(key, known_);
      std::string text = "unknown key \"" + printable(key) + "\"";
      if (!what_.empty()) text += " in " + what_;
      if (!near.empty()) text += "; did you mean \"" + joined(near) + "\"?";
      problems_.add(value, below(printable(key)), text + "\n  it takes: " + joined(known_));
    }
  }

 protected:
  void number_field(std::string_view key, double& value, const Limits& limits,
                    std::string_view) override {
    const Json* found = take(key);
    if (found == nullptr) return;
    if (!found->is_number() || !limits.contains(found->number()))
      return wrong(key, *found, limits.text(false), quotes_hint(*found));
    value = found->number();
  }
  void integer_field(std::string_view key, std::int64_t& value, const Limits& limits,
                     std::string_view) override {
    const Json* found = take(key);
    if (found == nullptr) return;
    if (!found->is_integer() || !limits.contains(found->number()))
      return wrong(key, *found, limits.text(true), quotes_hint(*found));
    value = found->integer();
  }
  void nested(std::string_view key, std::string_view, const Describe& describe) override {
    if (const Json* found = take(key)) {
      read_fields(*found, below(key), problems_, describe);
    } else {
      // Defaults may depend on each other, and required keys below must be asked for.
      static const Json nothing = Json::object();
      read_fields(nothing, below(key), problems_, describe);
    }
  }
  void word_or_nested(std::string_view key, std::string_view word_key,
                      const std::vector<std::string>& words, std::string_view help,
                      const Describe& describe) override {
    const Json* found = take(key);
    if (found == nullptr || !found->is_string()) {
      if (found != nullptr && !found->is_object())
        return wrong(
            key, *found,
            "one of " + joined(words) + ", or an object with \"" + std::string(word_key) + "\"");
      return nested(key, help, describe);
    }
    Json object = Json::object({{std::string(word_key), *found}});
    object.set_origin(found->origin());
    read_fields(object, below(key), problems_, describe);
  }
  void list_of(std::string_view key, std::string_view, std::type_index, std::size_t,
               const std::function<void(std::size_t)>& resize,
               const std::function<void(std::size_t, Fields&)>& describe_item,
               const Describe&) override {
    const Json* found = take(key);
    if (found == nullptr) return;
    if (!found->is_array()) return wrong(key, *found, "a list");
    resize(0);  // a list replaces the default, it does not extend it
    resize(found->items().size());
    for (std::size_t i = 0; i < found->items().size(); ++i) {
      read_fields(found->items()[i], below(key) + "/" + std::to_string(i), problems_,
                  [&](Fields& inner) { describe_item(i, inner); });
    }
  }

 private:
  const Json* take(std::string_view key) {
    if (std::find(known_.begin(), known_.end(), key) == known_.end()) known_.emplace_back(key);
    return object_.find(key);
  }
  std::string below(std::string_view key) const { return path_ + "/" + std::string(key); }
  void wrong(std::string_view key, const Json& value, const std::string& wanted,
             const std::string& hint = "") {
    problems_.add(value, below(key), "must be " + wanted + ", but is " + shown(value), hint);
  }
  static std::string quotes_hint(const Json& value) {
    return value.is_string() && parse_loosely(value.text()).is_number() ? "remove the quotes" : "";
  }

  const Json& object_;
  const std::string path_;
  Problems& problems_;
  std::vector<std::string> known_;
  std::string what_;
  bool judged_ = true;
};

// Writing
// --------------------------------------------------------------------------------------------------------------

class WriteFields final : public Fields {
 public:
  void boolean(std::string_view key, bool& value, std::string_view) override {
    result.set(key, value);
  }
  void string(std::string_view key, std::string& value, std::string_view) override {
    result.set(key, value);
  }
  void choice(std::string_view key, std::string& value, const std::vector<std::string>&,
              std::string_view) override {
    result.set(key, value);
  }
  void variant(std::string_view key, std::string& value, const std::vector<std::string>&,
               std::string_view) override {
    result.set(key, value);
  }
  void numbers(std::string_view key, std::vector<double>& values, std::size_t repeat, const Limits&,
               bool whole, std::string_view) override {
    const auto item = [&](double value) {
      return whole ? Json(static_cast<std::int64_t>(value)) : Json(value);
    };
    if (repeat > 0 && !values.empty() &&
        std::all_of(values.begin(), values.end(), [&](double v) { return v == values[0]; })) {
      result.set(key, item(values[0]));
      return;
    }
    Json list = Json::array();
    for (const double value : values) list.push(item(value));
    result.set(key, std::move(list));
  }
  void json(std::string_view key, Json& value, std::string_view) override {
    if (!value.is_null()) result.set(key, value);
  }
  void required(std::string_view) override {}
  void problem(std::string_view, const std::string&, const std::string&) override {}
  bool given(std::string_view) const override { return true; }
  Json result = Json::object();

 protected:
  void number_field(std::string_view key, double& value, const Limits&, std::string_view) override {
    result.set(key, value);
  }
  void integer_field(std::string_view key, std::int64_t& value, const Limits&,
                     std::string_view) override {
    result.set(key, value);
  }
  void nested(std::string_view key, std::string_view, const Describe& describe) override {
    result.set(key, write_fields(describe));
  }
  void word_or_nested(std::string_view key, std::string_view word_key,
                      const std::vector<std::string>&, std::string_view,
                      const Describe& describe) override {
    Json object = write_fields(describe);
    const bool word_only = object.members().size() == 1 && object.members()[0].first == word_key;
    result.set(key, word_only ? object.members()[0].second : object);
  }
  void list_of(std::string_view key, std::string_view, std::type_index, std::size_t count,
               const std::function<void(std::size_t)>&,
               const std::function<void(std::size_t, Fields&)>& describe_item,
               const Describe&) override {
    Json list = Json::array();
    for (std::size_t i = 0; i < count; ++i)
      list.push(write_fields([&](Fields& inner) { describe_item(i, inner); }));
    result.set(key, std::move(list));
  }
};

}  // namespace

void read_fields(const Json& object, const std::string& path, Problems& problems,
                 const std::function<void(Fields&)>& describe) {
  if (!object.is_object()) {
    problems.add(object, path, "must be an object, but is " + shown(object));
    return;
  }
  ReadFields fields(object, path, problems);
  describe(fields);
  fields.finish();
}

Json write_fields(const std::function<void(Fields&)>& describe) {
  WriteFields fields;
  describe(fields);
  return std::move(fields.result);
}

}  // namespace tapestry
