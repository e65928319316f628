// The inside of the network over the steps, layer by layer, and what it all cost.
#include <algorithm>
#include <cmath>

#include "examples/lab/report_parts.h"

namespace tapestry::lab::report {
namespace {

constexpr std::size_t kMostPanels = 16;

// All layers in order of depth; a layer that only some cells have stands where its cell has it.
std::vector<std::string> layer_names(const Digest& d) {
  std::vector<std::string> names;
  for (const RunRecord& run : d.comparison.runs) {
    auto place = names.begin();
    for (const LayerRecord& layer : run.layers) {
      auto found = std::find(names.begin(), names.end(), layer.layer);
      if (found == names.end()) found = names.insert(place, layer.layer);
      place = found + 1;
    }
  }
  return names;
}

const LayerRecord* find_layer(const RunRecord& run, const std::string& name) {
  const auto found = std::find_if(run.layers.begin(), run.layers.end(),
                                  [&](const LayerRecord& l) { return l.layer == name; });
  return found == run.layers.end() ? nullptr : &*found;
}

void layer_panels(Html& html, const Digest& d, const std::vector<std::string>& layers,
                  std::string_view heading, std::vector<Point> LayerRecord::*quantity,
                  bool shared) {
  std::vector<LineChart> panels;
  bool positive = true;
  for (const std::string& layer : layers) {
    LineChart panel;
    panel.title = layer;
    panel.small = true;
    panel.width = 200;
    panel.height = 118;
    for (const Cell& cell : d.cells) {
      Line line = mean_line(
          cell,
          [&](const RunRecord& run) {
            const LayerRecord* record = find_layer(run, layer);
            return record == nullptr ? nullptr : &(record->*quantity);
          },
          [&](const RunRecord& run, double step) { return steps_or_examples(d, run, step); },
          false);
      line.points = thinned(line.points, 80);
      if (!line.points.empty()) panel.lines.push_back(std::move(line));
    }
    positive =
        positive && (panel.lines.empty() || wants_log(panel.lines) ||
                     std::all_of(panel.lines.begin(), panel.lines.end(), [](const Line& line) {
                       return std::all_of(line.points.begin(), line.points.end(),
                                          [](const Point& p) { return !(p.value <= 0); });
                     }));
    if (!panel.lines.empty()) panels.push_back(std::move(panel));
  }
  if (panels.empty()) return;
  for (LineChart& panel : panels) panel.y.log = shared && positive;
  if (shared) same_range(panels);
  {
    const auto h3 = html.in("h3");
    html.text(heading);
    html.element("small",
                 shared ? positive ? "one log scale for all layers" : "one scale for all layers"
                        : "each layer has its own scale");
  }
  draw_all(html, "panels", panels);
}

void dead_units(Html& html, const Digest& d, const std::vector<std::string>& layers) {
  HeatMap map{"Share of dead units at the last measured step", "", {}, {}, {}, 0, 1, 2, 1040};
  for (const Cell& cell : d.cells) map.columns.push_back(cell.label);
  bool any = false;
  for (const std::string& layer : layers) {
    std::vector<double> row;
    for (const Cell& cell : d.cells) {
      std::vector<double> values;
      for (const RunRecord* run : cell.runs) {
        const LayerRecord* record = run == nullptr ? nullptr : find_layer(*run, layer);
        if (record != nullptr && !record->dead.empty()) values.push_back(record->dead.back().value);
      }
      row.push_back(summarize(values).mean);
    }
    if (std::all_of(row.begin(), row.end(), [](double v) { return std::isnan(v); })) continue;
    any = true;
    map.rows.push_back(layer);
    map.values.insert(map.values.end(), row.begin(), row.end());
  }
  if (!any) return;
  map.description =
      "A unit is dead when it was zero for every example of the batch; mean over the seeds.";
  const auto figure = html.in("figure", {{"class", "scroll"}});
  draw(html, map);
  html.element("figcaption", map.description);
}

void activation_histograms(Html& html, const Digest& d, const std::vector<std::string>& layers) {
  std::vector<HistogramChart> charts;
  for (const std::string& layer : layers) {
    HistogramChart chart;
    chart.title = layer;
    chart.width = 200;
    chart.height = 118;
    for (const Cell& cell : d.cells) {
      const LayerRecord* record =
          cell.first() == nullptr ? nullptr : find_layer(*cell.first(), layer);
      if (record == nullptr || record->activations.counts.empty()) continue;
      chart.outlines.push_back(
          {cell.label, cell.look, record->activations.edges, record->activations.counts, cell.key});
    }
    if (!chart.outlines.empty()) charts.push_back(std::move(chart));
  }
  if (charts.empty()) return;
  {
    const auto h3 = html.in("h3");
    html.text("Distribution of activations");
    html.element("small", "last measured step, first seed, each outline scaled to its largest bin");
  }
  const auto grid = html.in("div", {{"class", "panels"}});
  for (const HistogramChart& chart : charts) {
    const auto figure = html.in("figure");
    draw(html, chart);
  }
}

void bars(Html& html, const Digest& d, const std::string& title, const std::string& unit,
          double RunRecord::*field, double divisor, bool parts) {
  BarChart chart{title, title + " per cell.", unit, {}, 512};
  for (const Cell& cell : d.cells) {
    Bar bar{cell.label, cell.look, {}, {}, "", cell.key};
    for (const double v : per_seed(cell, field)) {
      if (!std::isnan(v)) bar.dots.push_back(v / divisor);
    }
    const Summary s = summarize(bar.dots);
    if (s.n == 0) continue;
    bar.value = divisor == 1 && s.mean > 1000 ? count_text(s.mean) : number_text(s.mean, 3);
    const RunRecord* run = cell.first();
    if (parts && run != nullptr && !run->ms_parts.empty()) bar.parts = run->ms_parts;
    if (bar.parts.empty()) bar.parts = {{title, s.mean}};
    if (!(s.max > s.min)) bar.dots.clear();  // equal dots on the end of the bar say nothing
    chart.bars.push_back(std::move(bar));
  }
  if (chart.bars.empty()) return;
  const auto figure = html.in("figure");
  draw(html, chart);
  const RunRecord* run = d.cells.front().first();
  if (parts && run != nullptr && !run->ms_parts.empty()) {
    std::vector<std::string> names;
    for (const auto& part : run->ms_parts) names.push_back(part.first);
    html.element("figcaption", "From dark to light: " + listed(names) + ".");
  }
}

}  // namespace

void inside_section(Html& html, const Digest& d) {
  std::vector<std::string> layers = layer_names(d);
  if (layers.empty()) return;
  const auto section = html.in("section", {{"id", "inside"}});
  html.element("h2", "Inside");
  const std::size_t all = layers.size();
  if (all > kMostPanels) {
    std::vector<std::string> some;
    for (std::size_t i = 0; i < kMostPanels; ++i)
      some.push_back(layers[i * (all - 1) / (kMostPanels - 1)]);
    layers = some;
  }
  html.element(
      "p", {{"class", "fine"}},
      std::string("Every panel is a layer, in order of depth") +
          (d.seeds.size() > 1 ? "; lines are means over the seeds." : ".") +
          (all > kMostPanels ? " " + std::to_string(kMostPanels) + " of " + std::to_string(all) +
                                   " layers are shown, evenly chosen."
                             : std::string()));
  layer_panels(html, d, layers, "Standard deviation of activations", &LayerRecord::sd, true);
  layer_panels(html, d, layers, "Mean of activations", &LayerRecord::mean, false);
  layer_panels(html, d, layers, "Gradient norm", &LayerRecord::gradient_norm, true);
  activation_histograms(html, d, layers);
  dead_units(html, d, layers);
}

void cost_section(Html& html, const Digest& d) {
  const auto section = html.in("section", {{"id", "cost"}});
  html.element("h2", "Cost");
  {
    const auto grid = html.in("div", {{"class", "charts"}});
    bars(html, d, "Time per training step", "ms", &RunRecord::ms_per_step, 1, true);
    bars(html, d, "Peak memory", "MB", &RunRecord::peak_bytes, 1e6, false);
    bars(html, d, "Parameters", "", &RunRecord::parameters, 1, false);
  }
  html.element("p", {{"class", "fine"}},
               "Bars are means, dots are seeds. Times are of this machine during these runs; other "
               "work on it shows up here.");
}

}  // namespace tapestry::lab::report
