// The program: trains, compares, resumes, samples, stylizes, inspects. Everything it does is in
// examples/lab; here are the command line and the exit codes.
//   0 done · 1 a check failed · 2 bad input · 3 environment (data, disk, memory) · 4 diverged · 5 a
//   bug of ours · 130 interrupted, checkpoint saved
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <new>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "core/error.h"
#include "core/file.h"
#include "core/image.h"
#include "core/kernels/simd_info.h"
#include "core/parallel.h"
#include "core/text.h"
#include "examples/lab/bench.h"
#include "examples/lab/compare.h"
#include "examples/lab/experiment.h"
#include "examples/lab/progress.h"
#include "examples/lab/sample.h"
#include "examples/lab/style.h"
#include "examples/lab/task.h"

namespace {

using namespace tapestry;
using namespace tapestry::lab;
namespace fs = std::filesystem;

/// What the commands read their options into.
struct Arguments {
  std::string config, other, preset, out, run, picture_file, to;
  std::vector<std::string> sets, grids, pictures, runs;
  std::vector<double> seeds;
  int threads = 0;
  std::int64_t count = 64, seed = 1;
  bool resume = false, overwrite = false, quiet = false, estimate = false, check = false,
       defaults = false, batch_statistics = false, expand = false;
};

std::string command_line(int argc, char** argv) {
  std::string text = "tapestry";
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const bool plain =
        word.find_first_not_of(
            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./=,:[]") ==
            std::string::npos &&
        !word.empty();
    text += plain ? " " + word : " '" + word + "'";
  }
  return text;
}

ConfigSource source_of(const Arguments& a) { return {a.config, a.preset, a.sets}; }
fs::path folder_of(const Arguments& a) { return fs::absolute(a.config).parent_path(); }

/// "--grid train.batch=2,16" and "--seeds 1,2,3" laid over the file's own comparison.
void apply_grid(Json& json, const Arguments& a) {
  if (a.grids.empty() && a.seeds.empty()) return;
  if (json.find("compare") == nullptr) json.set("compare", Json::object());
  Json& compare = *json.find("compare");
  if (!a.grids.empty()) {
    Json grid = Json::object();
    for (const std::string& text : a.grids) {
      const std::size_t equals = text.find('=');
      if (equals == std::string::npos || equals == 0)
        throw Error("--grid " + printable(text),
                    "must look like path=value,value, for example train.batch=2,16");
      Json values = parse_loosely("[" + text.substr(equals + 1) + "]");
      if (!values.is_array()) {
        values = Json::array();
        std::string rest = text.substr(equals + 1);
        for (std::size_t comma; (comma = rest.find(',')) != std::string::npos;
             rest = rest.substr(comma + 1))
          values.push(parse_loosely(rest.substr(0, comma)));
        values.push(parse_loosely(rest));
      }
      grid.set(text.substr(0, equals), std::move(values));
    }
    compare.set("grid", std::move(grid));
  }
  if (!a.seeds.empty()) {
    Json list = Json::array();
    for (const double seed : a.seeds) list.push(static_cast<std::int64_t>(seed));
    compare.set("seeds", std::move(list));
  }
}

Json read_json(const Arguments& a) {
  Json json = load_config(source_of(a));
  apply_grid(json, a);
  if (a.threads > 0) set_path(json, "train.threads", static_cast<std::int64_t>(a.threads));
  if (!a.quiet && !a.sets.empty()) {
    const Json plain = load_config({a.config, a.preset, {}});
    for (const Difference& change : differences(plain, json))
      std::printf("%s: %s -> %s (command line)\n", change.path.c_str(), change.before.c_str(),
                  change.after.c_str());
  }
  return json;
}

int exit_code(RunStatus status) {
  return status == RunStatus::kInterrupted ? 130 : status == RunStatus::kDiverged ? 4 : 0;
}

int train(const Arguments& a, const std::string& command) {
  const ExperimentSetting setting = read_config(read_json(a), folder_of(a));
  if (a.estimate) {
    std::printf("about %s for %lld steps\n", clock_text(estimate_seconds(setting)).c_str(),
                static_cast<long long>(setting.train.total_steps()));
    return 0;
  }
  const fs::path folder = a.out.empty() ? fs::path("runs") / setting.name : fs::path(a.out);
  const RunStatus status = run_experiment(
      setting, folder,
      {.command = command, .quiet = a.quiet, .resume = a.resume, .overwrite = a.overwrite});
  if (!a.quiet) {
    std::printf("%s: %s\n", std::string(status_name(status)).c_str(),
                (folder / "report.html").c_str());
    if (status == RunStatus::kInterrupted)
      std::printf("go on with: tapestry resume %s\n", folder.c_str());
  }
  return exit_code(status);
}

int compare(const Arguments& a, const std::string& command) {
  const Json json = read_json(a);
  const ExperimentSetting setting = read_config(json, folder_of(a));
  if (a.estimate) {
    const std::vector<Cell> cells = cells_of(setting.compare);
    const double runs = static_cast<double>(cells.size() * setting.compare.seeds.size());
    std::printf("about %s for %.0f runs of %lld steps\n",
                clock_text(runs * estimate_seconds(setting)).c_str(), runs,
                static_cast<long long>(setting.train.total_steps()));
    return 0;
  }
  const fs::path folder =
      a.out.empty()
          ? fs::path("runs") /
                (setting.name + (a.preset.empty() || a.preset == "none" ? "" : "_" + a.preset))
          : fs::path(a.out);
  const RunStatus status = run_comparison(
      json, folder_of(a), folder, {.command = command, .quiet = a.quiet, .overwrite = a.overwrite});
  if (status == RunStatus::kInterrupted) {
    std::printf("interrupted; the same command goes on where it stopped\n");
  }
  std::printf("report: %s\n", fs::absolute(folder / "report.html").c_str());
  return exit_code(status);
}

int resume(const Arguments& a, const std::string& command) {
  const fs::path folder = a.run;
  if (fs::exists(folder / "compare.json"))
    throw Error(a.run, "is a comparison")
        .hint("repeat the `tapestry compare` command: finished runs are kept");
  if (!fs::exists(folder / "config.json"))
    throw Error(a.run, "is no run folder: it has no config.json");
  Json json = load_json(folder / "config.json");
  for (const std::string& text : a.sets) {
    const std::size_t equals = text.find('=');
    if (equals == std::string::npos)
      throw Error("--set " + printable(text), "must look like path=value");
    set_path(json, text.substr(0, equals), parse_loosely(text.substr(equals + 1)));
  }
  if (a.threads > 0) set_path(json, "train.threads", static_cast<std::int64_t>(a.threads));
  const RunStatus status = run_experiment(read_config(json, folder), folder,
                                          {.command = command, .quiet = a.quiet, .resume = true});
  if (!a.quiet)
    std::printf("%s: %s\n", std::string(status_name(status)).c_str(),
                (folder / "report.html").c_str());
  return exit_code(status);
}

int sample(const Arguments& a) {
  write_image(sample_sheet(a.run, a.count, static_cast<std::uint64_t>(a.seed)), a.to);
  if (!a.quiet) std::printf("%lld samples: %s\n", static_cast<long long>(a.count), a.to.c_str());
  return 0;
}

int export_weights(const Arguments& a) {
  Checkpoint whole = load_checkpoint(checkpoint_of(a.run)), kept;
  kept.texts = whole.texts;
  for (const char* name : {"rng.latent", "rng.penalty", "loader", "step", "seconds"})
    kept.texts.erase(name);
  for (const Named<Tensor>& entry : whole.tensors) {
    if (!entry.name.starts_with("optimizer.") && !entry.name.starts_with("ema."))
      kept.tensors.push_back(entry);
  }
  save_checkpoint(kept, a.to);
  if (!a.quiet) std::printf("%zu tensors: %s\n", kept.tensors.size(), a.to.c_str());
  return 0;
}

int stylize(const Arguments& a) {
  Stylizer stylizer(checkpoint_of(a.run));
  int failures = 0;
  for (const std::string& file : a.pictures) {
    try {
      const fs::path result = fs::path(a.to) / (fs::path(file).stem().string() + ".png");
      if (fs::exists(result) && fs::equivalent(result, file))
        throw Error(file, "would be overwritten by its own result")
            .hint("choose another folder with --to");
      write_image(stylizer(read_image(file, 3), a.batch_statistics), result);
      if (!a.quiet) std::printf("%s\n", result.c_str());
    } catch (const Error& error) {
      // One bad picture does not keep the others from being made.
      std::fprintf(stderr, "tapestry: error: %s\n", error.what());
      failures = error.exit_code();
    }
  }
  return failures;
}

int inspect(const Arguments& a) {
  if (fs::path(a.config).extension() == ".safetensors" || fs::is_directory(a.config)) {
    const fs::path file = checkpoint_of(a.config);
    const Checkpoint checkpoint = load_checkpoint(file);
    std::printf("%s\n", file.c_str());
    for (const Named<Tensor>& entry : checkpoint.tensors)
      std::printf("  %-60s %s\n", entry.name.c_str(), entry.value.shape().str().c_str());
    for (const auto& [name, text] : checkpoint.texts)
      std::printf("  %-60s \"%s\"\n", name.c_str(), printable(text).c_str());
    return 0;
  }
  const ExperimentSetting setting = read_config(read_json(a), folder_of(a));
  const std::unique_ptr<Task> task = make_task(setting);
  for (const Network& network : task->networks())
    std::printf("%s\n%s\n", network.name.c_str(),
                nn::summary(*network.module, network.input.shape()).c_str());
  std::printf("data: %s\n", task->data_description().c_str());
  if (a.expand) std::printf("%s\n", resolved_config(setting).dump().c_str());
  return 0;
}

int config(const Arguments& a) {
  const ExperimentSetting setting = read_config(read_json(a), folder_of(a));
  if (!a.other.empty()) {
    const ExperimentSetting second =
        read_config(load_config({a.other, a.preset, {}}), fs::absolute(a.other).parent_path());
    for (const Difference& d : differences(resolved_config(setting), resolved_config(second)))
      std::printf("%s: %s -> %s\n", d.path.c_str(), d.before.c_str(), d.after.c_str());
    return 0;
  }
  if (a.check) {
    make_task(setting);
    std::printf("%s: all right\n", a.config.c_str());
    return 0;
  }
  std::printf("%s\n", resolved_config(setting).dump().c_str());
  return 0;
}

int report(const Arguments& a) {
  for (const std::string& run : a.runs) {
    const fs::path folder = run;
    const Comparison page = fs::exists(folder / "compare.json") ? load_comparison(folder)
                                                                : single_run(load_run(folder));
    const fs::path file = a.to.empty() ? folder / "report.html" : fs::path(a.to);
    write_file(file, report_html(page));
    for (const std::string& sentence : verdict_sentences(page))
      std::printf("%s\n", sentence.c_str());
    std::printf("%s\n", file.c_str());
  }
  return 0;
}

int info() {
  for (const auto& [name, value] : environment_facts())
    std::printf("%-12s %s\n", name.c_str(), value.c_str());
  std::string targets;
  for (const std::string& target : kernels::simd_targets())
    targets += (targets.empty() ? "" : ", ") + target;
  std::printf("%-12s %s (TAPESTRY_SIMD chooses)\n", "targets", targets.c_str());
  return 0;
}

/// CLI11 says "a subcommand is required" to a misspelled one; people deserve better.
void check_command(int argc, char** argv, const CLI::App& app) {
  if (argc < 2 || argv[1][0] == '-') return;
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands({})) names.push_back(command->get_name());
  if (std::find(names.begin(), names.end(), argv[1]) != names.end()) return;
  std::string all;
  for (const std::string& name : names) all += (all.empty() ? "" : ", ") + name;
  const std::vector<std::string> near = similar(argv[1], names);
  Error error("command line", "there is no command \"{}\"{}", printable(argv[1]),
              near.empty() ? "" : "; did you mean \"" + near[0] + "\"?");
  throw error.hint("the commands are {}", all);
}

int run(int argc, char** argv) {
  Arguments a;
  CLI::App app("Trains small networks and compares normalizers. See README.md.", "tapestry");
  app.require_subcommand(0, 1);
  const auto with_config = [&](CLI::App* command) {
    command->add_option("CONFIG", a.config, "a JSON config; see examples/configs")->required();
    command->add_option("--set", a.sets, "path=value, laid over the config; may be repeated")
        ->allow_extra_args(false);
    command->add_option(
        "--preset", a.preset,
        "a named part of the config laid over it: fast, quick, paper; none: the file as it is");
    command
        ->add_option("--threads", a.threads,
                     "threads; results do not depend on it (default: all cores)")
        ->check(CLI::Range(1, 256));
  };
  const auto with_run = [&](CLI::App* command) {
    command->add_option("--out", a.out, "the run's folder (default: runs/NAME)");
    command->add_flag("--overwrite", a.overwrite, "replace what is there");
    command->add_flag("--quiet", a.quiet, "print errors only");
    command->add_flag("--estimate", a.estimate, "only measure how long it would take");
  };
  CLI::App* train_command =
      app.add_subcommand("train", "train one network (or pair) as a config says");
  with_config(train_command);
  with_run(train_command);
  train_command->add_flag("--resume", a.resume, "go on from the last checkpoint, if there is one");
  CLI::App* compare_command = app.add_subcommand(
      "compare", "train a grid of settings with several seeds and report the differences");
  with_config(compare_command);
  with_run(compare_command);
  compare_command
      ->add_option("--grid", a.grids,
                   "path=value,value...; replaces the config's grid; may be repeated")
      ->allow_extra_args(false);
  compare_command->add_option("--seeds", a.seeds, "1,2,3")->delimiter(',');
  CLI::App* resume_command = app.add_subcommand("resume", "go on with an interrupted run");
  resume_command->add_option("RUN", a.run, "a run folder")->required();
  resume_command
      ->add_option("--set", a.sets, "path=value: train.steps, log.* and evaluate.* may change")
      ->allow_extra_args(false);
  resume_command->add_option("--threads", a.threads, "threads")->check(CLI::Range(1, 256));
  resume_command->add_flag("--quiet", a.quiet, "print errors only");
  CLI::App* sample_command = app.add_subcommand("sample", "draw samples from a trained generator");
  sample_command->add_option("RUN", a.run, "a run folder or checkpoint")->required();
  sample_command->add_option("--count", a.count, "how many")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  sample_command->add_option("--seed", a.seed, "of the latents")->capture_default_str();
  sample_command->add_option("--to", a.to, "PNG file")->required();
  sample_command->add_flag("--quiet", a.quiet, "print errors only");
  CLI::App* stylize_command =
      app.add_subcommand("stylize", "redraw pictures with a trained style network");
  stylize_command->add_option("MODEL", a.run, "a run folder or checkpoint of task style")
      ->required();
  stylize_command->add_option("IMAGE", a.pictures, "PNG, JPEG or BMP files")->required();
  stylize_command->add_option("--to", a.to, "folder for the results")->required();
  stylize_command->add_flag("--batch-statistics", a.batch_statistics,
                            "let BatchNorm use the picture's own statistics");
  stylize_command->add_flag("--quiet", a.quiet, "print errors only");
  CLI::App* export_command = app.add_subcommand(
      "export", "write a run's weights alone, without optimizer and random state, as safetensors");
  export_command->add_option("RUN", a.run, "a run folder or checkpoint")->required();
  export_command->add_option("--to", a.to, "safetensors file")->required();
  export_command->add_flag("--quiet", a.quiet, "print errors only");
  CLI::App* inspect_command = app.add_subcommand(
      "inspect", "show a config's networks layer by layer, or what a checkpoint holds");
  with_config(inspect_command);
  inspect_command->add_flag("--expand", a.expand,
                            "also print the config with every default filled in");
  CLI::App* config_command =
      app.add_subcommand("config", "print a config with every default filled in");
  with_config(config_command);
  config_command->add_flag("--check", a.check, "only say whether it is right, networks included");
  config_command->add_flag("--defaults", a.defaults,
                           "the same as without options: every key is printed");
  config_command->add_option("--diff", a.other, "another config: print what differs");
  CLI::App* schema_command = app.add_subcommand("schema", "print the JSON schema of configs");
  CLI::App* report_command =
      app.add_subcommand("report", "write the report of runs or comparisons again");
  report_command->add_option("RUN", a.runs, "folders")->required();
  report_command->add_option("--to", a.to, "HTML file (default: report.html in the folder)");
  BenchOptions timed;
  CLI::App* bench_command =
      app.add_subcommand("bench", "time ops and training steps on this machine");
  bench_command->add_option("WHAT", timed.what,
                            "an op, a training step, or all; a list when left out");
  std::map<std::string, std::string> given;
  for (const BenchOption& option : bench_options()) {
    if (option.flag) {
      bench_command->add_flag("--" + option.name, given[option.name], option.meaning);
    } else {
      bench_command->add_option("--" + option.name, given[option.name], option.meaning);
    }
  }
  bench_command->add_option("--threads", a.threads, "threads")->check(CLI::Range(1, 256));
  bench_command->add_flag("--json", timed.json, "one JSON object per line");
  bench_command->allow_extras();  // bench() says what was probably meant
  CLI::App* info_command = app.add_subcommand("info", "processor, SIMD target, threads, versions");

  check_command(argc, argv, app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    throw Error("command line", "{}", error.what())
        .hint("tapestry {} --help", argc > 1 && argv[1][0] != '-' ? argv[1] : "");
  }
  const std::string command = command_line(argc, argv);
  kernels::simd_target();  // an unknown TAPESTRY_SIMD is reported before anything else
  if (a.threads > 0) set_threads(a.threads);
  handle_signals();
  if (*train_command) return train(a, command);
  if (*compare_command) return compare(a, command);
  if (*resume_command) return resume(a, command);
  if (*sample_command) return sample(a);
  if (*export_command) return export_weights(a);
  if (*stylize_command) return stylize(a);
  if (*inspect_command) return inspect(a);
  if (*config_command) return config(a);
  if (*schema_command) return std::printf("%s\n", config_schema().dump().c_str()), 0;
  if (*report_command) return report(a);
  if (*bench_command) {
    for (const BenchOption& option : bench_options()) {
      if (bench_command->count("--" + option.name) > 0)
        timed.values[option.name] = given[option.name];
    }
    for (const std::string& word : bench_command->remaining()) {
      if (word.starts_with("-"))
        timed.values[word.substr(std::min(word.size(), word.find_first_not_of('-')))] = "";
    }
    return bench(timed);
  }
  if (*info_command) return info();
  std::printf("%s", app.help().c_str());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const Error& error) {
    std::fprintf(stderr, "tapestry: error: %s\n", error.what());
    return error.exit_code();
  } catch (const std::bad_alloc&) {
    std::fprintf(
        stderr,
        "tapestry: error: out of memory\n  hint  use a smaller batch, image size or width\n");
    return 3;
  } catch (const std::filesystem::filesystem_error& error) {
    std::fprintf(stderr, "tapestry: error: %s\n", error.what());
    return 3;
  } catch (const std::invalid_argument& error) {
    std::fprintf(stderr, "tapestry: error: %s\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr,
                 "tapestry: internal error: %s\n  hint  this is a bug of ours; please report it "
                 "with the command\n",
                 error.what());
    return 5;
  }
}
