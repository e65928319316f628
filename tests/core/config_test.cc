#include "core/config.h"

#include <string>

#include <doctest/doctest.h>

#include "core/text.h"

using namespace tapestry;

namespace {

struct Inner {
  std::string type = "sgd";
  double lr = 0.1, momentum = 0.9, beta1 = 0.5;
};
void describe(Fields& f, Inner& s) {
  f.variant("type", s.type, {"sgd", "adam"}, "the rule");
  f.number("lr", s.lr, {.above = 0}, "learning rate");
  if (s.type == "sgd") f.number("momentum", s.momentum, {.min = 0, .below = 1});
  if (s.type == "adam") f.number("beta1", s.beta1, {.min = 0, .below = 1});
}

struct Outer {
  std::int64_t batch = 64;
  bool shuffle = true;
  std::string name = "x";
  std::vector<double> kernel{3, 3};
  Inner optimizer;
  std::vector<Inner> list;
};
void describe(Fields& f, Outer& s) {
  f.integer("batch", s.batch, {.min = 1, .max = 4096}, "examples per step");
  f.boolean("shuffle", s.shuffle);
  f.string("name", s.name);
  f.numbers("kernel", s.kernel, 2, {.min = 1}, true);
  f.word_or_object("optimizer", s.optimizer, "type", {"sgd", "adam"});
  f.list("list", s.list);
}

std::string problems_of(const std::string& text) {
  Outer outer;
  Problems problems;
  read_settings(parse_json(text, "c.json"), outer, problems);
  try {
    problems.throw_if_any();
  } catch (const Error& error) {
    CHECK(error.exit_code() == 2);
    return error.what();
  }
  return "";
}

std::string parse_problem(const std::string& text) {
  try {
    parse_json(text, "c.json");
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("config: values are read, absent keys keep their defaults") {
  Outer outer;
  Problems problems;
  read_settings(parse_json(R"({"batch": 8, "kernel": 5, // a comment
    "optimizer": {"type": "adam", "beta1": 0}, "list": [{"momentum": 0.5}, {}]})",
                           "c.json"),
                outer, problems);
  problems.throw_if_any();
  CHECK(outer.batch == 8);
  CHECK(outer.shuffle);
  CHECK(outer.kernel == std::vector<double>{5, 5});
  CHECK(outer.optimizer.type == "adam");
  CHECK(outer.optimizer.beta1 == 0);
  REQUIRE(outer.list.size() == 2);
  CHECK(outer.list[0].momentum == 0.5);
  CHECK(outer.list[1].momentum == 0.9);
}

TEST_CASE("config: every problem is listed with file, line, path and advice") {
  const std::string text = problems_of(
      "{\n\"batch\": \"64\",\n\"optimizer\": {\"type\": \"adam\",\n \"momentun\": 1, \"beta1\": "
      "1},\n\"nmae\": 3}");
  CHECK(has(text,
            "c.json:2: /batch\n  must be a whole number from 1 to 4096, but is \"64\" (a string)\n "
            " hint: remove the quotes"));
  CHECK(has(text, "c.json:4: /optimizer/momentun\n  unknown key \"momentun\" in adam"));
  CHECK(has(text, "/optimizer/beta1\n  must be a number of at least 0 and below 1, but is 1"));
  INFO(text);
  CHECK(has(text,
            "unknown key \"nmae\"; did you mean \"name\"?\n  it takes: batch, shuffle, name, "
            "kernel, optimizer, list"));
  CHECK(has(text, "4 problems; nothing was run."));
}

TEST_CASE("config: wrong kinds and ranges of every sort are refused") {
  CHECK(has(problems_of(R"({"batch": 0})"), "from 1 to 4096, but is 0"));
  CHECK(has(problems_of(R"({"batch": 1.5})"), "a whole number"));
  CHECK(has(problems_of(R"({"shuffle": 1})"), "must be true or false, but is 1"));
  CHECK(has(problems_of(R"({"kernel": [3]})"), "or a list of 2"));
  CHECK(has(problems_of(R"({"optimizer": "adm"})"), "did you mean \"adam\"?"));
  CHECK(has(problems_of(R"({"optimizer": 3})"), "must be one of sgd, adam, or an object"));
  CHECK(has(problems_of(R"({"list": [{}, 7]})"), "/list/1\n  must be an object, but is 7"));
  CHECK(has(problems_of("[]"), "must be an object"));
}

TEST_CASE("json: what is not JSON, or dangerous, is refused with its line") {
  CHECK(has(parse_problem("{\"a\": 1,\n \"a\": 2}"), "c.json:2: the key \"a\" stands twice"));
  CHECK(has(parse_problem("{\"a\": 99999999999999999999}"), "too large for 63 bits"));
  CHECK(has(parse_problem("{\"a\": 18446744073709551615}"), "too large for 63 bits"));
  CHECK(has(parse_problem("{\"a\": 1e999}"), "c.json:1"));
  CHECK(has(parse_problem(std::string(100, '[')), "more than 64 levels"));
  CHECK(has(parse_problem("{\"a\": 1,\n}"), "c.json:2"));
  CHECK(has(parse_problem(""), "not JSON"));
  CHECK(has(parse_problem(std::string(2 << 20, ' ')), "1 MiB"));
}

TEST_CASE("json: hostile sizes cost no time and fill no screen") {
  std::string keys = "{";
  for (int i = 0; i < 90'000; ++i) keys += "\"" + std::to_string(i) + "\":1,\n";
  keys.back() = ' ';
  keys[keys.size() - 2] = '}';
  const std::string text = problems_of(keys);  // each an unknown key; takes minutes if quadratic
  CHECK(has(text, "and 89950 more\n90000 problems; nothing was run."));
  CHECK(text.size() < 20'000);
  CHECK(problems_of("{\"" + std::string(500'000, 'x') + "\": 1}").size() < 500);
  CHECK(has(parse_problem("[" + std::string(1000, '"')), "c.json:1"));
  CHECK(parse_problem("{\"a\": \"" + std::string(1000, 'x') + "\n\"}").size() < 400);
  std::string path = "a";
  for (int i = 0; i < 100'000; ++i) path += ".a";
  Json root = Json::object();
  CHECK_THROWS_AS(set_path(root, path, 1), Error);
}

TEST_CASE("json: what a terminal would obey or cannot show is made visible") {
  CHECK(printable("plain Größe ∂") == "plain Größe ∂");
  CHECK(printable("\x1b[2J\n\x7f") == "\\x1b[2J\\x0a\\x7f");
  CHECK(printable("\xC2\x9B"
                  "2J") == "\\x9b2J");
  CHECK(printable("caf\xE9 \xF0\x9F") == "caf\\xe9 \\xf0\\x9f");
  CHECK(printable(std::string(79, 'x') + "öy") == std::string(79, 'x') + "ö…");
  for (const char* good : {"", "aé∂😀", "\xED\x9F\xBF", "\xF4\x8F\xBF\xBF"}) CHECK(is_utf8(good));
  for (const char* bad : {"\x80", "\xC0\x80", "\xC3", "\xE0\x80\x80", "\xED\xA0\x80",
                          "\xF4\x90\x80\x80", "\xF8\x88\x80\x80\x80", "a\xE2\x82"}) {
    CHECK(!is_utf8(bad));
  }
  CHECK(has(problems_of("{\"na\\u001bme\": 1}"), "unknown key \"na\\x1bme\""));
}

TEST_CASE("config: text and numbers that could not be used or written again are refused") {
  CHECK(has(problems_of(R"({"name": "a\u0000b"})"), "without the character NUL"));
  Outer outer;
  Problems problems;
  read_settings(Json::object({{"name", "caf\xE9"}}), outer, problems);
  CHECK(problems.size() == 1);
  struct Single {
    float value = 1;
  } single;
  Problems more;
  read_fields(parse_json(R"({"value": 1e39})", "t"), "", more,
              [&](Fields& f) { f.number("value", single.value); });
  CHECK(more.size() == 1);
  CHECK(single.value == 1);
}

TEST_CASE("json: text round trips, floats stay readable") {
  const std::string text = R"({"a": [1, 2.5, -0.1], "b": {"c": "x\n\"y\"", "d": null}, "e": true})";
  const Json value = parse_json(text, "t");
  CHECK(parse_json(value.dump(), "t") == value);
  CHECK(value.dump(-1) == text);
  CHECK(Json(0.1f).dump() == "0.1");
  CHECK(Json(1.0).dump() == "1.0");
}

TEST_CASE("json: merging, paths and differences") {
  Json base = parse_json(R"({"a": {"b": 1, "c": [1, 2]}, "d": 3})", "t");
  merge(base, parse_json(R"({"a": {"c": [9]}, "e": 4})", "t"));
  CHECK(base == parse_json(R"({"a": {"b": 1, "c": [9]}, "d": 3, "e": 4})", "t"));
  set_path(base, "a.c[0]", parse_loosely("batch"));
  CHECK(find_path(base, "a.c[0]")->text() == "batch");
  CHECK(find_path(base, "a.x") == nullptr);
  CHECK_THROWS_AS(set_path(base, "a.c[7]", 1), Error);
  CHECK_THROWS_AS(set_path(base, "d.x", 1), Error);
  const std::vector<Difference> changes = differences(
      parse_json(R"({"a": {"b": 1}, "c": 2})", "t"), parse_json(R"({"a": {"b": 2}, "c": 2})", "t"));
  REQUIRE(changes.size() == 1);
  CHECK(changes[0].path == "a.b");
  CHECK(changes[0].before == "1");
  CHECK(changes[0].after == "2");
}

TEST_CASE("config: settings are written out whole and read back equal") {
  Outer outer;
  outer.list.resize(1);
  const Json written = write_settings(outer);
  CHECK(written.find("optimizer")->find("momentum")->number() == 0.9);
  Outer again;
  again.batch = 1;
  Problems problems;
  read_settings(written, again, problems);
  problems.throw_if_any();
  CHECK(write_settings(again) == written);
}

TEST_CASE("config: the schema has one variant per word, with ranges and defaults") {
  const Json schema = schema_of<Outer>();
  const Json* batch = find_path(schema, "properties.batch");
  REQUIRE(batch != nullptr);
  CHECK(batch->find("minimum")->integer() == 1);
  CHECK(batch->find("default")->integer() == 64);
  const Json* choices = find_path(schema, "properties.optimizer.oneOf");
  REQUIRE(choices != nullptr);
  CHECK(choices->items().size() == 3);  // a word, sgd, adam
  CHECK(choices->items()[2].find("properties")->find("beta1") != nullptr);
  CHECK(choices->items()[2].find("properties")->find("momentum") == nullptr);
}

namespace tapestry::testing {
namespace {

// Nests without end, and has two words that decide about keys.
struct Tree {
  std::string kind = "leaf", color = "red";
  double size = 1;
  std::vector<Tree> branches;
};
void describe(Fields& f, Tree& s) {
  f.variant("kind", s.kind, {"twig", "leaf"}, "what it is");
  f.variant("color", s.color, {"red", "green"}, "how it looks");
  if (s.kind == "twig") f.list("branches", s.branches, "what grows on it");
  if (s.color == "green") f.number("size", s.size, {.above = 0}, "in meters");
}
struct Wood {
  Tree first, second;
};
void describe(Fields& f, Wood& s) {
  f.object("first", s.first, "one tree");
  f.object("second", s.second, "another");
}

}  // namespace
}  // namespace tapestry::testing

TEST_CASE("config: the schema says once what stands in several places, and nests without end") {
  const Json schema = schema_of<testing::Wood>();
  const std::string pointer = "#/definitions/branches_item";
  for (const char* tree : {"first", "second"}) {
    const Json* place = find_path(schema, "properties." + std::string(tree));
    REQUIRE(place != nullptr);
    CHECK(place->find("$ref")->text() == pointer);
    CHECK(place->find("description") != nullptr);
  }
  CHECK(schema.find("definitions")->members().size() == 1);
  const Json* variants = find_path(schema, "definitions.branches_item.oneOf");
  REQUIRE(variants != nullptr);
  REQUIRE(variants->items().size() == 4);  // twig or leaf, red or green
  const Json& green_twig = variants->items()[1];
  CHECK(find_path(green_twig, "properties.size") != nullptr);
  CHECK(find_path(green_twig, "properties.branches.items.$ref")->text() == pointer);
  // Only words that differ from the defaults must be written; leaf and red need not.
  CHECK(green_twig.find("required")->items().size() == 2);
  CHECK(variants->items()[2].find("required") == nullptr);
}

TEST_CASE("similar words: typing mistakes are recognized, other words are not") {
  CHECK(similar("kernal", {"kernel", "stride"}) == std::vector<std::string>{"kernel"});
  CHECK(similar("nrom", {"norm", "name"}) == std::vector<std::string>{"norm"});
  CHECK(similar("zzzzzz", {"kernel", "stride"}).empty());
}
