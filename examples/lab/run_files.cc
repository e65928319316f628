#include "examples/lab/run_files.h"

#include <algorithm>
#include <cstdio>
#include <map>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "examples/lab/experiment.h"

namespace tapestry::lab {
namespace {

constexpr std::size_t kMaxLog = std::size_t{256} << 20;

void append(const std::filesystem::path& file, const Json& line) {
  std::FILE* out = std::fopen(file.c_str(), "a");
  const std::string text = line.dump(-1) + "\n";
  const bool written =
      out != nullptr && std::fwrite(text.data(), 1, text.size(), out) == text.size();
  if (out == nullptr || std::fclose(out) != 0 || !written)
    throw Error(file.string(), "cannot be written").fault(Fault::kEnvironment);
}

/// The lines of a .jsonl file; a last one that was cut off by a crash is left out.
std::vector<Json> lines_of(const std::filesystem::path& file) {
  std::vector<Json> lines;
  if (!std::filesystem::exists(file)) return lines;
  const std::string text = read_file(file, kMaxLog);
  std::size_t begin = 0;
  for (std::size_t end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
    lines.push_back(parse_json(std::string_view(text).substr(begin, end - begin), file.string()));
  }
  return lines;
}

std::int64_t step_of(const Json& line) {
  const Json* step = line.find("step");
  return step != nullptr && step->is_integer() ? step->integer() : 0;
}

double number_of(const Json& object, std::string_view key) {
  const Json* value = object.find(key);
  return value != nullptr && value->is_number() ? value->number() : kMissing;
}

std::string text_of(const Json& object, std::string_view key) {
  const Json* value = object.find(key);
  return value != nullptr && value->is_string() ? value->text() : "";
}

/// "0-picture 1.png" → "picture 1"
std::string label_of(const std::filesystem::path& file) {
  const std::string stem = file.stem().string();
  return stem.substr(stem.find('-') + 1);
}

std::vector<PngPicture> pictures_in(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator(folder, none)) {
    if (entry.path().extension() == ".png") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  std::vector<PngPicture> pictures;
  for (const std::filesystem::path& file : files)
    pictures.push_back(
        {files.size() > 1 ? label_of(file) : "", read_file(file, std::size_t{64} << 20)});
  return pictures;
}

RunStatus status_of(const std::string& name) {
  for (const RunStatus status :
       {RunStatus::kRunning, RunStatus::kDone, RunStatus::kInterrupted, RunStatus::kDiverged}) {
    if (status_name(status) == name) return status;
  }
  return RunStatus::kFailed;
}

void add_point(std::vector<Series>& all, const std::string& name, double step, double value) {
  auto found = std::find_if(all.begin(), all.end(),
                            [&](const Series& series) { return series.name == name; });
  if (found == all.end()) found = all.insert(all.end(), {name, {}});
  found->points.push_back({step, value});
}

}  // namespace

void RunFiles::write(const std::string& name, std::string_view contents) const {
  write_file(folder / name, contents);
}

void RunFiles::add_losses(std::int64_t step, double seconds, const Figures& losses) const {
  Json line = Json::object({{"step", step}, {"kind", "train"}, {"seconds", seconds}});
  for (const auto& [name, value] : losses) line.set(name, value);
  append(folder / "metrics.jsonl", line);
}

void RunFiles::add_evaluation(std::int64_t step, const Figures& figures) const {
  Json line = Json::object({{"step", step}, {"kind", "evaluate"}});
  for (const auto& [name, value] : figures) line.set(name, value);
  append(folder / "metrics.jsonl", line);
}

void RunFiles::add_layers(std::int64_t step, const std::vector<LayerFigures>& layers) const {
  Json rows = Json::array();
  for (const LayerFigures& layer : layers) {
    rows.push(Json::object({{"layer", layer.path + " (" + layer.kind + ")"},
                            {"mean", layer.mean},
                            {"sd", layer.deviation},
                            {"dead", layer.dead},
                            {"gradient", layer.gradient}}));
  }
  append(folder / "statistics.jsonl", Json::object({{"step", step}, {"layers", std::move(rows)}}));
}

void RunFiles::write_picture(const std::string& folder_name, std::size_t place,
                             const std::string& label, const std::string& png) const {
  char number[8];
  std::snprintf(number, sizeof number, "%03zu", place);
  write_file(folder / folder_name / (number + ("-" + label) + ".png"), png);
}

void RunFiles::write_environment(const Facts& facts) const {
  Json json = Json::object();
  for (const auto& [name, value] : facts) json.set(name, value);
  write("environment.json", json.dump() + "\n");
}

void RunFiles::write_figures(const std::vector<FigureInfo>& figures,
                             const std::string& data) const {
  Json list = Json::array();
  for (const FigureInfo& info : figures) {
    list.push(Json::object({{"name", info.name},
                            {"label", info.label},
                            {"goal", info.goal == Goal::kMax   ? "max"
                                     : info.goal == Goal::kMin ? "min"
                                                               : ""},
                            {"note", info.note},
                            {"reference", info.reference},
                            {"reference_label", info.reference_label},
                            {"samples", info.samples}}));
  }
  write("figures.json", Json::object({{"data", data}, {"figures", std::move(list)}}).dump() + "\n");
}

void RunFiles::truncate(std::int64_t step) const {
  for (const char* name : {"metrics.jsonl", "statistics.jsonl"}) {
    std::string kept;
    for (const Json& line : lines_of(folder / name)) {
      if (step_of(line) <= step) kept += line.dump(-1) + "\n";
    }
    write(name, kept);
  }
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "samples", none)) {
    if (std::stoll("0" + entry.path().filename().string().substr(std::min<std::size_t>(
                             5, entry.path().filename().string().size()))) > step) {
      std::filesystem::remove_all(entry.path(), none);
    }
  }
}

void RunFiles::clear() const {
  std::error_code none;
  for (const char* name :
       {"config.json", "command.txt", "environment.json", "figures.json", "status.json",
        "metrics.jsonl", "statistics.jsonl", "report.html", "inputs", "samples", "checkpoints"}) {
    std::filesystem::remove_all(folder / name, none);
  }
}

LoadedRun load_run(const std::filesystem::path& folder) {
  if (!std::filesystem::exists(folder / "status.json"))
    throw Error(folder.string(), "is no run folder: it has no status.json")
        .hint("give the folder that `tapestry train` printed");
  LoadedRun run;
  RunRecord& record = run.record;
  const Json config = load_json(folder / "config.json"), status = load_json(folder / "status.json"),
             figures = load_json(folder / "figures.json");
  run.name = text_of(config, "name");
  run.data = text_of(figures, "data");
  const Json environment = load_json(folder / "environment.json");
  for (const auto& [name, value] : environment.members())
    run.environment.emplace_back(name, value.text());
  run.command = read_file(folder / "command.txt", 1 << 16);
  if (!run.command.empty() && run.command.back() == '\n') run.command.pop_back();
  if (const Json* list = figures.find("figures")) {
    for (const Json& info : list->items()) {
      Metric metric;
      metric.name = text_of(info, "name");
      metric.label = text_of(info, "label");
      metric.goal = text_of(info, "goal") == "max"   ? Goal::kMax
                    : text_of(info, "goal") == "min" ? Goal::kMin
                                                     : Goal::kNone;
      metric.note = text_of(info, "note");
      if (const double reference = number_of(info, "reference"); reference == reference)
        metric.reference = reference;
      metric.reference_label = text_of(info, "reference_label");
      metric.samples = static_cast<std::int64_t>(number_of(info, "samples"));
      run.metrics.push_back(metric);
    }
  }
  record.seed = static_cast<std::uint64_t>(number_of(config, "seed"));
  record.status = status_of(text_of(status, "state"));
  record.step = static_cast<std::int64_t>(number_of(status, "step"));
  record.steps = static_cast<std::int64_t>(number_of(status, "steps"));
  record.remark = text_of(status, "remark");
  record.ms_per_step = number_of(status, "ms_per_step");
  record.seconds = number_of(status, "seconds");
  record.peak_bytes = number_of(status, "peak_bytes");
  record.parameters = number_of(status, "parameters");
  record.weights_hash = text_of(status, "weights_hash");
  if (const Json* batch = find_path(config, "train.batch"))
    record.examples_per_step = batch->number();
  record.config = config.dump();
  record.folder = folder.filename().string();
  if (const Json* norm = find_path(config, "model.norm"))
    record.normalizer = norm->is_string() ? norm->text() : text_of(*norm, "type");
  for (const Json& line : lines_of(folder / "metrics.jsonl")) {
    const bool judged = text_of(line, "kind") == "evaluate";
    for (const auto& [name, value] : line.members()) {
      if (name == "step" || name == "kind" || name == "seconds") continue;
      add_point(judged ? record.metrics : record.scalars, name, static_cast<double>(step_of(line)),
                value.is_number() ? value.number() : kMissing);
    }
  }
  std::map<std::string, std::size_t> place;
  for (const Json& line : lines_of(folder / "statistics.jsonl")) {
    const double step = static_cast<double>(step_of(line));
    const Json* layers = line.find("layers");
    if (layers == nullptr) continue;
    for (const Json& row : layers->items()) {
      const std::string name = text_of(row, "layer");
      if (place.emplace(name, record.layers.size()).second)
        record.layers.push_back({.layer = name,
                                 .mean = {},
                                 .sd = {},
                                 .gradient_norm = {},
                                 .dead = {},
                                 .activations = {}});
      LayerRecord& layer = record.layers[place[name]];
      layer.mean.push_back({step, number_of(row, "mean")});
      layer.sd.push_back({step, number_of(row, "sd")});
      layer.dead.push_back({step, number_of(row, "dead")});
      if (const double gradient = number_of(row, "gradient"); gradient == gradient)
        layer.gradient_norm.push_back({step, gradient});
    }
  }
  std::vector<std::filesystem::path> sheets;
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "samples", none))
    sheets.push_back(entry.path());
  std::sort(sheets.begin(), sheets.end());
  for (const std::filesystem::path& sheet : sheets) {
    record.pictures.push_back(
        {std::stoll("0" + sheet.filename().string().substr(5)), pictures_in(sheet)});
  }
  std::vector<PngPicture> inputs = pictures_in(folder / "inputs");
  // A style stands in a column of its own, beside the pictures it is applied to.
  const auto style = std::find_if(inputs.begin(), inputs.end(), [](const PngPicture& picture) {
    return picture.label == "style";
  });
  if (style != inputs.end()) {
    const std::string png = style->png;
    inputs.erase(style);
    run.inputs.push_back({"content", inputs});
    run.inputs.push_back({"style", {{inputs.empty() ? "" : inputs[0].label, png}}});
  } else if (!inputs.empty()) {
    run.inputs.push_back({"data", inputs});
  }
  return run;
}

Comparison single_run(const LoadedRun& run) {
  Comparison page;
  page.title = run.name;
  page.status = run.record.status;
  page.metrics = run.metrics;
  page.runs = {run.record};
  page.runs[0].cell = run.name;
  page.inputs = run.inputs;
  page.cells = {run.name};
  page.seeds = {run.record.seed};
  page.fixed = {{"data", run.data}, {"steps", std::to_string(run.record.steps)}};
  page.seconds = run.record.seconds;
  page.environment = run.environment;
  page.command = run.command;
  return page;
}

}  // namespace tapestry::lab
