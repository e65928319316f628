#include "examples/lab/plot_parts.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace tapestry::lab {
namespace {

// Okabe and Ito (2008). Orange, sky blue, yellow and purple are darkened on white, blue and black
// lightened in the dark, until every hue stands out by 3 : 1.
constexpr std::array<Hue, 8> kHues = {{{"black", "#24292f", "#e4e6ea"},
                                       {"blue", "#0072b2", "#3a9ce0"},
                                       {"orange", "#c17f00", "#e69f00"},
                                       {"vermillion", "#d55e00", "#f2733a"},
                                       {"green", "#009e73", "#1fc092"},
                                       {"purple", "#b9558c", "#d988b6"},
                                       {"sky blue", "#2f93cc", "#85cdf5"},
                                       {"yellow", "#948600", "#f0e442"}}};

constexpr std::array<std::string_view, 8> kDashes = {"",     "7 3", "2 3",         "8 3 2 3",
                                                     "12 3", "4 2", "8 3 2 3 2 3", "1 2"};

}  // namespace

std::span<const Hue> hues() { return kHues; }

std::optional<Look> look_of(std::string_view normalizer) {
  // The dashes are chosen so that the two most compared ones, batch and instance, differ most:
  // solid and dotted.
  static constexpr std::pair<std::string_view, Look> kLooks[] = {
      {"none", {0, 1}},  {"batch", {1, 0}}, {"layer", {2, 3}},    {"instance", {3, 2}},
      {"group", {4, 4}}, {"rms", {5, 5}},   {"spectral", {6, 6}}, {"weight", {7, 7}}};
  for (const auto& [name, look] : kLooks) {
    if (name == normalizer) return look;
  }
  return std::nullopt;
}

std::vector<double> nice_ticks(double low, double high, int count, bool log) {
  std::vector<double> ticks;
  if (!(low < high) || !std::isfinite(high - low)) return ticks;
  if (log && low > 0) {
    const int first = static_cast<int>(std::ceil(std::log10(low) - 1e-9));
    const int last = static_cast<int>(std::floor(std::log10(high) + 1e-9));
    const int stride = std::max(1, (last - first + count) / count);
    for (int k = first; k <= last; ++k) {
      if ((k - first) % stride == 0) ticks.push_back(std::pow(10.0, k));
    }
    if (ticks.size() >= (count <= 3 ? 2u : 3u)) return ticks;
    ticks.clear();
    for (int k = first - 1; k <= last; ++k) {
      for (const double digit : {1.0, 2.0, 5.0}) {
        const double tick = digit * std::pow(10.0, k);
        if (tick >= low * (1 - 1e-9) && tick <= high * (1 + 1e-9)) ticks.push_back(tick);
      }
    }
    if (ticks.size() >= 2) return ticks;
    ticks.clear();  // less than a factor of about two: even steps read better
  }
  const double rough = (high - low) / std::max(1, count);
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (const double digit : {1.0, 2.0, 5.0}) {
    if (digit * power >= rough * (1 - 1e-9)) {
      step = digit * power;
      break;
    }
  }
  const double begin = std::ceil(low / step - 1e-9), end = std::floor(high / step + 1e-9);
  for (double i = begin; i <= end && ticks.size() < 100; ++i) ticks.push_back(i * step);
  return ticks;
}

namespace plot {

Scale::Scale(double low, double high, bool log, double from, double to)
    : low_(low), high_(high), from_(from), to_(to), log_(log) {}

double Scale::operator()(double value) const {
  if (!std::isfinite(value) || (log_ && value <= 0)) return kMissing;
  const double t =
      log_ ? std::log(value / low_) / std::log(high_ / low_) : (value - low_) / (high_ - low_);
  return from_ + t * (to_ - from_);
}

void Range::add(double value, bool log) {
  if (!std::isfinite(value) || (log && value <= 0)) return;
  low = std::isnan(low) ? value : std::min(low, value);
  high = std::isnan(high) ? value : std::max(high, value);
}

void Range::finish(bool log, double margin) {
  if (std::isnan(low)) {
    low = log ? 0.1 : 0;
    high = 1;
  }
  if (log) {
    if (!(high > low * 1.05)) {
      low /= 1.5;
      high *= 1.5;
    }
    const double factor = std::pow(high / low, margin);
    low /= factor;
    high *= factor;
    return;
  }
  if (!(high - low > 1e-9 * std::max(std::abs(low), std::abs(high)))) {
    const double reach = std::max(std::abs(low) * 0.1, 1e-6);
    low -= reach;
    high += reach;
  }
  const double widen = margin * (high - low);
  low -= widen;
  high += widen;
}

std::string pixels(double value) { return number_text(std::round(value * 10) / 10, 6); }

Html::Attributes canvas(std::string_view kind, double width, double height,
                        std::string_view title) {
  return {{"class", kind},
          {"xmlns", "http://www.w3.org/2000/svg"},
          {"viewBox", "0 0 " + pixels(width) + " " + pixels(height)},
          {"width", pixels(width)},
          {"height", pixels(height)},
          {"role", "img"},
          {"aria-label", title},
          {"font-family", "system-ui, sans-serif"}};
}

void name_it(Html& html, std::string_view title, std::string_view description) {
  html.element("title", title);
  if (!description.empty()) html.element("desc", description);
}

void label(Html& html, double x, double y, Anchor anchor, std::string_view text, double size,
           std::string_view kind) {
  Html::Attributes attributes{
      {"x", pixels(x)}, {"y", pixels(y)}, {"font-size", pixels(size)}, {"fill", "#57606a"}};
  if (anchor != Anchor::kStart) {
    attributes.emplace_back("text-anchor", anchor == Anchor::kEnd ? "end" : "middle");
  }
  if (!kind.empty()) attributes.emplace_back("class", kind);
  html.element("text", attributes, text);
}

double text_width(std::string_view text, double size) {
  const auto letters =
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; });
  return 0.56 * size * static_cast<double>(letters);
}

std::string shortened(std::string_view text, double width, double size) {
  if (text_width(text, size) <= width) return std::string(text);
  const auto is_start = [&](std::size_t i) { return i >= text.size() || (text[i] & 0xC0) != 0x80; };
  const auto keep = static_cast<std::size_t>(std::max(2.0, width / (0.56 * size) - 1));
  // The end of a module path says more than its beginning.
  std::size_t head = keep / 3, tail = text.size() - std::min(text.size(), keep - keep / 3);
  while (!is_start(head)) --head;
  while (!is_start(tail)) ++tail;
  return std::string(text.substr(0, head)) + "…" + std::string(text.substr(tail));
}

void heading(Html& html, double x, double y, double width, std::string_view title,
             std::string_view remark, double size) {
  const std::string shown = shortened(title, width, size * 1.06);  // bold letters are wider
  const double rest = width - text_width(shown, size * 1.06) - 8;
  const auto text = html.in(
      "text",
      {{"x", pixels(x)}, {"y", pixels(y)}, {"font-size", pixels(size)}, {"fill", "#57606a"}});
  html.element("tspan", {{"class", "title"}, {"font-weight", "600"}, {"fill", "#24292f"}}, shown);
  if (!remark.empty() && rest > 40) {
    html.element("tspan", {{"dx", "8"}}, shortened(remark, rest, size));
  }
}

void add_stroke(Html::Attributes& attributes, const Look& look) {
  const auto hue = static_cast<std::size_t>(look.hue) % kHues.size();
  attributes.emplace_back("class", "s" + std::to_string(hue));
  attributes.emplace_back("stroke", kHues[hue].light);
}

void add_fill(Html::Attributes& attributes, const Look& look) {
  const auto hue = static_cast<std::size_t>(look.hue) % kHues.size();
  attributes.emplace_back("class", "f" + std::to_string(hue));
  attributes.emplace_back("fill", kHues[hue].light);
}

void add_dash(Html::Attributes& attributes, const Look& look) {
  const std::string_view dash = kDashes[static_cast<std::size_t>(look.dash) % kDashes.size()];
  if (!dash.empty()) attributes.emplace_back("stroke-dasharray", dash);
}

void rule(Html& html, double x1, double y1, double x2, double y2, std::string_view kind) {
  html.empty("line", {{"class", kind},
                      {"x1", pixels(x1)},
                      {"y1", pixels(y1)},
                      {"x2", pixels(x2)},
                      {"y2", pixels(y2)},
                      {"stroke", kind == "axis" ? "#8c959f" : "#e3e6ea"}});
}

void mark(Html& html, const Look& look, double x, double y, double radius) {
  Html::Attributes attributes;
  add_fill(attributes, look);
  const auto at = [&](double dx, double dy) {
    return pixels(x + dx * radius) + " " + pixels(y + dy * radius);
  };
  std::string path;
  switch (look.dash % 8) {
    case 0:
      attributes.emplace_back("cx", pixels(x));
      attributes.emplace_back("cy", pixels(y));
      attributes.emplace_back("r", pixels(radius));
      html.empty("circle", attributes);
      return;
    case 1:
      path = "M" + at(-0.9, -0.9) + "L" + at(0.9, -0.9) + "L" + at(0.9, 0.9) + "L" + at(-0.9, 0.9);
      break;
    case 2:
      path = "M" + at(0, -1.2) + "L" + at(1.1, 0.8) + "L" + at(-1.1, 0.8);
      break;
    case 3:
      path = "M" + at(0, -1.3) + "L" + at(1.3, 0) + "L" + at(0, 1.3) + "L" + at(-1.3, 0);
      break;
    case 4:
      path = "M" + at(0, 1.2) + "L" + at(1.1, -0.8) + "L" + at(-1.1, -0.8);
      break;
    case 5:
      path = "M" + at(-1.4, -0.5) + "L" + at(1.4, -0.5) + "L" + at(1.4, 0.5) + "L" + at(-1.4, 0.5);
      break;
    case 6:
      path = "M" + at(-0.5, -1.4) + "L" + at(0.5, -1.4) + "L" + at(0.5, 1.4) + "L" + at(-0.5, 1.4);
      break;
    default:
      path = "M" + at(-1.2, 0) + "L" + at(0.8, 1.1) + "L" + at(0.8, -1.1);
      break;
  }
  attributes.emplace_back("d", path + "Z");
  html.empty("path", attributes);
}

}  // namespace plot
}  // namespace tapestry::lab
