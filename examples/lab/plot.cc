// The line chart; the other charts are in plot_bars.cc.
#include "examples/lab/plot.h"

#include <algorithm>
#include <cmath>

#include "examples/lab/plot_parts.h"

namespace tapestry::lab {
namespace {

using namespace plot;

constexpr std::size_t kMostPoints = 400;  // per curve; more than the pixels of a chart helps nobody
constexpr std::size_t kMarkedPoints = 12;  // curves with few points get a mark on each

struct Frame {
  double left, right, top, bottom;
  Scale x, y;
};

Scale fitted(const Axis& axis, Range range, double margin, double from, double to) {
  range.finish(axis.log, margin);
  return Scale(axis.low.value_or(range.low), axis.high.value_or(range.high), axis.log, from, to);
}

Frame frame_of(const LineChart& chart) {
  Range x, y;
  for (const Line& line : chart.lines) {
    for (std::size_t i = 0; i < line.points.size(); ++i) {
      x.add(line.points[i].step, chart.x.log);
      y.add(line.points[i].value, chart.y.log);
      if (i < line.low.size()) y.add(line.low[i], chart.y.log);
      if (i < line.high.size()) y.add(line.high[i], chart.y.log);
    }
  }
  for (const Reference& r : chart.references) y.add(r.value, chart.y.log);
  // Steps begin at zero even when the first measurement came a little later.
  if (!chart.x.log && x.low > 0 && x.low < 0.2 * x.high) x.low = 0;
  const double left = chart.small ? 38 : 50, right = chart.width - (chart.small ? 8 : 14);
  const double top = chart.legend ? 46 : chart.small ? 20 : 28;
  const double bottom = chart.height - (chart.small ? 18 : 40);
  // Marks need room at the sides; a curve that fills the width does not.
  return {left,
          right,
          top,
          bottom,
          fitted(chart.x, x, 0.01, left, right),
          fitted(chart.y, y, 0.06, bottom, top)};
}

// Ticks that differ by less than their numbers show would read as equal.
std::string tick_text(double tick, double step) {
  const double digits =
      step > 0 && tick != 0 ? std::ceil(std::log10(std::abs(tick) / step) + 1e-9) + 1 : 3;
  return number_text(tick, static_cast<int>(std::clamp(digits, 1.0, 9.0)));
}

void draw_axes(Html& html, const LineChart& chart, const Frame& frame) {
  const double size = chart.small ? 9.5 : 11;
  const auto ys = nice_ticks(frame.y.low(), frame.y.high(), chart.small ? 3 : 5, chart.y.log);
  for (const double tick : ys) {
    const double y = frame.y(tick);
    rule(html, frame.left, y, frame.right, y, "grid");
    const double step = ys.size() > 1 && !chart.y.log ? ys[1] - ys[0] : std::abs(tick);
    label(html, frame.left - 5, y + size * 0.35, Anchor::kEnd, tick_text(tick, step), size);
  }
  rule(html, frame.left, frame.bottom, frame.right, frame.bottom, "axis");
  const auto xs = nice_ticks(frame.x.low(), frame.x.high(), chart.small ? 2 : 6, chart.x.log);
  for (const double tick : xs) {
    const double x = frame.x(tick);
    rule(html, x, frame.bottom, x, frame.bottom + 4, "axis");
    const double step = xs.size() > 1 && !chart.x.log ? xs[1] - xs[0] : std::abs(tick);
    label(html, x, frame.bottom + 5 + size, Anchor::kMiddle, tick_text(tick, step), size);
  }
  if (!chart.small && !chart.x.label.empty()) {
    label(html, (frame.left + frame.right) / 2, chart.height - 4, Anchor::kMiddle, chart.x.label,
          11);
  }
}

// Stretches of points that can be drawn, without the gaps between them.
std::vector<std::vector<std::string>> stretches(const Frame& frame,
                                                const std::vector<Point>& points) {
  std::vector<std::vector<std::string>> found(1);
  for (const Point& p : points) {
    const double x = frame.x(p.step), y = frame.y(p.value);
    if (std::isnan(x) || std::isnan(y)) {
      if (!found.back().empty()) found.emplace_back();
      continue;
    }
    found.back().push_back(pixels(x) + "," + pixels(y));
  }
  if (found.back().empty()) found.pop_back();
  return found;
}

std::string joined(const std::vector<std::string>& parts, std::string_view between) {
  std::string out;
  for (const std::string& part : parts) {
    if (!out.empty()) out += between;
    out += part;
  }
  return out;
}

void draw_band(Html& html, const Line& line, const Frame& frame) {
  if (line.low.size() != line.points.size() || line.high.size() != line.points.size()) return;
  std::vector<std::string> there, back;
  const auto flush = [&] {
    if (there.size() > 1) {
      std::reverse(back.begin(), back.end());
      Html::Attributes attributes;
      add_fill(attributes, line.look);
      attributes.emplace_back("fill-opacity", "0.14");
      attributes.emplace_back("points", joined(there, " ") + " " + joined(back, " "));
      html.empty("polygon", attributes);
    }
    there.clear();
    back.clear();
  };
  // A long band takes the widest of every few points, as thinned() keeps the extremes of the line.
  const std::size_t stride = (line.points.size() + kMostPoints - 1) / kMostPoints;
  for (std::size_t i = 0; i < line.points.size(); i += stride) {
    double low = line.low[i], high = line.high[i];
    for (std::size_t k = i + 1; k < std::min(i + stride, line.points.size()); ++k) {
      low = std::min(low, line.low[k]);
      high = std::max(high, line.high[k]);
    }
    const double x = frame.x(line.points[i].step), bottom = frame.y(low), top = frame.y(high);
    if (std::isnan(x) || std::isnan(bottom) || std::isnan(top)) {
      flush();
      continue;
    }
    there.push_back(pixels(x) + "," + pixels(top));
    back.push_back(pixels(x) + "," + pixels(bottom));
  }
  flush();
}

void draw_line(Html& html, const Line& line, const Frame& frame, bool small) {
  const std::vector<Point> points = thinned(line.points, kMostPoints);
  Html::Attributes group{{"data-key", line.key.empty() ? line.label : line.key}};
  if (!line.faint) {
    std::vector<std::string> xs, ys;
    for (const Point& p : points) {
      xs.push_back(number_text(p.step, 9));
      ys.push_back(std::isfinite(p.value) ? number_text(p.value, 4) : "");
    }
    group.emplace_back("data-label", line.label);
    group.emplace_back("data-x", joined(xs, " "));
    group.emplace_back("data-y", joined(ys, ","));
  }
  const auto scope = html.in("g", group);
  draw_band(html, line, frame);
  for (const auto& stretch : stretches(frame, points)) {
    Html::Attributes attributes;
    add_stroke(attributes, line.look);
    if (!line.faint) add_dash(attributes, line.look);
    attributes.emplace_back("fill", "none");
    attributes.emplace_back("stroke-width", line.faint ? 0.8 : small ? 1.4 : 2);
    if (line.faint) attributes.emplace_back("stroke-opacity", "0.55");
    attributes.emplace_back("stroke-linejoin", "round");
    attributes.emplace_back("points", joined(stretch, " "));
    html.empty("polyline", attributes);
  }
  // Curves of few points get marks, whose shape tells them apart; so does a point alone between
  // gaps.
  const bool few = points.size() <= kMarkedPoints && !line.faint && !small;
  for (std::size_t i = 0; i < points.size(); ++i) {
    const auto shown = [&](std::size_t k) {
      return k < points.size() && !std::isnan(frame.y(points[k].value));
    };
    if (shown(i) && (few || (!shown(i - 1) && !shown(i + 1)))) {
      mark(html, line.look, frame.x(points[i].step), frame.y(points[i].value),
           line.faint || small ? 1.8 : 3.2);
    }
  }
}

void draw_references(Html& html, const LineChart& chart, const Frame& frame) {
  for (const Reference& r : chart.references) {
    const double y = frame.y(r.value);
    if (std::isnan(y)) continue;
    html.empty("line", {{"class", "reference"},
                        {"x1", pixels(frame.left)},
                        {"y1", pixels(y)},
                        {"x2", pixels(frame.right)},
                        {"y2", pixels(y)},
                        {"stroke", "#57606a"},
                        {"stroke-dasharray", "2 4"}});
    if (!chart.small) {
      const double above = y - 5 < frame.top + 8 ? y + 13 : y - 5;
      label(html, frame.right, above, Anchor::kEnd, r.label + " " + number_text(r.value, 3), 11,
            "over");
    }
  }
}

void draw_legend(Html& html, const LineChart& chart, const Frame& frame) {
  double x = frame.left;
  for (const Line& line : chart.lines) {
    if (line.faint) continue;
    Html::Attributes attributes{{"x1", pixels(x)},
                                {"y1", "34"},
                                {"x2", pixels(x + 22)},
                                {"y2", "34"},
                                {"stroke-width", "2"}};
    add_stroke(attributes, line.look);
    add_dash(attributes, line.look);
    html.empty("line", attributes);
    label(html, x + 27, 38, Anchor::kStart, line.label);
    x += 42 + text_width(line.label, kFont);
  }
}

std::string described(const LineChart& chart) {
  if (!chart.description.empty()) return chart.description;
  std::string text = "Line chart over " + (chart.x.label.empty() ? "steps" : chart.x.label) + ".";
  for (const Line& line : chart.lines) {
    if (line.faint || line.points.empty()) continue;
    text += " " + line.label + ": " + number_text(line.points.front().value, 3) + " to " +
            number_text(line.points.back().value, 3) + ".";
  }
  return text;
}

}  // namespace

void draw(Html& html, const LineChart& chart) {
  const Frame frame = frame_of(chart);
  auto attributes =
      canvas(chart.small ? "chart small" : "chart", chart.width, chart.height, chart.title);
  // What the page's script needs to turn a pointer position back into a step.
  attributes.emplace_back("data-frame",
                          joined({pixels(frame.left), pixels(frame.right), pixels(frame.top),
                                  pixels(frame.bottom), number_text(frame.x.low(), 9),
                                  number_text(frame.x.high(), 9), chart.x.log ? "1" : "0"},
                                 " "));
  attributes.emplace_back("data-unit", chart.x.label.empty() ? "step" : chart.x.label);
  const auto svg = html.in("svg", attributes);
  name_it(html, chart.title, described(chart));
  const double size = chart.small ? kSmallFont : 13;
  heading(html, chart.small ? 2 : 4, chart.small ? 11 : 15, chart.width - 8, chart.title,
          chart.y.label, size);
  draw_axes(html, chart, frame);
  draw_references(html, chart, frame);
  for (const bool faint : {true, false}) {
    for (const Line& line : chart.lines) {
      if (line.faint == faint) draw_line(html, line, frame, chart.small);
    }
  }
  if (chart.legend) draw_legend(html, chart, frame);
}

}  // namespace tapestry::lab
