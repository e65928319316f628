#include "examples/lab/plot.h"

#include <algorithm>
#include <cmath>
#include <set>

#include <doctest/doctest.h>

#include "core/error.h"
#include "tests/lab/well_formed.h"

using namespace tapestry;
using namespace tapestry::lab;

namespace {

template <class Chart>
Reading drawn(const Chart& chart) {
  Html html;
  draw(html, chart);
  return read_markup(html.str());
}

std::size_t points_of(const Element& polyline) {
  const std::string points = polyline.value("points");
  return static_cast<std::size_t>(std::count(points.begin(), points.end(), ','));
}

std::vector<Element> all(const Reading& reading, const std::string& tag) {
  std::vector<Element> found;
  for (const Element& e : reading.elements) {
    if (e.tag == tag) found.push_back(e);
  }
  return found;
}

// Relative luminance and contrast as WCAG 2 defines them.
double luminance(std::string_view color) {
  double sum = 0;
  const double weights[] = {0.2126, 0.7152, 0.0722};
  for (std::size_t i = 0; i < 3; ++i) {
    const double c = std::stoi(std::string(color.substr(1 + 2 * i, 2)), nullptr, 16) / 255.0;
    sum += weights[i] * (c <= 0.03928 ? c / 12.92 : std::pow((c + 0.055) / 1.055, 2.4));
  }
  return sum;
}

double contrast(std::string_view a, std::string_view b) {
  const double x = luminance(a) + 0.05, y = luminance(b) + 0.05;
  return std::max(x, y) / std::min(x, y);
}

}  // namespace

TEST_CASE("ticks are round and cover the range") {
  CHECK(nice_ticks(0, 10, 5) == std::vector<double>{0, 2, 4, 6, 8, 10});
  CHECK(nice_ticks(0.03, 0.97, 5) == std::vector<double>{0.2, 0.4, 0.6000000000000001, 0.8});
  CHECK(nice_ticks(-1, 1, 4) == std::vector<double>{-1, -0.5, 0, 0.5, 1});
  CHECK(nice_ticks(1, 1000, 5, true) == std::vector<double>{1, 10, 100, 1000});
  CHECK(nice_ticks(1, 9, 5, true) == std::vector<double>{1, 2, 5});
  CHECK(nice_ticks(1e-12, 1e12, 5, true).size() <= 7);
  CHECK(nice_ticks(1, 1, 5).empty());
  CHECK(nice_ticks(0, HUGE_VAL, 5).empty());
}

TEST_CASE("every hue stands out by 3 : 1 on its ground, and normalizers keep their hue") {
  std::set<int> used;
  for (const Hue& hue : hues()) {
    CAPTURE(hue.name);
    CHECK(contrast(hue.light, "#ffffff") >= 3);
    CHECK(contrast(hue.dark, "#15181d") >= 3);
  }
  for (const char* name :
       {"none", "batch", "layer", "instance", "group", "rms", "spectral", "weight"}) {
    REQUIRE(look_of(name));
    CHECK(used.insert(look_of(name)->hue).second);
  }
  CHECK_FALSE(look_of("adain"));
  CHECK(hues()[static_cast<std::size_t>(look_of("batch")->hue)].name == "blue");
}

TEST_CASE("a line has one point per value and a gap where there is none") {
  LineChart chart;
  chart.title = "loss <of> & all";
  Line line{"batch", {1, 0}, {}, {}, {}, "", false};
  for (int i = 0; i < 10; ++i)
    line.points.push_back({static_cast<double>(i), i == 4 ? kMissing : i * i + 1.0});
  chart.lines = {line};
  Reading reading = drawn(chart);
  REQUIRE(reading.problem == "");
  std::vector<Element> lines = all(reading, "polyline");
  REQUIRE(lines.size() == 2);
  CHECK(points_of(lines[0]) == 4);
  CHECK(points_of(lines[1]) == 5);
  CHECK(all(reading, "title").size() == 1);
  CHECK(all(reading, "desc").size() == 1);
  CHECK(all(reading, "text").size() > 5);  // numbers stay text

  chart.y.log = true;
  chart.lines[0].points[7].value = -3;  // a logarithm cannot show it
  lines = all(drawn(chart), "polyline");
  REQUIRE(lines.size() == 3);
  CHECK(points_of(lines[1]) == 2);
}

TEST_CASE("a band is a polygon there and back, long curves are thinned") {
  LineChart chart;
  Line line{"layer", {2, 3}, {}, {}, {}, "", false};
  for (int i = 0; i < 5000; ++i) {
    line.points.push_back({static_cast<double>(i), std::sin(i * 0.1)});
    line.low.push_back(-1);
    line.high.push_back(1);
  }
  chart.lines = {line};
  const Reading reading = drawn(chart);
  REQUIRE(reading.problem == "");
  CHECK(points_of(all(reading, "polyline").at(0)) <= 602);
  const Element polygon = all(reading, "polygon").at(0);
  CHECK(points_of(polygon) % 2 == 0);
  CHECK(points_of(polygon) <= 802);
}

TEST_CASE("charts survive empty, constant, single and extreme values") {
  for (const bool log : {false, true}) {
    for (const std::vector<Point>& points : {std::vector<Point>{},
                                             {{0, 5}},
                                             {{0, 5}, {1, 5}},
                                             {{0, kMissing}},
                                             {{0, HUGE_VAL}, {1, 1}},
                                             {{0, 1e-300}, {1, 1e300}},
                                             {{0, 0}, {1, 0}},
                                             {{3, -1e18}, {3, 1e18}}}) {
      LineChart chart;
      chart.y.log = log;
      chart.references = {{0.5, "reference"}};
      chart.lines = {{"a", {0, 1}, points, {}, {}, "", false}};
      Html html;
      draw(html, chart);
      CHECK(read_markup(html.str()).problem == "");
      CHECK(html.str().find("nan") == std::string::npos);
      CHECK(html.str().find("inf") == std::string::npos);
    }
  }
  CHECK(drawn(BarChart{"empty", "", "ms", {}, 300}).problem == "");
  CHECK(drawn(HeatMap{"empty", "", {}, {}, {}, 0, 1, 2, 300}).problem == "");
}

TEST_CASE("bars, strips, histograms and heat maps draw what they are given") {
  BarChart bars{"time",
                "",
                "ms",
                {{"batch", {1, 0}, {{"forward", 3}, {"backward", 6}}, {9, 9.2}, "", ""}},
                500};
  Reading reading = drawn(bars);
  REQUIRE(reading.problem == "");
  CHECK(all(reading, "rect").size() == 2);
  CHECK(all(reading, "circle").size() == 2);
  const double first = std::stod(all(reading, "rect")[0].value("width"));
  const double second = std::stod(all(reading, "rect")[1].value("width"));
  CHECK(second / first == doctest::Approx(2).epsilon(0.02));

  Html html;
  const std::vector<double> values{1, kMissing, 3};
  draw(html, Strip{"batch", {1, 0}, values, summarize(values)}, StripScale{0, 4, false}, 100, 20);
  reading = read_markup(html.str());
  REQUIRE(reading.problem == "");
  CHECK(all(reading, "circle").size() == 2);

  reading = drawn(HeatMap{"dead", "", {"a", "b"}, {"x", "y"}, {0, 1, kMissing, 0.5}, 0, 1, 2, 400});
  REQUIRE(reading.problem == "");
  CHECK(all(reading, "rect").size() == 3);
  CHECK(reading.text.find("0.50") != std::string::npos);
  Html unused;
  CHECK_THROWS_AS(draw(unused, HeatMap{"bad", "", {"a"}, {"x"}, {1, 2}, 0, 1, 2, 400}), Error);

  HistogramChart histogram;
  histogram.outlines = {{"batch", {1, 0}, {0, 1, 2, 3}, {5, 10, 2}, ""}};
  reading = drawn(histogram);
  REQUIRE(reading.problem == "");
  const std::string path = all(reading, "path").at(0).value("d");
  CHECK(std::count(path.begin(), path.end(), 'H') == 3);
  histogram.outlines[0].edges.pop_back();
  CHECK_THROWS_AS(draw(unused, histogram), Error);
}
