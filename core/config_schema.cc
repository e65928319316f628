// The JSON schema of settings, made by describing them once for each combination of words.
#include <algorithm>
#include <cmath>
#include <map>

#include "core/config.h"

namespace tapestry {
namespace {

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
    const Json written =
        write_fields([&](Fields& f) { f.numbers(key, values, repeat, limits, whole, help); });
    schema.set("default", written.members()[0].second);
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
        const auto same = std::find_if(all.begin(), all.end(), [&, &key = key](Json& other) {
          return merge_words(other, one, key);
        });
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

Json schema_fields(const std::function<void(Fields&)>& describe) {
  Definitions definitions;
  return definitions.finish(SchemaFields::complete(describe, definitions));
}

}  // namespace tapestry
