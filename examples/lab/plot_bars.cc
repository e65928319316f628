// Dot strips, bars, histograms and heat maps.
#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "examples/lab/plot.h"
#include "examples/lab/plot_parts.h"

namespace tapestry::lab {

using namespace plot;

void draw(Html& html, const Strip& strip, const StripScale& scale, double width, double height) {
  std::string description = strip.label + ": ";
  for (const double v : strip.values) description += number_text(v, 4) + " ";
  const auto svg = html.in("svg", canvas("strip", width, height, description));
  const double left = 7, right = width - 7, middle = height / 2;
  const Scale x(scale.low, scale.high, scale.log, left, right);
  rule(html, left, middle, right, middle, "grid");
  const Summary& s = strip.summary;
  if (!std::isnan(s.half) && !std::isnan(x(s.mean))) {
    // An interval that leaves the scale is drawn to its end; the number beside the strip says how
    // far it goes.
    const double low = x(s.low()), high = x(s.high());
    Html::Attributes bar{{"x1", pixels(std::isnan(low) ? left : std::clamp(low, left, right))},
                         {"y1", pixels(middle)},
                         {"x2", pixels(std::isnan(high) ? right : std::clamp(high, left, right))},
                         {"y2", pixels(middle)},
                         {"stroke-width", "6"},
                         {"stroke-opacity", "0.22"}};
    add_stroke(bar, strip.look);
    html.empty("line", bar);
  }
  if (!std::isnan(x(s.mean))) {
    Html::Attributes bar{{"x1", pixels(x(s.mean))},
                         {"y1", pixels(middle - height * 0.36)},
                         {"x2", pixels(x(s.mean))},
                         {"y2", pixels(middle + height * 0.36)},
                         {"stroke-width", "2"}};
    add_stroke(bar, strip.look);
    html.empty("line", bar);
  }
  // Each seed keeps its own height in every row, so equal values stay apart and pairs can be
  // followed.
  const auto n = static_cast<double>(strip.values.size());
  for (std::size_t i = 0; i < strip.values.size(); ++i) {
    const double at = x(strip.values[i]);
    if (std::isnan(at)) continue;
    const double offset = n > 1 ? (static_cast<double>(i) / (n - 1) - 0.5) * height * 0.5 : 0;
    mark(html, strip.look, at, middle + offset, 3);
  }
}

void draw(Html& html, const BarChart& chart) {
  const double row = 26, top = chart.title.empty() ? 6 : 28;
  const double height = top + row * static_cast<double>(chart.bars.size()) + 4;
  double gutter = 40, most = 0;
  for (const Bar& bar : chart.bars) {
    double sum = 0;
    for (const auto& part : bar.parts) sum += std::isfinite(part.second) ? part.second : 0;
    most = std::max(most, sum);
    for (const double v : bar.dots) most = std::max(most, std::isfinite(v) ? v : 0);
    gutter = std::max(gutter, text_width(bar.label, kFont) + 12);
  }
  gutter = std::min(gutter, chart.width * 0.36);
  const double room = 92;  // for the number behind the bar
  const Scale x(0, most > 0 ? most : 1, false, gutter, chart.width - room);

  const auto svg = html.in("svg", canvas("chart", chart.width, height, chart.title));
  name_it(html, chart.title, chart.description);
  if (!chart.title.empty()) heading(html, 4, 15, chart.width - 8, chart.title, chart.unit, 13);
  for (std::size_t i = 0; i < chart.bars.size(); ++i) {
    const Bar& bar = chart.bars[i];
    const double y = top + row * static_cast<double>(i), middle = y + row / 2;
    const auto group = html.in("g", {{"data-key", bar.key.empty() ? bar.label : bar.key}});
    label(html, gutter - 8, middle + 4, Anchor::kEnd, shortened(bar.label, gutter - 12, kFont),
          kFont, "name");
    double sum = 0;
    for (std::size_t k = 0; k < bar.parts.size(); ++k) {
      const auto& [name, value] = bar.parts[k];
      if (!std::isfinite(value) || value < 0) continue;
      Html::Attributes box{
          {"x", pixels(x(sum))},
          {"y", pixels(y + 5)},
          {"width", pixels(std::max(0.5, x(value) - x(0) - (bar.parts.size() > 1 ? 1 : 0)))},
          {"height", pixels(row - 10)},
          {"fill-opacity", number_text(0.85 - 0.25 * static_cast<double>(k % 3), 2)}};
      add_fill(box, bar.look);
      html.open("rect", box);
      html.element("title", name + " " + number_text(value, 3) + " " + chart.unit).close();
      sum += value;
    }
    for (const double v : bar.dots) {
      if (!std::isfinite(v)) continue;
      html.empty("circle", {{"class", "dot"},
                            {"cx", pixels(x(v))},
                            {"cy", pixels(middle)},
                            {"r", "2.5"},
                            {"fill", "#ffffff"},
                            {"stroke", "#24292f"}});
    }
    double end = sum;
    for (const double v : bar.dots) end = std::max(end, std::isfinite(v) ? v : 0);
    label(html, x(end) + 8, middle + 4, Anchor::kStart,
          bar.value.empty() ? number_text(sum, 3) : bar.value, kFont);
  }
}

void draw(Html& html, const HistogramChart& chart) {
  Range range;
  for (const auto& outline : chart.outlines) {
    if (!outline.counts.empty() && outline.edges.size() != outline.counts.size() + 1) {
      throw Error("histogram", "{} edges do not bound {} bins", outline.edges.size(),
                  outline.counts.size());
    }
    for (const double edge : outline.edges) range.add(edge, false);
  }
  range.finish(false, 0);
  const double left = 6, right = chart.width - 6, top = 20, bottom = chart.height - 18;
  const Scale x(range.low, range.high, false, left, right), y(0, 1, false, bottom, top);
  const auto svg = html.in("svg", canvas("chart small", chart.width, chart.height, chart.title));
  name_it(html, chart.title, chart.description);
  heading(html, 2, 11, chart.width - 8, chart.title, chart.x_label, kSmallFont);
  for (const auto& outline : chart.outlines) {
    const double most = outline.counts.empty()
                            ? 0
                            : *std::max_element(outline.counts.begin(), outline.counts.end());
    if (!(most > 0)) continue;
    std::string path = "M" + pixels(x(outline.edges[0])) + " " + pixels(bottom);
    for (std::size_t i = 0; i < outline.counts.size(); ++i) {
      path += "V" + pixels(y(outline.counts[i] / most)) + "H" + pixels(x(outline.edges[i + 1]));
    }
    Html::Attributes line{
        {"d", path + "V" + pixels(bottom)}, {"fill", "none"}, {"stroke-width", "1.3"}};
    add_stroke(line, outline.look);
    add_dash(line, outline.look);
    const auto group =
        html.in("g", {{"data-key", outline.key.empty() ? outline.label : outline.key}});
    html.empty("path", line);
  }
  rule(html, left, bottom, right, bottom, "axis");
  for (const double tick : nice_ticks(range.low, range.high, 3)) {
    label(html, x(tick), chart.height - 4, Anchor::kMiddle, number_text(tick, 3), 9.5);
  }
}

void draw(Html& html, const HeatMap& chart) {
  if (chart.values.size() != chart.rows.size() * chart.columns.size()) {
    throw Error("heat map", "{} values do not fill {} rows and {} columns", chart.values.size(),
                chart.rows.size(), chart.columns.size());
  }
  double gutter = 60;
  for (const std::string& row : chart.rows) gutter = std::max(gutter, text_width(row, 11) + 14);
  gutter = std::min(gutter, chart.width * 0.4);
  const double row_height = 22, top = 48;
  const auto columns = static_cast<double>(std::max<std::size_t>(1, chart.columns.size()));
  const double step = std::min(110.0, (chart.width - gutter - 4) / columns);
  const double height = top + row_height * static_cast<double>(chart.rows.size()) + 4;
  const auto svg =
      html.in("svg", canvas("chart", gutter + step * columns + 4, height, chart.title));
  name_it(html, chart.title, chart.description);
  heading(html, 4, 15, chart.width - 8, chart.title, "", 13);
  for (std::size_t c = 0; c < chart.columns.size(); ++c) {
    label(html, gutter + step * (static_cast<double>(c) + 0.5), top - 7, Anchor::kMiddle,
          shortened(chart.columns[c], step - 4, 11), 11, "name");
  }
  for (std::size_t r = 0; r < chart.rows.size(); ++r) {
    const double y = top + row_height * static_cast<double>(r);
    label(html, gutter - 8, y + 15, Anchor::kEnd, shortened(chart.rows[r], gutter - 10, 11), 11,
          "name");
    for (std::size_t c = 0; c < chart.columns.size(); ++c) {
      const double value = chart.values[r * chart.columns.size() + c];
      if (std::isnan(value)) continue;
      const double share = std::clamp((value - chart.low) / (chart.high - chart.low), 0.0, 1.0);
      const double x = gutter + step * static_cast<double>(c);
      // At most half opaque, so that the number reads on every field in both color schemes.
      html.empty("rect", {{"class", "heat"},
                          {"x", pixels(x + 1)},
                          {"y", pixels(y + 1)},
                          {"width", pixels(step - 2)},
                          {"height", pixels(row_height - 2)},
                          {"fill", "#d55e00"},
                          {"fill-opacity", number_text(0.04 + 0.5 * share, 2)}});
      label(html, x + step / 2, y + 15, Anchor::kMiddle, fixed_text(value, chart.digits), 11,
            "name");
    }
  }
}

}  // namespace tapestry::lab
