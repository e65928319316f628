#include "examples/lab/compare.h"

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "core/error.h"
#include "core/file.h"
#include "core/text.h"
#include "examples/lab/experiment.h"
#include "examples/lab/progress.h"
#include "examples/lab/task.h"

namespace tapestry::lab {
namespace {

/// A grid value as a word: "batch" for "batch" and for {"type": "batch"}.
std::string word(const Json& value) {
  if (value.is_string()) return value.text();
  if (const Json* type = value.find("type"); type != nullptr && type->is_string())
    return type->text();
  return value.dump(-1);
}

std::string last_step(const std::string& path) { return path.substr(path.rfind('.') + 1); }

/// Safe as a file name whatever the grid says.
std::string file_name(const std::string& text) {
  std::string name;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '=' || c == ',' || c == '.' || c == '-' || c == '_';
    name += plain ? c : '_';
  }
  return name.substr(0, 120);
}

struct Planned {
  Cell cell;
  std::int64_t seed;
  ExperimentSetting setting;
  std::filesystem::path folder;
};

/// The config of one cell: the grid's values set, the comparison itself left out.
ExperimentSetting setting_of(const Json& json, const Cell& cell, std::int64_t seed,
                             const std::filesystem::path& config_folder) {
  Json changed = json;
  for (const auto& [path, value] : cell.values) {
    Json given = value;
    given.set_origin("grid " + path);
    set_path(changed, path, std::move(given));
  }
  changed.set("seed", seed);
  std::vector<Json::Member>& members = changed.members();
  members.erase(std::remove_if(members.begin(), members.end(),
                               [](const Json::Member& m) {
                                 return m.first == "compare" || m.first == "presets";
                               }),
                members.end());
  try {
    return read_config(changed, config_folder);
  } catch (const Error& error) {
    throw Error("cell " + cell.name, "{}", error.what());
  }
}

bool finished(const Planned& run) {
  const std::filesystem::path status = run.folder / "status.json";
  if (!std::filesystem::exists(status)) return false;
  const Json written = load_json(status);
  const Json* state = written.find("state");
  if (state == nullptr || (state->text() != "done" && state->text() != "diverged")) return false;
  return load_json(run.folder / "config.json") == resolved_config(run.setting);
}

}  // namespace

std::vector<Cell> cells_of(const CompareSetting& setting) {
  std::vector<Cell> cells{{"", {}}};
  for (const GridAxis& axis : setting.axes()) {
    std::vector<Cell> longer;
    for (const Cell& cell : cells) {
      for (const Json& value : axis.values) {
        Cell next = cell;
        next.name += (next.name.empty() ? "" : ",") + last_step(axis.path) + "=" + word(value);
        next.values.emplace_back(axis.path, value);
        longer.push_back(std::move(next));
      }
    }
    cells = std::move(longer);
  }
  // Two objects of one type would share a name: tell them apart by all they say.
  for (Cell& cell : cells) {
    const auto same = std::count_if(cells.begin(), cells.end(),
                                    [&](const Cell& other) { return other.name == cell.name; });
    if (same < 2) continue;
    cell.name.clear();
    for (const auto& [path, value] : cell.values)
      cell.name += (cell.name.empty() ? "" : ",") + last_step(path) + "=" +
                   (value.is_string() ? value.text() : value.dump(-1));
  }
  if (cells.size() == 1 && cells[0].name.empty()) cells[0].name = "all";
  return cells;
}

RunStatus run_comparison(const Json& json, const std::filesystem::path& config_folder,
                         const std::filesystem::path& folder, const CompareOptions& options) {
  const ExperimentSetting whole = read_config(json, config_folder);
  const std::vector<Cell> cells = cells_of(whole.compare);
  std::vector<Planned> plan;
  for (const double seed : whole.compare.seeds) {
    for (const Cell& cell : cells) {
      const std::int64_t number = static_cast<std::int64_t>(seed);
      plan.push_back({cell, number, setting_of(json, cell, number, config_folder),
                      folder / file_name(cell.name + ",seed=" + std::to_string(number))});
    }
  }
  // Every cell is built once before the first is trained, so that a mistake in the last one is not
  // found in an hour.
  for (const Planned& run : plan) {
    if (run.seed == plan[0].seed) make_task(run.setting);
  }
  const auto start = std::chrono::steady_clock::now();
  if (!options.quiet) {
    std::printf("%s: %zu cells x %zu seeds = %zu runs of %lld steps, into %s\n", whole.name.c_str(),
                cells.size(), whole.compare.seeds.size(), plan.size(),
                static_cast<long long>(whole.train.total_steps()), folder.c_str());
    std::fflush(stdout);
    const double each = estimate_seconds(plan[0].setting);
    std::printf("expected time: about %s\n",
                clock_text(each * static_cast<double>(plan.size())).c_str());
    std::fflush(stdout);
  }

  Json described = Json::object({{"name", whole.name},
                                 {"question", whole.compare.question},
                                 {"metric", whole.compare.metric},
                                 {"goal", whole.compare.goal},
                                 {"command", options.command}});
  Json runs = Json::array(), seeds = Json::array(), varied = Json::object();
  for (const Planned& run : plan) {
    Json values = Json::object();
    for (const auto& [path, value] : run.cell.values) values.set(path, word(value));
    runs.push(Json::object({{"cell", run.cell.name},
                            {"folder", run.folder.filename().string()},
                            {"values", std::move(values)}}));
  }
  for (const double seed : whole.compare.seeds) seeds.push(static_cast<std::int64_t>(seed));
  for (const GridAxis& axis : whole.compare.axes()) {
    std::string all;
    for (const Json& value : axis.values) all += (all.empty() ? "" : ", ") + word(value);
    varied.set(axis.path, all);
  }
  described.set("runs", std::move(runs));
  described.set("seeds", std::move(seeds));
  described.set("varied", std::move(varied));
  described.set("state", "running");
  write_file(folder / "compare.json", described.dump() + "\n");

  const auto write_page = [&](const char* state) {
    described.set("state", state);
    described.set("seconds",
                  std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    write_file(folder / "compare.json", described.dump() + "\n");
    const Comparison page = load_comparison(folder);
    write_file(folder / "report.html", report_html(page));
    write_file(folder / "table.csv", report_csv(page));
    return page;
  };
  std::size_t number = 0;
  for (const Planned& run : plan) {
    ++number;
    const std::string title = "[" + std::to_string(number) + "/" + std::to_string(plan.size()) +
                              "] " + run.cell.name + ", seed " + std::to_string(run.seed);
    if (!options.overwrite && finished(run)) {
      if (!options.quiet) std::printf("%s: done before\n", title.c_str());
      continue;
    }
    const bool same_config = std::filesystem::exists(run.folder / "config.json") &&
                             load_json(run.folder / "config.json") == resolved_config(run.setting);
    const RunStatus status = run_experiment(run.setting, run.folder,
                                            {.title = title,
                                             .command = options.command,
                                             .quiet = options.quiet,
                                             .resume = same_config && !options.overwrite,
                                             .overwrite = true,
                                             .report = false});
    write_page(status == RunStatus::kInterrupted ? "interrupted"
               : number == plan.size()           ? "done"
                                                 : "running");
    if (status == RunStatus::kInterrupted) return status;
  }
  const Comparison page = write_page("done");
  if (!options.quiet) {
    std::printf("\n");
    for (const std::string& sentence : verdict_sentences(page))
      std::printf("%s\n", sentence.c_str());
  }
  return RunStatus::kDone;
}

Comparison load_comparison(const std::filesystem::path& folder) {
  const Json described = load_json(folder / "compare.json");
  const auto text = [&](std::string_view key) {
    const Json* value = described.find(key);
    return value != nullptr && value->is_string() ? value->text() : std::string();
  };
  const Json *runs = described.find("runs"), *seeds = described.find("seeds"),
             *varied = described.find("varied");
  if (runs == nullptr || seeds == nullptr || varied == nullptr)
    throw Error((folder / "compare.json").string(), "is not whole");
  Comparison page;
  page.title = text("name");
  page.question = text("question");
  page.command = text("command");
  const std::string state = text("state");
  page.status = state == "done"          ? RunStatus::kDone
                : state == "interrupted" ? RunStatus::kInterrupted
                                         : RunStatus::kRunning;
  if (const Json* seconds = described.find("seconds")) page.seconds = seconds->number();
  for (const Json& seed : seeds->items())
    page.seeds.push_back(static_cast<std::uint64_t>(seed.integer()));
  for (const auto& [path, values] : varied->members())
    page.varied.emplace_back(path, values.text());
  for (const Json& entry : runs->items()) {
    const std::string cell = entry.find("cell")->text();
    if (std::find(page.cells.begin(), page.cells.end(), cell) == page.cells.end())
      page.cells.push_back(cell);
    const std::filesystem::path run_folder = folder / entry.find("folder")->text();
    if (!std::filesystem::exists(run_folder / "status.json")) continue;
    LoadedRun run = load_run(run_folder);
    run.record.cell = cell;
    for (const auto& [path, value] : entry.find("values")->members())
      run.record.settings.emplace_back(path, value.text());
    if (page.metrics.empty()) {
      page.metrics = run.metrics;
      page.inputs = run.inputs;
      page.environment = run.environment;
      page.fixed = {{"data", run.data}, {"steps", std::to_string(run.record.steps)}};
    }
    page.runs.push_back(std::move(run.record));
  }
  if (const std::string wanted = text("metric"); !wanted.empty()) {
    const auto found = std::find_if(page.metrics.begin(), page.metrics.end(),
                                    [&](const Metric& metric) { return metric.name == wanted; });
    if (found == page.metrics.end() && !page.metrics.empty()) {
      std::string known;
      for (const Metric& metric : page.metrics) known += (known.empty() ? "" : ", ") + metric.name;
      throw Error("/compare/metric", "there is no figure \"{}\" in this task", printable(wanted))
          .hint("it has {}", known);
    }
    if (found != page.metrics.end()) {
      std::rotate(page.metrics.begin(), found, found + 1);
      if (const std::string goal = text("goal"); !goal.empty())
        page.metrics[0].goal = goal == "max" ? Goal::kMax : Goal::kMin;
    }
  }
  page.notes.push_back(
      "All cells of a seed share the data order, the latent noise and the initial values of "
      "equally named weights. Learning rates are the same for all, not tuned for each.");
  return page;
}

}  // namespace tapestry::lab
