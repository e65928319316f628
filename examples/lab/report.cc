#include "examples/lab/report.h"

#include <set>

#include "examples/lab/plot_parts.h"
#include "examples/lab/report_parts.h"

namespace tapestry::lab {
namespace report {

void swatch(Html& html, const Look& look) {
  const auto svg = html.in("svg", {{"class", "swatch"},
                                   {"viewBox", "0 0 26 10"},
                                   {"width", "26"},
                                   {"height", "10"},
                                   {"aria-hidden", "true"}});
  Html::Attributes line{{"x1", "1"}, {"y1", "5"}, {"x2", "25"}, {"y2", "5"}, {"stroke-width", "2"}};
  plot::add_stroke(line, look);
  plot::add_dash(line, look);
  html.empty("line", line);
  plot::mark(html, look, 13, 5, 3.2);
}

void legend(Html& html, const Digest& d) {
  const auto list = html.in("ul", {{"class", "legend"}, {"aria-label", "cells"}});
  std::set<std::string> named;
  for (const Cell& cell : d.cells) {
    if (!named.insert(cell.key).second) continue;
    const auto item = html.in("li", {{"data-toggle", cell.key}, {"class", "cellname"}});
    swatch(html, cell.look);
    html.element("span", cell.key);
  }
}

std::string hue_rules() {
  std::string light, dark;
  for (std::size_t i = 0; i < hues().size(); ++i) {
    const std::string n = std::to_string(i);
    const auto rules = [&](std::string_view color) {
      return ".s" + n + "{stroke:" + std::string(color) + "}.f" + n +
             "{fill:" + std::string(color) + "}";
    };
    light += rules(hues()[i].light);
    dark += rules(hues()[i].dark);
  }
  return light + "\n@media screen and (prefers-color-scheme:dark){" + dark + "}\n";
}

namespace {

void page_head(Html& html, const Comparison& comparison, const ReportOptions& options) {
  const auto head = html.in("head");
  html.empty("meta", {{"charset", "utf-8"}});
  html.empty("meta", {{"name", "viewport"}, {"content", "width=device-width, initial-scale=1"}});
  html.empty("meta", {{"name", "color-scheme"}, {"content", "light dark"}});
  if (comparison.status == RunStatus::kRunning) {
    html.empty("meta",
               {{"http-equiv", "refresh"}, {"content", std::to_string(options.refresh_seconds)}});
  }
  html.element("title", comparison.title + " – Tapestry");
  html.raw_element("style", std::string(kStyle) + hue_rules());
}

void page_header(Html& html, const Digest& d) {
  const auto header = html.in("header");
  const std::string status(status_name(d.comparison.status));
  html.open("p", {{"class", "kind"}});
  html.text(d.single() ? "Training run" : "Comparison");
  if (!d.single()) {
    html.text(" · " + std::to_string(d.cells.size()) + " cells × " +
              std::to_string(d.seeds.size()) + (d.seeds.size() == 1 ? " seed" : " seeds"));
  }
  html.text(" · ").element("span", {{"class", "status " + status}}, status).close();
  html.element("h1", d.comparison.title);
  if (!d.comparison.question.empty())
    html.element("p", {{"class", "question"}}, d.comparison.question);
}

}  // namespace
}  // namespace report

std::string report_html(const Comparison& comparison, const ReportOptions& options) {
  using namespace report;
  const Digest d = digest(comparison);
  Html html;
  {
    const auto page = html.in("html", {{"lang", "en"}});
    page_head(html, comparison, options);
    const auto body = html.in("body");
    const auto main = html.in("main");
    page_header(html, d);
    verdict_section(html, d);
    table_section(html, d);
    if (!d.single()) legend(html, d);
    curves_section(html, d);
    pictures_section(html, d, options);
    inside_section(html, d);
    cost_section(html, d);
    config_section(html, d);
    environment_section(html, d);
    html.raw_element("script", kScript);
  }
  return "<!DOCTYPE html>\n" + html.str();
}

}  // namespace tapestry::lab
