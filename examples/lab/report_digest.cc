// From records to cells: labels, looks, values per seed, and numbers as the page words them.
#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <tuple>

#include "examples/lab/report_parts.h"

namespace tapestry::lab {

std::string_view status_name(RunStatus status) {
  switch (status) {
    case RunStatus::kRunning:
      return "running";
    case RunStatus::kDone:
      return "done";
    case RunStatus::kInterrupted:
      return "interrupted";
    case RunStatus::kDiverged:
      return "diverged";
    case RunStatus::kFailed:
      return "failed";
  }
  return "unknown";
}

namespace report {
namespace {

// "norm=batch" says no more than "batch" when the normalizer is all that varies.
std::string short_label(const Comparison& comparison, const Cell& cell) {
  const RunRecord* run = cell.first();
  std::set<std::string> keys;
  for (const RunRecord& r : comparison.runs) {
    for (const auto& [key, value] : r.settings) keys.insert(key);
  }
  if (run == nullptr || keys.size() != 1 || run->settings.size() != 1) return cell.name;
  const std::string& value = run->settings[0].second;
  if (!value.empty() && value[0] != '{') return value;
  return run->normalizer.empty() ? cell.name : run->normalizer;
}

void choose_labels(const Comparison& comparison, std::vector<Cell>& cells) {
  std::set<std::string> seen;
  for (Cell& cell : cells) {
    cell.label = short_label(comparison, cell);
    seen.insert(cell.label);
  }
  if (seen.size() == cells.size()) return;
  for (Cell& cell : cells) cell.label = cell.name;
}

// A planned cell without a run yet is told by the end of its name.
std::string normalizer_of(const Cell& cell) {
  if (const RunRecord* run = cell.first(); run != nullptr && !run->normalizer.empty())
    return run->normalizer;
  return cell.name.substr(cell.name.rfind('=') + 1);
}

// The settings without the normalizer.
std::string facet_of(const Cell& cell) {
  std::string facet;
  const RunRecord* run = cell.first();
  if (run == nullptr) return facet;
  for (const auto& [key, value] : run->settings) {
    const std::string last = key.substr(key.rfind('.') + 1);
    if (last.find("norm") != std::string::npos && value != "true" && value != "false") continue;
    facet += (facet.empty() ? "" : ", ") + last + " = " + value;
  }
  return facet;
}

// A facet needs at least two cells to compare and the same normalizer only once; else all cells
// stand together.
void choose_facets(std::vector<Cell>& cells) {
  std::map<std::string, std::set<std::string>> members;
  bool useful = true;
  for (Cell& cell : cells) {
    cell.facet = facet_of(cell);
    cell.key = normalizer_of(cell);
    useful = members[cell.facet].insert(cell.key).second && useful;
  }
  useful = useful && members.size() > 1;
  for (const auto& [facet, names] : members) useful = useful && names.size() > 1;
  if (useful) return;
  for (Cell& cell : cells) {
    cell.facet.clear();
    cell.key = cell.label;
  }
}

// Known normalizers have their hue; other names take the hues that are left. Cells of a facet that
// would look alike get another dash.
void choose_looks(std::vector<Cell>& cells) {
  std::set<int> used_hues;
  for (const Cell& cell : cells) {
    if (const auto known = look_of(normalizer_of(cell))) used_hues.insert(known->hue);
  }
  std::map<std::string, Look> others;
  std::set<std::tuple<std::string, int, int>> taken;
  for (Cell& cell : cells) {
    const std::string name = normalizer_of(cell);
    std::optional<Look> look = look_of(name);
    if (!look && others.count(name) != 0) look = others[name];
    if (!look) {
      int hue = 1;  // black stays "none" as long as there is anything else
      while (hue < 8 && used_hues.count(hue) != 0) ++hue;
      if (hue == 8) hue = static_cast<int>(others.size()) % 8;
      used_hues.insert(hue);
      look = others[name] = Look{hue, static_cast<int>(others.size()) % 8};
    }
    for (int tries = 0; tries < 8 && !taken.insert({cell.facet, look->hue, look->dash}).second;
         ++tries) {
      look->dash = (look->dash + 1) % 8;
    }
    cell.look = *look;
  }
}

}  // namespace

int Cell::count(RunStatus status) const {
  return static_cast<int>(std::count_if(runs.begin(), runs.end(), [&](const RunRecord* run) {
    return run != nullptr && run->status == status;
  }));
}

const RunRecord* Cell::first() const {
  const auto found =
      std::find_if(runs.begin(), runs.end(), [](const RunRecord* run) { return run != nullptr; });
  return found == runs.end() ? nullptr : *found;
}

std::vector<std::pair<std::string, std::vector<const Cell*>>> Digest::facets() const {
  std::vector<std::pair<std::string, std::vector<const Cell*>>> groups;
  for (const Cell& cell : cells) {
    auto group = std::find_if(groups.begin(), groups.end(),
                              [&](const auto& g) { return g.first == cell.facet; });
    if (group == groups.end()) group = groups.insert(groups.end(), {cell.facet, {}});
    group->second.push_back(&cell);
  }
  return groups;
}

const Metric* Digest::main_metric() const {
  return comparison.metrics.empty() ? nullptr : &comparison.metrics.front();
}

int Digest::finished() const {
  int n = 0;
  for (const Cell& cell : cells)
    n += cell.count(RunStatus::kDone) + cell.count(RunStatus::kDiverged);
  return n;
}

Digest digest(const Comparison& comparison) {
  Digest d{comparison, {}, comparison.seeds, false};
  for (const RunRecord& run : comparison.runs) {
    if (std::find(d.seeds.begin(), d.seeds.end(), run.seed) == d.seeds.end())
      d.seeds.push_back(run.seed);
  }
  std::sort(d.seeds.begin(), d.seeds.end());
  d.seeds.erase(std::unique(d.seeds.begin(), d.seeds.end()), d.seeds.end());
  const auto cell_of = [&](const std::string& name) -> Cell& {
    for (Cell& cell : d.cells) {
      if (cell.name == name) return cell;
    }
    Cell& cell = d.cells.emplace_back();
    cell.name = name;
    cell.runs.resize(d.seeds.size(), nullptr);
    return cell;
  };
  for (const std::string& name : comparison.cells) cell_of(name);
  for (const RunRecord& run : comparison.runs) {
    const auto at = std::find(d.seeds.begin(), d.seeds.end(), run.seed) - d.seeds.begin();
    cell_of(run.cell).runs[static_cast<std::size_t>(at)] = &run;
    const double batch = comparison.runs.front().examples_per_step;
    if (run.examples_per_step != batch &&
        !(std::isnan(run.examples_per_step) && std::isnan(batch))) {
      d.over_examples = true;
    }
  }
  for (const RunRecord& run : comparison.runs) {
    if (std::isnan(run.examples_per_step)) d.over_examples = false;
  }
  choose_labels(comparison, d.cells);
  choose_facets(d.cells);
  choose_looks(d.cells);
  return d;
}

std::string metric_label(const Metric& metric) {
  return metric.label.empty() ? metric.name : metric.label;
}

const Series* find_series(const std::vector<Series>& all, std::string_view name) {
  const auto found =
      std::find_if(all.begin(), all.end(), [&](const Series& s) { return s.name == name; });
  return found == all.end() ? nullptr : &*found;
}

std::vector<double> last_values(const Cell& cell, const Metric& metric) {
  std::vector<double> values;
  for (const RunRecord* run : cell.runs) {
    const Series* series = run != nullptr && run->status == RunStatus::kDone
                               ? find_series(run->metrics, metric.name)
                               : nullptr;
    const double last = series == nullptr ? kMissing : last_value(*series);
    values.push_back(std::isfinite(last) ? last : kMissing);
  }
  return values;
}

std::vector<double> per_seed(const Cell& cell, double RunRecord::*field) {
  std::vector<double> values;
  for (const RunRecord* run : cell.runs) values.push_back(run == nullptr ? kMissing : run->*field);
  return values;
}

namespace {

// Decimals that show two digits of the uncertainty, but not more than six of the value; −1 when
// plain decimals would be unreadable.
int decimals_for(double uncertainty, double value) {
  const double size = std::max(std::abs(value), uncertainty);
  if (!std::isfinite(size) || size >= 1e7 || size < 1e-5) return -1;
  const auto magnitude = [](double v) { return static_cast<int>(std::floor(std::log10(v))); };
  const int most = std::clamp(4 - magnitude(size), 0, 9);
  return uncertainty > 0 ? std::clamp(1 - magnitude(uncertainty), 0, most) : std::min(most, 4);
}

std::string signed_text(double value, int decimals) {
  const std::string text = decimals < 0 ? number_text(value, 3) : fixed_text(value, decimals);
  if (text[0] == '-') return "−" + text.substr(1);
  return value > 0 ? "+" + text : text;
}

}  // namespace

std::string mean_text(const Summary& s) {
  if (s.n == 0) return "–";
  if (std::isnan(s.half)) return number_text(s.mean, 4);
  const int decimals = decimals_for(s.half, s.mean);
  if (decimals < 0) return number_text(s.mean, 4) + " ± " + number_text(s.half, 2);
  return fixed_text(s.mean, decimals) + " ± " + fixed_text(s.half, decimals);
}

std::string difference_text(const Summary& d) {
  const int decimals = decimals_for(d.half, d.mean);
  return signed_text(d.mean, decimals) + " (95 % interval " + signed_text(d.low(), decimals) +
         " to " + signed_text(d.high(), decimals) + ")";
}

std::string duration_text(double seconds) {
  if (std::isnan(seconds)) return "–";
  if (seconds < 60) return number_text(seconds, 3) + " s";
  const auto whole = static_cast<long long>(std::llround(seconds));
  if (whole < 3600) return std::to_string(whole / 60) + " min " + std::to_string(whole % 60) + " s";
  return std::to_string(whole / 3600) + " h " + std::to_string(whole % 3600 / 60) + " min";
}

std::string listed(const std::vector<std::string>& items) {
  std::string out;
  for (std::size_t i = 0; i < items.size(); ++i) {
    out += (i == 0 ? "" : i + 1 == items.size() ? " and " : ", ") + items[i];
  }
  return out;
}

}  // namespace report
}  // namespace tapestry::lab
