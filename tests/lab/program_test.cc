// The program as a user meets it: what it says to bad input, and that it then exits with 2 (or 3)
// and leaves nothing half done.
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

#include <doctest/doctest.h>
#include <sys/wait.h>

#include "core/file.h"
#include "core/json.h"
#include "examples/lab/settings.h"
#include "tests/support/temp_folder.h"

using namespace tapestry;
namespace fs = std::filesystem;

namespace {

struct Outcome {
  int code = -1;
  std::string text;
};

Outcome run(const std::string& arguments, const std::string& environment = "") {
  const std::string command = environment + " " TAPESTRY_PROGRAM " " + arguments + " 2>&1";
  Outcome outcome;
  std::FILE* pipe = popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  char buffer[4096];
  for (std::size_t n; (n = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;)
    outcome.text.append(buffer, n);
  const int status = pclose(pipe);
  outcome.code = WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + status;
  return outcome;
}

/// Paths below it as text, for command lines.
struct TextFolder : testing::TempFolder {
  std::string operator/(const std::string& name) const { return (path() / name).string(); }
};

const std::string kConfigs = TAPESTRY_SOURCE_DIR "/examples/configs/";

}  // namespace

TEST_CASE("bad input of many kinds gets one clear error and exit code 2") {
  const TextFolder folder;
  write_file(folder / "typo.json",
             "{\"version\": 1, \"task\": \"classify\",\n \"model\": {\"network\": {\"type\": "
             "\"blocks\", \"blocks\": [{\"type\": \"conv\", \"width\": 4, \"kernal\": 3}]}}}");
  write_file(folder / "syntax.json", "{\"version\": 1,\n \"task\": \"gan\",\n}");
  write_file(folder / "twice.json", "{\"version\": 1,\n \"version\": 1}");
  write_file(folder / "shapes.json",
             "{\"version\": 1, \"task\": \"classify\", \"data\": {\"type\": \"shapes\", \"size\": "
             "8}, \"model\": {\"network\": {\"type\": \"blocks\", \"blocks\": [{\"type\": "
             "\"conv\", \"width\": 4, \"kernel\": 9}]}}}");
  write_file(folder / "picture.png", "this is no picture");
  write_file(folder / "half.safetensors", std::string("\x40\0\0\0\0\0\0\0{\"a\":", 13));
  write_file(folder / "t10k.json",
             "{\"version\": 1, \"task\": \"classify\", \"data\": {\"type\": \"cifar10\", "
             "\"folder\": \"nowhere\"}, \"model\": {\"network\": {\"type\": \"blocks\", "
             "\"blocks\": [{\"type\": \"linear\", \"width\": 10}]}}}");
  const std::string modes = kConfigs + "modes.json",
                    quick = " --preset fast --quiet --out " + (folder / "out");
  const struct {
    std::string arguments;
    std::vector<std::string> mentions;
    std::string environment = "";
  } cases[] = {
      {"trian " + modes, {"trian", "did you mean \"train\"?"}},
      {"train " + (folder / "missing.json"), {"missing.json", "No such file"}},
      {"train " + folder / "", {"directory"}},
      {"config " + (folder / "typo.json"),
       {"typo.json:2", "/model/network/blocks/0/kernal", "did you mean \"kernel\"?"}},
      {"config " + (folder / "syntax.json"), {"syntax.json:3", "not JSON"}},
      {"config " + (folder / "twice.json"), {"twice.json:2", "stands twice"}},
      {"config --check " + (folder / "shapes.json"), {"/model/network/blocks/0", "[2, 1, 8, 8]"}},
      {"train " + modes + " --set train.batch='\"64\"'" + quick,
       {"--set train.batch", "/train/batch", "whole number from 1 to 4096", "remove the quotes"}},
      {"train " + modes + " --set train.batch=0" + quick, {"/train/batch", "but is 0"}},
      {"train " + modes + " --set model.nrom=batch" + quick,
       {"model.nrom", "did you mean \"norm\"?"}},
      {"train " + modes + " --preset fats", {"no preset \"fats\"", "fast"}},
      {"config " + (folder / "t10k.json") + " --check", {"data_batch_1.bin", "No such file"}},
      {"stylize " + (folder / "half.safetensors") + " x.png --to " + (folder / "out"),
       {"half.safetensors", "truncated"}},
      {"resume " + (folder / "nothing"), {"nothing", "no run folder"}},
      {"sample " + (folder / "half.safetensors") + " --to " + (folder / "x.png"),
       {"half.safetensors", "truncated"}},
      {"bench fft", {"fft", "gemm"}},
      {"bench dcgna", {"did you mean \"dcgan\"?"}},
      {"bench conv2d --kernl 3", {"kernl", "did you mean \"kernel\"?"}},
      {"bench conv2d --kernel big", {"--kernel", "big", "whole number"}},
      {"info", {"AVX9", "on this processor has"}, "TAPESTRY_SIMD=AVX9"},
      {"train " + modes + " --threads 0", {"--threads"}},
  };
  for (const auto& one : cases) {
    const Outcome outcome = run(one.arguments, one.environment);
    INFO(one.arguments << "\n" << outcome.text);
    CHECK(outcome.code == 2);
    for (const std::string& mention : one.mentions) {
      CAPTURE(mention);
      CHECK(outcome.text.find(mention) != std::string::npos);
    }
    CHECK(outcome.text.find("terminate called") == std::string::npos);
    CHECK_FALSE(fs::exists(folder / "out"));
  }
}

TEST_CASE("an output that cannot be written is an error of the environment, exit code 3") {
  const TextFolder folder;
  write_file(folder / "file", "in the way");
  const Outcome outcome =
      run("train " + kConfigs + "modes.json --preset fast --quiet --out " + (folder / "file/run"));
  INFO(outcome.text);
  CHECK(outcome.code == 3);
  CHECK(outcome.text.find("file") != std::string::npos);
}

TEST_CASE("every example config is right, networks included, with each of its presets") {
  for (const auto& entry : fs::directory_iterator(kConfigs)) {
    if (entry.path().extension() != ".json") continue;
    const Json json = load_json(entry.path());
    std::vector<std::string> presets{"none"};
    REQUIRE(json.find("presets") != nullptr);
    for (const auto& [name, value] : json.find("presets")->members()) presets.push_back(name);
    for (const std::string& preset : presets) {
      CAPTURE(entry.path().string());
      CAPTURE(preset);
      CHECK_NOTHROW(lab::read_config(lab::load_config({entry.path(), preset, {}}),
                                     entry.path().parent_path()));
    }
    const Outcome outcome = run("config --check --preset fast " + entry.path().string());
    INFO(outcome.text);
    CHECK(outcome.code == 0);
  }
}

TEST_CASE("the committed schema is what the program prints") {
  const Outcome outcome = run("schema");
  CHECK(outcome.code == 0);
  CHECK(outcome.text == read_file(TAPESTRY_SOURCE_DIR "/docs/config.schema.json", 16 << 20));
  CHECK(outcome.text.size() < 60'000);  // an editor loads it with every config
}

TEST_CASE("train, sample, export, report and inspect work together, a closed pipe is no crash") {
  const TextFolder folder;
  const std::string config = kConfigs + "dcgan_norms.json", out = folder / "run";
  CHECK(run("train " + config +
            " --preset fast --set train.steps=4 --set train.batch=4 --set evaluate.samples=16 "
            "--quiet --out " +
            out)
            .code == 0);
  CHECK(run("sample " + out + " --count 9 --to " + (folder / "s.png")).code == 0);
  CHECK(run("export " + out + " --to " + (folder / "w.safetensors")).code == 0);
  CHECK(run("inspect " + (folder / "w.safetensors")).text.find("generator.0.conv.weight") !=
        std::string::npos);
  CHECK(run("report " + out).code == 0);
  const Outcome summary = run("inspect " + config);
  CHECK(summary.text.find("ConvTranspose2d(64, 64, kernel 4, no bias)") != std::string::npos);
  CHECK(summary.text.find("per channel (over batch, height, width)") != std::string::npos);
  CHECK(run("config " + config + " | head -n 1").code == 0);
}
