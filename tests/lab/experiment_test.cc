// Short trainings of every task to a stated threshold; interrupted and resumed is uninterrupted,
// bit for bit; any number of threads gives the same weights.
#include "examples/lab/experiment.h"

#include <cstdlib>
#include <string>

#include <doctest/doctest.h>

#include "core/checkpoint.h"
#include "core/error.h"
#include "core/file.h"
#include "core/parallel.h"
#include "examples/lab/compare.h"
#include "examples/lab/task.h"
#include "tests/support/temp_folder.h"

using namespace tapestry;
using namespace tapestry::lab;
using testing::TempFolder;
namespace fs = std::filesystem;

namespace {

ExperimentSetting setting(const std::string& text) {
  return read_config(parse_json(text, "test"), ".");
}

const char* const kClassify =
    R"({"version": 1, "name": "c", "task": "classify", "data": {"type": "shapes", "count": 600, "size": 16},
  "model": {"norm": "batch", "network": {"type": "blocks", "blocks": [
    {"type": "conv", "width": 8, "padding": 1, "activation": "relu"}, {"type": "max_pool"}, {"type": "dropout", "probability": 0.1},
    {"type": "conv", "width": 16, "padding": 1, "activation": "relu"}, {"type": "flatten"}, {"type": "linear", "width": 4, "norm": "none"}]}},
  "optimizer": {"type": "adam", "lr": 0.004}, "train": {"steps": 100, "batch": 32}, "evaluate": {"every": 25, "samples": 120}})";

const char* const kGan =
    R"({"version": 1, "name": "g", "task": "gan", "data": {"type": "ring", "count": 4000},
  "model": {"norm": "none", "latent": 2, "generator": {"type": "mlp", "norm": "batch", "widths": [64, 64, 2]},
    "discriminator": {"type": "mlp", "norm": "layer", "widths": [64, 64, 1], "activation": "leaky_relu"}},
  "loss": {"type": "wasserstein", "gradient_penalty": 1},
  "optimizer": {"generator": {"type": "adam", "lr": 0.002, "beta1": 0.5}, "discriminator": {"type": "adam", "lr": 0.002, "beta1": 0.5}},
  "train": {"steps": 40, "batch": 64, "ema": 0.9, "discriminator_steps": 2}, "evaluate": {"every": 10, "samples": 500, "batch_norm": "batch"}})";

const char* const kStyle =
    R"({"version": 1, "name": "s", "task": "style", "data": {"count": 16, "size": 32, "style": "checks"},
  "model": {"norm": "instance", "transformer": {"type": "johnson", "width": 4, "residual_blocks": 1}},
  "optimizer": {"type": "adam", "lr": 0.01}, "train": {"steps": 40, "batch": 4}, "evaluate": {"every": 20}, "log": {"samples_every": 40}})";

double figure(const Figures& figures, const std::string& name) {
  for (const auto& [key, value] : figures) {
    if (key == name) return value;
  }
  FAIL("no figure " << name);
  return 0;
}

/// The hash of all weights after `steps` steps.
std::string final_hash(const fs::path& folder) {
  return load_json(folder / "status.json").find("weights_hash")->text();
}

}  // namespace

TEST_CASE("classify: four shapes are told apart after 100 steps") {
  const auto task = make_task(setting(kClassify));
  const double before = figure(task->evaluate(), "test_accuracy");
  for (std::int64_t step = 0; step < 100; ++step) task->step(step);
  CHECK(before < 0.5);
  CHECK(figure(task->evaluate(), "test_accuracy") > 0.8);  // chance is 0.25; it reaches about 0.95
}

TEST_CASE("gan: a non-saturating game on the ring finds several modes") {
  Json json = parse_json(kGan, "test");
  set_path(json, "loss", parse_json(R"({"type": "nonsaturating"})", "test"));
  set_path(json, "train", parse_json(R"({"steps": 600, "batch": 128})", "test"));
  const auto task = make_task(read_config(json, "."));
  for (std::int64_t step = 0; step < 600; ++step) task->step(step);
  CHECK(figure(task->evaluate(), "modes") >= 3);
}

TEST_CASE("style: 40 steps lower the held-out judge's sum") {
  const auto task = make_task(setting(kStyle));
  const double before = figure(task->evaluate(), "total");
  for (std::int64_t step = 0; step < 40; ++step) task->step(step);
  CHECK(figure(task->evaluate(), "total") < 0.8 * before);
}

TEST_CASE("interrupted and resumed equals uninterrupted, bit for bit, for every task") {
  for (const char* text : {kClassify, kGan, kStyle}) {
    const TempFolder folder;
    ExperimentSetting whole = setting(text), half = whole;
    half.train.steps = whole.train.steps / 2;
    CAPTURE(whole.task);
    REQUIRE(run_experiment(whole, folder / "whole", {.quiet = true}) == RunStatus::kDone);
    REQUIRE(run_experiment(half, folder / "halves", {.quiet = true}) == RunStatus::kDone);
    REQUIRE(run_experiment(whole, folder / "halves", {.quiet = true, .resume = true}) ==
            RunStatus::kDone);
    CHECK(final_hash(folder / "whole") == final_hash(folder / "halves"));
    // Optimizer moments, averages and random streams as well.
    const Checkpoint a = load_checkpoint(last_checkpoint(folder / "whole")),
                     b = load_checkpoint(last_checkpoint(folder / "halves"));
    REQUIRE(a.tensors.size() == b.tensors.size());
    for (std::size_t i = 0; i < a.tensors.size(); ++i) {
      CAPTURE(a.tensors[i].name);
      CHECK(std::equal(a.tensors[i].value.data().begin(), a.tensors[i].value.data().end(),
                       b.tensors[i].value.data().begin()));
    }
    for (const char* key : {"rng.latent", "rng.penalty", "loader"}) {
      if (a.texts.count(key) != 0) CHECK(a.text(key) == b.text(key));
    }
    CHECK(fs::exists(folder / "whole/report.html"));
  }
}

TEST_CASE("the same weights at 1, 2, 3 and 7 threads, for every task") {
  const int before = threads();
  for (const char* text : {kClassify, kGan, kStyle}) {
    std::string first;
    for (const int n : {1, 2, 3, 7}) {
      const TempFolder folder;
      ExperimentSetting one = setting(text);
      one.train.steps = 10;
      one.train.threads = n;
      run_experiment(one, folder / "run", {.quiet = true, .report = false});
      const std::string hash = final_hash(folder / "run");
      if (first.empty()) first = hash;
      CAPTURE(one.task);
      CHECK(hash == first);
    }
    MESSAGE("weights hash " << first << " at 1, 2, 3 and 7 threads");
  }
  set_threads(before);
}

TEST_CASE(
    "a loss that is not finite ends the run as diverged, with the step, and the folder stays "
    "whole") {
  const TempFolder folder;
  ExperimentSetting wild = setting(kClassify);
  wild.classify.optimizer.rule.type = "sgd";
  wild.classify.optimizer.rule.sgd.lr = 1e30;
  CHECK(run_experiment(wild, folder / "run", {.quiet = true}) == RunStatus::kDiverged);
  const LoadedRun run = load_run(folder / "run");
  CHECK(run.record.status == RunStatus::kDiverged);
  CHECK(run.record.remark.find("step") != std::string::npos);
}

TEST_CASE(
    "an existing run is not overwritten, a changed config is not resumed, a damaged checkpoint "
    "falls back") {
  const TempFolder folder;
  ExperimentSetting one = setting(kClassify);
  one.train.steps = 50;
  run_experiment(one, folder / "run", {.quiet = true});
  CHECK_THROWS_WITH_AS(run_experiment(one, folder / "run", {.quiet = true}),
                       doctest::Contains("--overwrite"), Error);
  ExperimentSetting other = one;
  other.train.batch = 16;
  CHECK_THROWS_WITH_AS(run_experiment(other, folder / "run", {.quiet = true, .resume = true}),
                       doctest::Contains("train.batch: 32"), Error);
  // The newest checkpoint is cut off: the one before it is found.
  const fs::path newest = last_checkpoint(folder / "run");
  write_file(newest, read_file(newest, 1 << 26).substr(0, 5000));
  std::string remark;
  CHECK(last_checkpoint(folder / "run", &remark) != newest);
  CHECK(remark.find("truncated") != std::string::npos);
}

TEST_CASE("compare: every cell and seed runs once, repeats are kept, the page names them all") {
  const TempFolder folder;
  Json json = parse_json(kClassify, "test");
  set_path(json, "train.steps", 10);
  set_path(json, "evaluate.every", 5);
  json.set(
      "compare",
      parse_json(
          R"({"grid": {"model.norm": ["batch", "none", {"type": "group", "groups": 2}]}, "seeds": [1, 2]})",
          "test"));
  REQUIRE(run_comparison(json, ".", folder / "all", {.quiet = true}) == RunStatus::kDone);
  const Comparison page = load_comparison(folder / "all");
  CHECK(page.runs.size() == 6);
  CHECK(page.cells == std::vector<std::string>{"norm=batch", "norm=none", "norm=group"});
  CHECK(page.runs[0].seed == 1);  // the seed is outermost
  CHECK(page.runs[5].seed == 2);
  const auto written = fs::last_write_time(folder / "all/norm=batch,seed=1/status.json");
  run_comparison(json, ".", folder / "all", {.quiet = true});
  CHECK(fs::last_write_time(folder / "all/norm=batch,seed=1/status.json") == written);
  const std::string html = read_file(folder / "all/report.html", 1 << 26);
  for (const char* word : {"batch", "none", "group"}) CHECK(html.find(word) != std::string::npos);
}
