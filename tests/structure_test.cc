// The rules of docs/architecture.md and docs/style.md that a program can check: it reads the source
// tree as text.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "core/json.h"

namespace {

namespace fs = std::filesystem;
using Strings = std::vector<std::string>;

const fs::path kRoot = TAPESTRY_SOURCE_DIR;

bool starts_with(const std::string& text, const std::string& start) {
  return text.starts_with(start);
}
bool ends_with(const std::string& text, const std::string& end) { return text.ends_with(end); }
bool is_header(const std::string& file) { return ends_with(file, ".h"); }
bool is_code(const std::string& file) { return is_header(file) || ends_with(file, ".cc"); }
/// SIMD code that is included once per target; not a header for users.
bool is_inline_code(const std::string& file) { return ends_with(file, "-inl.h"); }

std::string read(const std::string& file) {
  std::ifstream in(kRoot / file, std::ios::binary);
  REQUIRE_MESSAGE(in, file << " cannot be read");
  return {std::istreambuf_iterator<char>(in), {}};
}

/// Text files of the project, relative to the root.
Strings project_files() {
  Strings files;
  for (const char* name : {"README.md", "CMakeLists.txt", "CMakePresets.json", ".ci/run"}) {
    if (fs::exists(kRoot / name)) files.emplace_back(name);
  }
  const std::set<std::string> kinds = {".cc", ".h",  ".md",   ".txt", ".cmake",
                                       ".sh", ".py", ".json", ".in"};
  for (const char* folder : {"core", "layers", "optim", "datasets", "examples", "tests", "docs"}) {
    for (const auto& entry : fs::recursive_directory_iterator(kRoot / folder)) {
      if (entry.is_regular_file() && kinds.count(entry.path().extension().string()) != 0)
        files.push_back(entry.path().lexically_relative(kRoot).generic_string());
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

Strings code_files() {
  Strings files = project_files();
  std::erase_if(files, [](const std::string& file) { return !is_code(file); });
  REQUIRE(files.size() > 50);  // else the walk above looks in the wrong place
  return files;
}

Strings lines_of(const std::string& text) {
  Strings lines;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

struct Include {
  std::string file;
  bool quoted;  // "core/tape.h" rather than <vector>
};

std::vector<Include> includes_of(const std::string& file) {
  static const std::regex kInclude(R"(^\s*#\s*include\s*([<"])([^>"]+)[>"])");
  std::vector<Include> includes;
  for (const std::string& line : lines_of(read(file))) {
    std::smatch match;
    if (std::regex_search(line, match, kInclude)) includes.push_back({match[2], match[1] == "\""});
  }
  return includes;
}

/// The longest of the architecture's folders that holds the file.
std::string folder_of(const std::string& file) {
  for (const char* folder : {"core/kernels/", "core/ops/", "core/", "layers/", "optim/",
                             "datasets/", "examples/lab/", "examples/", "tests/"}) {
    if (starts_with(file, folder)) return folder;
  }
  return "";
}

bool any_start(const Strings& starts, const std::string& text) {
  return std::any_of(starts.begin(), starts.end(),
                     [&](const std::string& start) { return starts_with(text, start); });
}

}  // namespace

TEST_CASE("structure: includes point downward") {
  const std::map<std::string, Strings> allowed = {
      {"core/kernels/",
       {"core/kernels/", "core/real.h", "core/parallel.h", "core/memory.h", "hwy/"}},
      {"core/", {"core/"}},
      {"core/ops/", {"core/"}},
      {"layers/", {"core/", "layers/"}},
      {"optim/", {"core/", "optim/"}},
      {"datasets/", {"core/", "datasets/"}},
      {"examples/lab/", {"core/", "layers/", "optim/", "datasets/", "examples/lab/"}},
      {"examples/", {"core/", "layers/", "optim/", "datasets/", "examples/"}},
      {"tests/", {"core/", "layers/", "optim/", "datasets/", "examples/", "tests/"}},
  };
  // core.h is the header for users. Adding up the gradients that meet at a value must itself be
  // recorded, so the tape calls an op.
  const std::set<std::string> may_call_ops = {"core/core.h", "core/tape.cc"};
  for (const std::string& file : code_files()) {
    const std::string folder = folder_of(file);
    REQUIRE_MESSAGE(allowed.count(folder) == 1, file << " lies outside the known folders");
    for (const Include& include : includes_of(file)) {
      if (!include.quoted) continue;
      INFO(file << " includes \"" << include.file << "\"");
      CHECK_MESSAGE(any_start(allowed.at(folder), include.file),
                    "not allowed by docs/architecture.md");
      if (folder == "core/" && may_call_ops.count(file) == 0)
        CHECK_MESSAGE(!starts_with(include.file, "core/ops/"), "the engine knows no ops");
      if (!starts_with(include.file, "hwy/"))
        CHECK_MESSAGE(fs::exists(kRoot / include.file), "includes are written from the root");
    }
  }
}

TEST_CASE("structure: other people's libraries come in through one door each") {
  struct Door {
    std::regex header;
    std::function<bool(const std::string& file)> open;
  };
  const Door doors[] = {
      {std::regex("^hwy/"),
       [](const std::string& file) {
         return starts_with(file, "core/kernels/") &&
                (ends_with(file, ".cc") || is_inline_code(file));
       }},
      {std::regex("^nlohmann/"),
       [](const std::string& file) {
         return file == "core/config.cc" || file == "core/checkpoint.cc" ||
                std::regex_match(file, std::regex(R"(core/json\w*\.cc)"));
       }},
      {std::regex("^(stb/)?stb_"), [](const std::string& file) { return file == "core/image.cc"; }},
      {std::regex("^doctest/"),
       [](const std::string& file) { return starts_with(file, "tests/"); }},
      {std::regex("^CLI/"),
       [](const std::string& file) {
         return std::regex_match(file, std::regex(R"(examples/tapestry\w*\.cc)"));
       }},
  };
  const std::regex standard("^([a-z_0-9]+|(sys|arpa|netinet)/[a-z_]+\\.h|[a-z]+\\.h)$");
  for (const std::string& file : code_files()) {
    for (const Include& include : includes_of(file)) {
      INFO(file << " includes " << include.file);
      bool known = std::regex_search(include.file, standard) || !folder_of(include.file).empty();
      for (const Door& door : doors) {
        if (!std::regex_search(include.file, door.header)) continue;
        known = true;
        CHECK_MESSAGE(door.open(file), "that library has its own door");
        if (is_header(file) && !is_inline_code(file))
          CHECK_MESSAGE(starts_with(file, "tests/"),
                        "headers stay free of other people's libraries");
      }
      CHECK_MESSAGE(known, "neither ours, nor standard, nor one of the five libraries");
    }
  }
}

TEST_CASE("structure: include guards are named after the file") {
  for (const std::string& file : code_files()) {
    if (!is_header(file)) continue;
    std::string guard = "TAPESTRY_" + file + "_";
    std::transform(guard.begin(), guard.end(), guard.begin(), [](unsigned char c) {
      return std::isalnum(c) ? static_cast<char>(std::toupper(c)) : '_';
    });
    const std::string text = read(file);
    INFO(file << " should be guarded by " << guard);
    CHECK(text.find("#define " + guard + "\n") != std::string::npos);
    if (!is_inline_code(file)) CHECK(text.find("#ifndef " + guard + "\n") != std::string::npos);
    CHECK_MESSAGE(starts_with(text, "//"), "begins with what the header is for");
  }
}

TEST_CASE("structure: no paths of one machine, American spelling") {
  // In two parts, so that this file does not find itself.
  const Strings machine = {
      "/wo"
      "rk/",
      "/far"
      "m/",
      "/ho"
      "me/",
      "/ro"
      "ot/"};
  const Strings british = {
      "normali"
      "se",
      "normali"
      "sa",
      "optimi"
      "se",
      "behavi"
      "our",
      "initiali"
      "se",
      "colo"
      "ur",
      "neighbo"
      "ur"};
  for (const std::string& file : project_files()) {
    std::string text = read(file);
    for (const std::string& path : machine)
      CHECK_MESSAGE(text.find(path) == std::string::npos, file << " names " << path);
    std::transform(text.begin(), text.end(), text.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    for (const std::string& word : british)
      CHECK_MESSAGE(text.find(word) == std::string::npos, file << " spells " << word);
  }
}

TEST_CASE("structure: names of test cases hold no semicolon") {
  // CTest's list of tests ends a name there; then nothing would run, and pass.
  static const std::regex kSemicolon(R"(^TEST_CASE[A-Z_]*\("[^"]*;)");
  for (const std::string& file : code_files()) {
    for (const std::string& line : lines_of(read(file)))
      CHECK_MESSAGE(!std::regex_search(line, kSemicolon), file << ": " << line);
  }
}

TEST_CASE("structure: core.h and layers.h are complete") {
  // Made for ops, and for configs: not for programs.
  const std::set<std::string> special = {"core/ops/pointwise.h", "core/ops/rows.h",
                                         "layers/builder.h", "layers/layers.h"};
  const std::string core = read("core/core.h"), layers = read("layers/layers.h");
  for (const std::string& file : code_files()) {
    if (!is_header(file) || special.count(file) != 0) continue;
    const std::string line = "#include \"" + file + "\"\n";
    if (starts_with(file, "core/ops/")) CHECK_MESSAGE(core.find(line) != std::string::npos, file);
    if (starts_with(file, "layers/")) CHECK_MESSAGE(layers.find(line) != std::string::npos, file);
  }
}

TEST_CASE("structure: every op is tested and listed in docs/ops.md") {
  const std::regex declaration(
      R"(^(?:Tensor|std::vector<Tensor>|std::vector<std::int32_t>) (\w+)\()");
  std::set<std::string> ops;
  std::string tests;
  for (const std::string& file : code_files()) {
    if (starts_with(file, "tests/")) tests += read(file);
    // core/ops/pointwise.h holds what ops are made with.
    if (!starts_with(file, "core/ops/") || !is_header(file) || file == "core/ops/pointwise.h")
      continue;
    for (const std::string& line : lines_of(read(file))) {
      std::smatch match;
      if (line == "namespace detail {") break;  // the rest is for other ops
      if (std::regex_search(line, match, declaration)) ops.insert(match[1]);
    }
  }
  REQUIRE(ops.size() > 60);
  const std::string listed = read("docs/ops.md");
  for (const std::string& op : ops) {
    const std::regex call("\\b" + op + "\\b");
    CHECK_MESSAGE(std::regex_search(tests, call), op << " is in no test");
    CHECK_MESSAGE(std::regex_search(listed, std::regex("`" + op + "`")),
                  op << " is not in docs/ops.md");
  }
}

TEST_CASE("structure: the README shows the program that the tests build") {
  CHECK(read("README.md").find("```cpp\n" + read("tests/readme/example.cc") + "```\n") !=
        std::string::npos);
}

TEST_CASE("structure: every shipped config is JSON") {
  for (const std::string& file : project_files()) {
    if (!starts_with(file, "examples/configs/") || !ends_with(file, ".json")) continue;
    CHECK_NOTHROW_MESSAGE(tapestry::parse_json(read(file), file), file);
  }
}

TEST_CASE("structure: links between pages lead somewhere") {
  const std::regex link(R"(\]\(([^)#:]+)(#[^)]*)?\))");
  for (const std::string& file : project_files()) {
    if (!ends_with(file, ".md")) continue;
    const std::string text =
        std::regex_replace(read(file), std::regex("```[^`]*```"), "");  // no code
    for (std::sregex_iterator match(text.begin(), text.end(), link), end; match != end; ++match) {
      const std::string target = (*match)[1];
      CHECK_MESSAGE(fs::exists(kRoot / fs::path(file).parent_path() / target),
                    file << " links to " << target);
    }
  }
}

TEST_CASE("structure: a file holds one idea") {
  constexpr std::size_t kSuspicious = 600;  // lines; a person reads about this much in a sitting
  constexpr std::size_t kTooLong = 1200;
  for (const std::string& file : code_files()) {
    const std::size_t lines = lines_of(read(file)).size();
    if (lines > kSuspicious) MESSAGE(file << " has " << lines << " lines: two ideas?");
    CHECK_MESSAGE(lines <= kTooLong, file << " has " << lines << " lines");
  }
}
