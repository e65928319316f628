// Curves over the steps.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>

#include "examples/lab/report_parts.h"

namespace tapestry::lab::report {
namespace {

// Values of all runs of a cell by x; a run without points does not take part.
std::map<double, std::vector<double>> gathered(const Cell& cell, const PointsOf& points_of,
                                               const XOf& x_of, std::size_t* taking_part) {
  std::map<double, std::vector<double>> by_x;
  *taking_part = 0;
  for (const RunRecord* run : cell.runs) {
    const std::vector<Point>* points = run == nullptr ? nullptr : points_of(*run);
    if (points == nullptr || points->empty()) continue;
    ++*taking_part;
    for (const Point& p : *points) by_x[x_of(*run, p.step)].push_back(p.value);
  }
  return by_x;
}

}  // namespace

double steps_or_examples(const Digest& d, const RunRecord& run, double step) {
  return d.over_examples ? step * run.examples_per_step : step;
}

Line mean_line(const Cell& cell, const PointsOf& points_of, const XOf& x_of, bool band) {
  std::size_t runs = 0;
  Line line{cell.key, cell.look, {}, {}, {}, cell.key, false};
  for (const auto& [x, values] : gathered(cell, points_of, x_of, &runs)) {
    const Summary s = summarize(values);
    const bool all = s.n == static_cast<int>(runs) && std::isfinite(s.mean);
    // Steps at which only some seeds were measured are left out; steps with a NaN are gaps.
    if (!all && values.size() < runs) continue;
    line.points.push_back({x, all ? s.mean : kMissing});
    if (band && runs > 1) {
      line.low.push_back(all ? s.min : kMissing);
      line.high.push_back(all ? s.max : kMissing);
    }
  }
  return line;
}

bool wants_log(const std::vector<Line>& lines) {
  double low = kMissing, high = kMissing;
  for (const Line& line : lines) {
    for (const Point& p : line.points) {
      if (!std::isfinite(p.value)) continue;
      low = std::isnan(low) ? p.value : std::min(low, p.value);
      high = std::isnan(high) ? p.value : std::max(high, p.value);
    }
  }
  return low > 0 && high > 100 * low;
}

void same_range(std::vector<LineChart>& charts) {
  double low = kMissing, high = kMissing, left = kMissing, right = kMissing;
  const auto widen = [](double& a, double& b, double v) {
    if (!std::isfinite(v)) return;
    a = std::isnan(a) ? v : std::min(a, v);
    b = std::isnan(b) ? v : std::max(b, v);
  };
  for (const LineChart& chart : charts) {
    for (const Line& line : chart.lines) {
      for (const Point& p : line.points) {
        if (!chart.y.log || p.value > 0) widen(low, high, p.value);
        widen(left, right, p.step);
      }
    }
    for (const Reference& r : chart.references) {
      if (!chart.y.log || r.value > 0) widen(low, high, r.value);
    }
  }
  if (!(low < high)) return;
  const bool log = !charts.empty() && charts.front().y.log;
  const double margin = log ? std::pow(high / low, 0.05) : (high - low) * 0.05;
  for (LineChart& chart : charts) {
    chart.y.low = log ? low / margin : low - margin;
    chart.y.high = log ? high * margin : high + margin;
    if (left < right) chart.x.low = left, chart.x.high = right;
  }
}

void draw_all(Html& html, std::string_view kind, const std::vector<LineChart>& charts) {
  const auto grid = html.in("div", {{"class", kind}});
  for (const LineChart& chart : charts) {
    const auto figure = html.in("figure");
    draw(html, chart);
  }
}

namespace {

void add_cell(LineChart& chart, const Cell& cell, const PointsOf& points_of, const XOf& x_of) {
  Line mean = mean_line(cell, points_of, x_of, true);
  for (const RunRecord* run : cell.runs) {
    const std::vector<Point>* points = run == nullptr ? nullptr : points_of(*run);
    if (points == nullptr || points->empty() || cell.runs.size() < 2) continue;
    Line seed{cell.key, cell.look, {}, {}, {}, cell.key, true};
    for (const Point& p : *points) seed.points.push_back({x_of(*run, p.step), p.value});
    chart.lines.push_back(std::move(seed));
  }
  if (!mean.points.empty()) chart.lines.push_back(std::move(mean));
}

std::string goal_text(const Metric& metric) {
  const std::string unit = metric.unit.empty() ? "" : metric.unit + ", ";
  if (metric.goal == Goal::kNone) return metric.unit;
  return unit + (metric.goal == Goal::kMin ? "lower is better" : "higher is better");
}

std::vector<LineChart> metric_charts(const Digest& d, const Metric& metric) {
  const XOf x_of = [&](const RunRecord& run, double step) {
    return steps_or_examples(d, run, step);
  };
  const PointsOf points_of = [&](const RunRecord& run) {
    const Series* series = find_series(run.metrics, metric.name);
    return series == nullptr ? nullptr : &series->points;
  };
  std::vector<LineChart> charts;
  bool log = metric.log;
  for (const auto& [facet, cells] : d.facets()) {
    LineChart chart;
    chart.title = metric_label(metric) + (facet.empty() ? "" : ", " + facet);
    chart.y.label = goal_text(metric);
    chart.x.label = d.over_examples ? "examples" : "step";
    for (const Cell* cell : cells) add_cell(chart, *cell, points_of, x_of);
    if (chart.lines.empty()) continue;
    if (metric.reference) {
      chart.references.push_back({*metric.reference, metric.reference_label.empty()
                                                         ? "real against real"
                                                         : metric.reference_label});
    }
    log = log || wants_log(chart.lines);
    charts.push_back(std::move(chart));
  }
  for (LineChart& chart : charts) {
    chart.y.log = log;
    if (log) chart.y.label += chart.y.label.empty() ? "log scale" : ", log scale";
  }
  if (charts.size() > 1) same_range(charts);
  return charts;
}

// The same metric against the seconds a step takes: a slow normalizer has to earn its time.
std::optional<LineChart> time_chart(const Digest& d, const Metric& metric) {
  LineChart chart;
  chart.title = metric_label(metric) + " over training time";
  chart.x.label = "seconds of training (steps × ms/step)";
  chart.y.label = goal_text(metric);
  for (const Cell& cell : d.cells) {
    const double ms = summarize(per_seed(cell, &RunRecord::ms_per_step)).mean;
    if (std::isnan(ms)) continue;
    const Line line = mean_line(
        cell,
        [&](const RunRecord& run) {
          const Series* series = find_series(run.metrics, metric.name);
          return series == nullptr ? nullptr : &series->points;
        },
        [&](const RunRecord&, double step) { return step * ms / 1000; }, true);
    if (!line.points.empty()) chart.lines.push_back(line);
  }
  if (chart.lines.empty()) return std::nullopt;
  chart.y.log = metric.log || wants_log(chart.lines);
  return chart;
}

// Last value against a second, numeric setting such as the batch size: one line per normalizer.
std::optional<LineChart> sweep_chart(const Digest& d, const Metric& metric) {
  struct Sweep {
    Look look;
    std::map<double, Summary> at;
  };
  std::vector<std::pair<std::string, Sweep>> lines;
  std::string axis;
  for (const Cell& cell : d.cells) {
    const RunRecord* run = cell.first();
    if (run == nullptr) continue;
    for (const auto& [key, value] : run->settings) {
      double x = 0;
      const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), x);
      const bool number = error == std::errc() && end == value.data() + value.size();
      if (!number || run->settings.size() != 2) continue;
      if (!axis.empty() && axis != key) return std::nullopt;
      axis = key;
      const std::string name = run->normalizer;
      auto line =
          std::find_if(lines.begin(), lines.end(), [&](const auto& l) { return l.first == name; });
      if (line == lines.end()) {
        line = lines.insert(lines.end(), {name, {look_of(name).value_or(cell.look), {}}});
      }
      const Summary s = summarize(last_values(cell, metric));
      if (s.n > 0) line->second.at[x] = s;
    }
  }
  LineChart chart;
  chart.title = metric_label(metric) + " at the end against " + axis;
  chart.y.label = goal_text(metric);
  chart.x.label = axis;
  std::size_t most = 0;
  for (const auto& [name, sweep] : lines) {
    Line line{name, sweep.look, {}, {}, {}, name, false};
    for (const auto& [x, s] : sweep.at) {
      line.points.push_back({x, s.mean});
      line.low.push_back(s.min);
      line.high.push_back(s.max);
    }
    most = std::max(most, line.points.size());
    chart.lines.push_back(std::move(line));
  }
  if (most < 3) return std::nullopt;
  double low = kMissing, high = kMissing;
  for (const Line& line : chart.lines) {
    for (const Point& p : line.points) {
      low = std::isnan(low) ? p.step : std::min(low, p.step);
      high = std::isnan(high) ? p.step : std::max(high, p.step);
    }
  }
  chart.x.log = low > 0 && high >= 8 * low;
  chart.legend = true;
  return chart;
}

}  // namespace

void curves_section(Html& html, const Digest& d) {
  const auto section = html.in("section", {{"id", "curves"}});
  html.element("h2", "Curves");
  html.element("p", {{"class", "fine"}},
               d.seeds.size() > 1 ? "Thick: mean over the seeds, where every seed has a value. "
                                    "Band: lowest to highest seed. Thin: every "
                                    "seed. Gaps: not a number."
                                  : "One seed per cell. Gaps: not a number.");
  bool first = true;
  std::vector<LineChart> charts;
  for (const Metric& metric : d.comparison.metrics) {
    const std::vector<LineChart> own = metric_charts(d, metric);
    if (first) {
      if (auto sweep = sweep_chart(d, metric)) charts.push_back(std::move(*sweep));
    }
    charts.insert(charts.end(), own.begin(), own.end());
    if (first && own.size() == 1) {
      if (auto time = time_chart(d, metric)) charts.push_back(std::move(*time));
    }
    first = false;
  }
  std::vector<std::string> names;
  for (const RunRecord& run : d.comparison.runs) {
    for (const Series& s : run.scalars) {
      if (std::find(names.begin(), names.end(), s.name) == names.end()) names.push_back(s.name);
    }
  }
  for (const std::string& name : names) {
    LineChart chart;
    chart.title = name;
    chart.x.label = d.over_examples ? "examples" : "step";
    for (const Cell& cell : d.cells) {
      add_cell(
          chart, cell,
          [&](const RunRecord& run) {
            const Series* series = find_series(run.scalars, name);
            return series == nullptr ? nullptr : &series->points;
          },
          [&](const RunRecord& run, double step) { return steps_or_examples(d, run, step); });
    }
    chart.y.log = wants_log(chart.lines);
    chart.y.label = chart.y.log ? "log scale" : "";
    if (!chart.lines.empty()) charts.push_back(std::move(chart));
  }
  for (LineChart& chart : charts) chart.width = 512, chart.height = 280;
  if (!charts.empty()) draw_all(html, "charts", charts);
}

}  // namespace tapestry::lab::report
