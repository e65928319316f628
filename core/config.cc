#include "core/config.h"

#include <algorithm>
#include <cmath>
#include <map>

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

// Schema
// ---------------------------------------------------------------------------------------------------------------

/// Schemas that stand in several places: written once under "definitions" and pointed to.
class Definitions {
 public:
  /// A pointer to `schema`, under `name` or, if that is taken by another, `name` with a number.
  Json share(std::string_view name, Json schema) {
    for (const auto& [known, content] : all_) {
      if (content == schema) return pointer(known);
    }
    all_.emplace_back(unused(name), std::move(schema));
    return pointer(all_.back().first);
  }
  /// A pointer to the schema of a list's items, which may hold such a list themselves: it can be
  /// pointed to while it is still being made.
  Json item(std::string_view list, std::type_index type, const std::function<Json()>& make) {
    const auto known = items_.find(type);
    if (known != items_.end()) return pointer(known->second);
    const std::string name = unused(std::string(list) + "_item");
    items_.emplace(type, name);
    const std::size_t place = all_.size();
    all_.emplace_back(name, Json());
    Json schema = make();
    all_[place].second = std::move(schema);
    return pointer(name);
  }
  /// `root` with the definitions it needs; what only one place points to stands in that place.
  Json finish(Json root) {
    count(root);
    for (const auto& [name, schema] : all_) count(schema);
    root = resolve(root);
    Json used = Json::object();
    for (const auto& [name, schema] : all_) {
      if (uses_[name] > 1) used.set(name, resolve(schema));
    }
    if (!used.members().empty()) root.set("definitions", std::move(used));
    return root;
  }

 private:
  static constexpr std::string_view kPlace = "#/definitions/";

  static Json pointer(const std::string& name) {
    return Json::object({{"$ref", std::string(kPlace) + name}});
  }
  const Json* find(std::string_view name) const {
    const auto found = std::find_if(all_.begin(), all_.end(),
                                    [&](const Json::Member& m) { return m.first == name; });
    return found == all_.end() ? nullptr : &found->second;
  }
  std::string unused(std::string_view name) const {
    std::string candidate(name);
    for (int k = 2; find(candidate) != nullptr; ++k)
      candidate = std::string(name) + "_" + std::to_string(k);
    return candidate;
  }
  void count(const Json& schema) {
    for (const Json& item : schema.items()) count(item);
    for (const auto& [key, value] : schema.members()) {
      if (key == "$ref" && value.is_string()) ++uses_[value.text().substr(kPlace.size())];
      count(value);
    }
  }
  Json resolve(const Json& schema) const {
    if (const Json* ref = schema.find("$ref"); ref != nullptr && ref->is_string()) {
      const std::string name = ref->text().substr(kPlace.size());
      // A description beside "$ref" is for people; what validates ignores it.
      if (uses_.at(name) > 1) return schema;
      Json result = resolve(*find(name));
      for (const auto& [key, value] : schema.members()) {
        if (key != "$ref") result.set(key, value);
      }
      return result;
    }
    Json result = schema;
    for (Json& item : result.items()) item = resolve(item);
    for (auto& [key, value] : result.members()) value = resolve(value);
    return result;
  }

  std::vector<Json::Member> all_;
  std::map<std::type_index, std::string> items_;
  std::map<std::string, int> uses_;
};

class SchemaFields final : public Fields {
 public:
  /// `words`: for each variant that was asked for so far, which of its words to follow.
  SchemaFields(std::vector<std::string> words, Definitions& definitions)
      : words_(std::move(words)), definitions_(definitions) {}

  void boolean(std::string_view key, bool& value, std::string_view help) override {
    add(key, Json::object({{"type", "boolean"}, {"default", value}}), help);
  }
  void string(std::string_view key, std::string& value, std::string_view help) override {
    add(key, Json::object({{"type", "string"}, {"default", value}}), help);
  }
  void choice(std::string_view key, std::string& value, const std::vector<std::string>& words,
              std::string_view help) override {
    add(key, Json::object({{"enum", list(words)}, {"default", value}}), help);
  }
  void variant(std::string_view key, std::string& value, const std::vector<std::string>& words,
               std::string_view help) override {
    const std::string standard = value;
    if (asked_ == words_.size()) {
      words_.push_back(words.front());
      choices_.emplace_back(key, words);
    }
    changed_.emplace_back(&value, value);
    value = words_[asked_++];
    add(key, Json::object({{"enum", list({value})}}), help);
    if (value != standard) need(key);
  }
  void numbers(std::string_view key, std::vector<double>& values, std::size_t repeat,
               const Limits& limits, bool whole, std::string_view help) override {
    Json array = Json::object({{"type", "array"}, {"items", number_schema(limits, whole)}});
    if (repeat > 0) {
      array.set("minItems", static_cast<std::int64_t>(repeat));
      array.set("maxItems", static_cast<std::int64_t>(repeat));
    }
    Json schema =
        repeat > 0 ? Json::object({{"oneOf", Json::array({number_schema(limits, whole), array})}})
                   : array;
    WriteFields writer;
    writer.numbers(key, values, repeat, limits, whole, help);
    schema.set("default", writer.result.members()[0].second);
    add(key, std::move(schema), help);
  }
  void json(std::string_view key, Json&, std::string_view help) override {
    add(key, Json::object(), help);
  }
  void required(std::string_view key) override { need(key); }
  void problem(std::string_view, const std::string&, const std::string&) override {}
  bool given(std::string_view) const override { return true; }

  Json result() const {
    Json schema = Json::object(
        {{"type", "object"}, {"additionalProperties", false}, {"properties", properties_}});
    if (!required_.items().empty()) schema.set("required", required_);
    return schema;
  }
  /// One schema, or one for each combination of words that take the same keys.
  static Json complete(const Describe& describe, Definitions& definitions) {
    std::vector<Json> all = follow(describe, definitions, {});
    return all.size() == 1 ? all[0] : Json::object({{"oneOf", Json::array(std::move(all))}});
  }

 protected:
  void number_field(std::string_view key, double& value, const Limits& limits,
                    std::string_view help) override {
    Json schema = number_schema(limits, false);
    schema.set("default", value);
    add(key, std::move(schema), help);
  }
  void integer_field(std::string_view key, std::int64_t& value, const Limits& limits,
                     std::string_view help) override {
    Json schema = number_schema(limits, true);
    schema.set("default", value);
    add(key, std::move(schema), help);
  }
  void nested(std::string_view key, std::string_view help, const Describe& describe) override {
    add(key, definitions_.share(key, complete(describe, definitions_)), help);
  }
  void word_or_nested(std::string_view key, std::string_view, const std::vector<std::string>& words,
                      std::string_view help, const Describe& describe) override {
    Json choices = Json::array({Json::object({{"enum", list(words)}})});
    const Json object = complete(describe, definitions_);
    if (const Json* variants_of = object.find("oneOf")) {
      for (const Json& one : variants_of->items()) choices.push(one);
    } else {
      choices.push(object);
    }
    add(key, definitions_.share(key, Json::object({{"oneOf", std::move(choices)}})), help);
  }
  void list_of(std::string_view key, std::string_view help, std::type_index type, std::size_t,
               const std::function<void(std::size_t)>&,
               const std::function<void(std::size_t, Fields&)>&,
               const Describe& describe_blank) override {
    const Json item =
        definitions_.item(key, type, [&] { return complete(describe_blank, definitions_); });
    add(key, Json::object({{"type", "array"}, {"items", item}}), help);
  }

 private:
  static std::vector<Json> follow(const Describe& describe, Definitions& definitions,
                                  std::vector<std::string> words) {
    SchemaFields fields(words, definitions);
    describe(fields);
    for (const auto& [value, standard] : fields.changed_) *value = standard;
    if (fields.words_.size() == words.size()) return {fields.result()};
    std::vector<Json> all;
    const auto& [key, choices] = fields.choices_.front();
    words.emplace_back();
    for (const std::string& word : choices) {
      words.back() = word;
      for (const Json& one : follow(describe, definitions, words)) {
        const auto same = std::find_if(all.begin(), all.end(),
                                       [&](Json& other) { return merge_words(other, one, key); });
        if (same == all.end()) all.push_back(one);
      }
    }
    return all;
  }
  /// Adds the words that `other` allows under `key` to those of `schema`, if that is all in which
  /// they differ.
  static bool merge_words(Json& schema, const Json& other, const std::string& key) {
    const auto without_words = [&](Json object) {
      object.find("properties")->find(key)->set("enum", Json::array());
      if (Json* names = object.find("required")) {
        std::erase(names->items(), Json(key));
        if (names->items().empty())
          std::erase_if(object.members(),
                        [](const Json::Member& m) { return m.first == "required"; });
      }
      return object;
    };
    const auto needs = [&](const Json& object) {
      const Json* names = object.find("required");
      return names != nullptr && std::find(names->items().begin(), names->items().end(),
                                           Json(key)) != names->items().end();
    };
    Json both = without_words(schema);
    if (!(both == without_words(other))) return false;
    Json words = list({});
    for (const Json* from : {static_cast<const Json*>(&schema), &other}) {
      for (const Json& word : from->find("properties")->find(key)->find("enum")->items())
        words.push(word);
    }
    both.find("properties")->find(key)->set("enum", std::move(words));
    if (needs(schema) && needs(other)) {
      if (both.find("required") == nullptr) both.set("required", Json::array());
      both.find("required")->push(key);
    }
    schema = std::move(both);
    return true;
  }
  static Json list(const std::vector<std::string>& words) {
    Json array = Json::array();
    for (const std::string& word : words) array.push(word);
    return array;
  }
  static Json number_schema(const Limits& limits, bool whole) {
    Json schema = Json::object({{"type", whole ? "integer" : "number"}});
    const auto bound = [&](const char* name, double value) {
      if (std::abs(value) < 2e9)
        schema.set(name, value == std::floor(value) ? Json(static_cast<std::int64_t>(value))
                                                    : Json(value));
    };
    bound("minimum", limits.min);
    bound("maximum", limits.max);
    bound("exclusiveMinimum", limits.above);
    bound("exclusiveMaximum", limits.below);
    return schema;
  }
  void need(std::string_view key) {
    const Json name{std::string(key)};
    std::vector<Json>& names = required_.items();
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  void add(std::string_view key, Json schema, std::string_view help) {
    if (!help.empty()) schema.set("description", std::string(help));
    if (schema.find("$ref") == nullptr && schema.dump(-1).size() > kShared)
      schema = definitions_.share(key, std::move(schema));
    properties_.set(key, std::move(schema));
  }

  // Shorter ones are read more easily where they stand.
  static constexpr std::size_t kShared = 140;

  std::vector<std::string> words_;
  // Of the variants beyond the given words: key and words.
  std::vector<std::pair<std::string, std::vector<std::string>>> choices_;
  std::size_t asked_ = 0;
  std::vector<std::pair<std::string*, std::string>> changed_;  // with the defaults they had
  Definitions& definitions_;
  Json properties_ = Json::object(), required_ = Json::array();
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

Json schema_fields(const std::function<void(Fields&)>& describe) {
  Definitions definitions;
  return definitions.finish(SchemaFields::complete(describe, definitions));
}

}  // namespace tapestry
