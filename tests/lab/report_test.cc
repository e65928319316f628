#include "examples/lab/report.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>

#include <doctest/doctest.h>

#include "core/error.h"
#include "examples/lab/report_parts.h"
#include "tests/lab/report_fixture.h"
#include "tests/lab/well_formed.h"

using namespace tapestry;
using namespace tapestry::lab;

namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

int count(const std::string& text, const std::string& part) {
  int n = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

// Two cells, "a" and "b", with one value per seed.
Comparison two_cells(const std::vector<double>& a, const std::vector<double>& b,
                     Goal goal = Goal::kMin) {
  Comparison c;
  c.title = "two";
  c.metrics = {{"m", "Loss", goal, "", false, {}, "", 0, ""}};
  for (std::size_t seed = 0; seed < a.size(); ++seed) {
    for (const bool second : {false, true}) {
      RunRecord run;
      run.cell = second ? "b" : "a";
      run.seed = seed + 1;
      run.metrics = {{"m", {{10, second ? b[seed] : a[seed]}}}};
      c.runs.push_back(run);
    }
  }
  return c;
}

// The pages a person looks at: set TAPESTRY_DEMO_DIR to a folder to get them as files.
void keep(const std::string& name, const std::string& page) {
  if (const char* folder = std::getenv("TAPESTRY_DEMO_DIR"))
    std::ofstream(std::string(folder) + "/" + name) << page;
}

}  // namespace

TEST_CASE("every kind of page is well formed, self-contained and small") {
  Comparison running = fixture::comparison(2, false);
  running.status = running.runs.back().status = RunStatus::kRunning;
  Comparison single = fixture::comparison(1);
  single.runs.resize(1);
  single.claims.clear();
  const std::pair<const char*, Comparison> pages[] = {
      {"comparison.html", fixture::comparison(3)},
      {"two_seeds.html", fixture::comparison(2, false)},
      {"running.html", running},
      {"single.html", single},
      {"style.html", fixture::style()},
      {"sweep.html", fixture::sweep()},
      {"nothing.html", Comparison{}}};
  for (const auto& entry : pages) {
    const char* const name = entry.first;
    const Comparison& comparison = entry.second;
    CAPTURE(name);
    const std::string page = report_html(comparison);
    keep(name, page);
    const Reading reading = read_markup(page);
    CHECK(reading.problem == "");
    CHECK(page.size() < 3'000'000);
    for (const Element& e : reading.elements) {
      for (const char* attribute : {"src", "href"}) {
        const std::string value = e.value(attribute);
        CHECK((value.empty() || value.rfind("data:", 0) == 0));
      }
      CHECK(e.tag != "link");
      CHECK(e.tag != "iframe");
      for (const auto& [key, value] : e.attributes) CHECK(key.rfind("on", 0) != 0);
    }
    CHECK_FALSE(contains(page, "@import"));
    CHECK_FALSE(contains(page, "url("));
    for (const RunRecord& run : comparison.runs) {
      CHECK(contains(reading.text, run.weights_hash));
      CHECK(contains(reading.text, run.folder));
    }
    CHECK(contains(page, "http-equiv=\"refresh\"") == (comparison.status == RunStatus::kRunning));
    CHECK(contains(page, "root.dataset.ready = \"yes\";\n})();"));  // the script's last act
  }
}

TEST_CASE("the sections come in their order and a single run has no table of cells") {
  const std::string page = report_html(fixture::comparison(3));
  std::size_t at = 0;
  for (const char* id :
       {"verdict", "table", "curves", "samples", "inside", "cost", "config", "environment"}) {
    const std::size_t next = page.find("<section id=\"" + std::string(id) + "\"");
    CAPTURE(id);
    REQUIRE(next != std::string::npos);
    CHECK(next > at);
    at = next;
  }
  Comparison single = fixture::comparison(1);
  single.runs.resize(1);
  CHECK_FALSE(contains(report_html(single), "diverged<small>"));
  CHECK(contains(verdict_sentences(single)[0], "Done at step 300 of 300: FD-own "));
}

TEST_CASE("curves have one point per measured step: a thin line per seed and a mean per cell") {
  Comparison c = fixture::comparison(3, false);
  c.metrics.resize(1);
  for (RunRecord& run : c.runs) {
    run.scalars.clear();
    run.layers.clear();
    run.pictures.clear();
    run.ms_per_step = kMissing;
  }
  int lines = 0;
  for (const Element& e : read_markup(report_html(c)).elements) {
    if (e.tag != "polyline") continue;
    ++lines;
    CHECK(count(e.value("points"), ",") == 7);  // steps 0, 50 … 300
  }
  CHECK(lines == 6 * (3 + 1));
}

TEST_CASE("the mean stops where a seed is missing, the thin lines go on") {
  Comparison c = two_cells({1, 2}, {3, 4});
  c.runs[0].metrics[0].points = {{10, 1}, {20, 1}, {30, 1}};
  c.runs[2].metrics[0].points = {{10, 2}, {20, kMissing}, {30, 2}};
  const report::Digest d = report::digest(c);
  const Line mean = report::mean_line(
      d.cells[0], [](const RunRecord& run) { return &run.metrics[0].points; },
      [](const RunRecord&, double step) { return step; }, true);
  REQUIRE(mean.points.size() == 3);
  CHECK(mean.points[0].value == 1.5);
  CHECK(std::isnan(mean.points[1].value));
  CHECK(mean.low[2] == 1);
  CHECK(mean.high[2] == 2);
}

TEST_CASE("golden verdicts") {
  SUBCASE("clear") {
    const auto v = verdict_sentences(two_cells({1, 1.1, 0.9}, {3, 3, 3.1}));
    CHECK(v[0] == "a reaches the lowest Loss, 1.00 ± 0.25 over 3 seeds, clearly lower than b.");
    CHECK(v[1] == "clear: b − a in Loss: +2.03 (95 % interval +1.65 to +2.41), 3 paired seeds.");
  }
  SUBCASE("the other direction") {
    const auto v = verdict_sentences(two_cells({1, 1.1, 0.9}, {3, 3, 3.1}, Goal::kMax));
    CHECK(v[0] == "b reaches the highest Loss, 3.03 ± 0.14 over 3 seeds, clearly higher than a.");
  }
  SUBCASE("two seeds are honest") {
    const auto v = verdict_sentences(two_cells({1, 2}, {3, 3.1}));
    CHECK(v[0] ==
          "No clear difference in Loss: a is lowest on average (1.5 ± 6.4 over 2 seeds), but no "
          "paired 95 % "
          "interval against another cell excludes zero.");
    CHECK(v[1] ==
          "not decided at this scale: b − a in Loss: +1.6 (95 % interval −4.2 to +7.3), 2 paired "
          "seeds.");
    CHECK(contains(v[2], "With 2 seeds a 95 % interval reaches 12.7 standard errors to each side"));
  }
  SUBCASE("one seed decides nothing") {
    const auto v = verdict_sentences(two_cells({1}, {300}));
    CHECK(v[0] ==
          "a has the lowest Loss (1), but one seed per cell says nothing about chance: not decided "
          "at this "
          "scale.");
    CHECK(v.size() == 1);
  }
  SUBCASE("claims") {
    Comparison c = two_cells({1, 1.1, 0.9}, {3, 3, 3.1});
    c.claims = {{"a beats b", "m", "a", "b", "a paper"},
                {"b beats a", "m", "b", "a", ""},
                {"c wins", "m", "c", "a", ""}};
    const auto v = verdict_sentences(c);
    CHECK(v[1] ==
          "confirmed: “a beats b” (a paper): a − b in Loss −2.03 (95 % interval −2.41 to −1.65), 3 "
          "paired "
          "seeds.");
    CHECK(v[2] ==
          "contradicted: “b beats a”: b − a in Loss +2.03 (95 % interval +1.65 to +2.41), 3 paired "
          "seeds.");
    CHECK(v[3] == "not tested: “c wins”: this comparison has no such cells or metric.");
  }
  SUBCASE("a cell that lost runs never leads, and its losses are told") {
    Comparison c = two_cells({1, 1, 1}, {3, 3, 3.1});
    c.runs[2].status = RunStatus::kDiverged;  // a, seed 2
    c.runs[2].step = 180;
    const auto v = verdict_sentences(c);
    CHECK(v[0].rfind("No clear difference in Loss: b is lowest on average", 0) == 0);
    CHECK(std::find(v.begin(), v.end(),
                    "diverged: a diverged in 1 of 3 runs (seed 2 at step 180); its mean is over "
                    "the runs that "
                    "survived.") != v.end());
  }
  SUBCASE("unfinished runs are left out and said") {
    Comparison c = two_cells({1, 1.1, 0.9}, {3, 3, 3.1});
    c.runs.back().status = RunStatus::kInterrupted;
    c.cells = {"a", "b", "planned"};
    const auto v = verdict_sentences(c);
    CHECK(contains(v[0], "over 3 seeds"));
    CHECK(contains(v[1], "2 paired seeds"));
    CHECK(std::find(v.begin(), v.end(),
                    "Preliminary: 5 of 9 runs have ended; runs that have not are left out of every "
                    "mean.") != v.end());
  }
  SUBCASE("samples and references are told") {
    Comparison c = two_cells({1, 1}, {3, 3});
    c.metrics[0].reference = 0.5;
    c.metrics[0].samples = 2000;
    CHECK(contains(verdict_sentences(c).back(),
                   "Loss: Real against real: 0.5. Each value from 2,000 samples."));
    CHECK(contains(report_html(c), ">real against real 0.5</text>"));
  }
  SUBCASE("equal differences are said to be equal") {
    CHECK(contains(verdict_sentences(two_cells({1, 2}, {2, 3}))[1],
                   "2 paired seeds, exactly equal in all of them."));
  }
  SUBCASE("a metric with one value everywhere has no winner") {
    const std::string none = "Loss does not separate the cells: it is ";
    CHECK(verdict_sentences(two_cells({0}, {0}, Goal::kMax))[0] == none + "0 in every run.");
    const auto v = verdict_sentences(two_cells({0, 0, 0}, {0, 0, 0}, Goal::kMax));
    CHECK(v[0] == none + "0 in every run.");
    CHECK(v.size() == 1);  // and no list of differences of zero
    CHECK(verdict_sentences(two_cells({1, 2, 3}, {1, 2, 3}))[0] ==
          none + "the same in all of them, seed by seed.");
    Comparison c = fixture::sweep();
    for (RunRecord& run : c.runs) run.metrics[0].points.back().value = 0.5;
    const auto swept = verdict_sentences(c);
    CHECK(contains(swept[0], "does not separate the cells at any setting."));
    CHECK(contains(swept[1], "does not separate the cells: it is 0.5"));
  }
  SUBCASE("equal leaders are named together") {
    CHECK(verdict_sentences(two_cells({1, 2, 3}, {3, 2, 1}))[0].rfind(
              "No clear difference in Loss: a and b have the lowest mean (2", 0) == 0);
    Comparison c = two_cells({1}, {1});
    RunRecord third = c.runs[0];
    third.cell = "c";
    third.metrics[0].points[0].value = 2;
    c.runs.push_back(third);
    CHECK(verdict_sentences(c)[0].rfind("a and b share the lowest Loss (1), but", 0) == 0);
  }
  SUBCASE("a second setting is judged setting by setting") {
    const auto v = verdict_sentences(fixture::sweep());
    CHECK(contains(v[0],
                   "depends on the setting: group at batch = 2; batch at batch = 4, batch = 16 and "
                   "batch = 64."));
    CHECK(v[1].rfind("batch = 2: group reaches the highest Test accuracy", 0) == 0);
  }
}

TEST_CASE("hostile names stay text") {
  const std::string evil = "</script><script>alert(1)</script>\"' onload='x' & \xFF\x1B";
  Comparison c = fixture::comparison(2);
  c.title = c.question = c.command = evil;
  c.notes = {evil};
  c.varied = {{evil, evil}};
  c.environment = {{evil, evil}};
  c.claims = {{evil, "fd_own", evil, evil, evil}};
  c.metrics[0].label = c.metrics[0].unit = c.metrics[0].reference_label = evil;
  c.inputs = {{evil, {{evil, "not a picture"}}}};
  for (RunRecord& run : c.runs) {
    run.remark = run.config = run.weights_hash = run.folder = evil;
    run.scalars[0].name = evil;
    run.layers[0].layer = evil;
    run.ms_parts[0].first = evil;
    if (run.normalizer == "rms") run.cell = run.normalizer = run.settings[0].second = evil;
    for (PictureStep& at : run.pictures) at.pictures[0].label = evil;
  }
  const std::string page = report_html(c);
  CHECK(read_markup(page).problem == "");
  CHECK(count(page, "<script") == 1);
  CHECK(count(page, "</script") == 1);
  for (const Element& e : read_markup(page).elements) {
    for (const auto& [key, value] : e.attributes) CHECK(key.rfind("on", 0) != 0);
  }
}

TEST_CASE("pictures are thinned to the budget and broken ones are named") {
  Comparison c = fixture::comparison(2);
  const auto pictures = [&](std::size_t budget) {
    ReportOptions options;
    options.picture_bytes = budget;
    return count(report_html(c, options), "src=\"data:image/png");
  };
  const int all = pictures(2'000'000);
  CHECK(all == 6 * 5);
  CHECK(pictures(200'000) < all);
  CHECK(pictures(1) == 6 * 2);  // first and last step
  c.runs[0].pictures[0].pictures[0].png = "GIF89a";
  CHECK(pictures(2'000'000) == all - 1);
  CHECK(contains(report_html(c), "not a PNG"));
}

TEST_CASE("a cell that diverged says so where its picture would be") {
  Comparison c = fixture::comparison(2);
  RunRecord& run = c.runs[3];
  run.status = RunStatus::kDiverged;
  run.step = 180;
  run.pictures.resize(3);
  CHECK(contains(report_html(c), "diverged at step 180</p>\n<figcaption>step 225"));
}

TEST_CASE("the table as CSV") {
  Comparison c = two_cells({1.5}, {kMissing});
  c.runs[0].cell = "norm=\"x\",batch=2";
  c.runs[0].peak_bytes = 41231231;
  CHECK(report_csv(c) ==
        "cell,seed,status,step,m last,m best,m best step,ms per step,seconds,peak "
        "bytes,parameters,weights hash,folder\r\n"
        "\"norm=\"\"x\"\",batch=2\",1,done,0,1.5,1.5,10,,,41231231,,,\r\n"
        "b,1,done,0,,,,,,,,,\r\n");
  CHECK(contains(report_html(c), "data:text/csv;base64," + base64(report_csv(c))));
}

TEST_CASE("looks: a normalizer keeps its hue, equal hues differ in dash") {
  Comparison c = two_cells({1}, {2});
  c.runs[0].cell = "norm=group,groups=4";
  c.runs[1].cell = "norm=group,groups=8";
  c.runs[0].normalizer = c.runs[1].normalizer = "group";
  c.cells = {"norm=group,groups=4", "norm=group,groups=8", "norm=batch", "adain"};
  const report::Digest d = report::digest(c);
  REQUIRE(d.cells.size() == 4);
  CHECK(d.cells[0].look.hue == look_of("group")->hue);
  CHECK(d.cells[1].look.hue == look_of("group")->hue);
  CHECK(d.cells[0].look.dash != d.cells[1].look.dash);
  CHECK(d.cells[2].look.hue == look_of("batch")->hue);
  CHECK(d.cells[3].look.hue != look_of("batch")->hue);
  CHECK(d.cells[3].look.hue != look_of("group")->hue);
}

TEST_CASE("configs are compared line by line, whatever their layout") {
  using report::indented_json;
  CHECK(indented_json(R"({"a":1,"b":{"c":[1,2],"d":"x,{y}\"z"},"e":{}})") ==
        "{\n  \"a\": 1,\n  \"b\": {\n    \"c\": [\n      1,\n      2\n    ],\n    \"d\": "
        "\"x,{y}\\\"z\"\n  },\n  \"e\": {}\n}");
  const auto changes =
      report::line_changes(indented_json(R"({"norm":"none","lr":1})"),
                           indented_json("{ \"norm\" : \"batch\",\n \"lr\":1, \"eps\":2}"));
  REQUIRE(changes.size() == 3);
  CHECK(changes[0].kind == '-');
  CHECK(changes[0].text == "  \"norm\": \"none\",");
  CHECK(changes[1].text == "  \"norm\": \"batch\",");
  CHECK(changes[2].text == "  \"eps\": 2");
  CHECK(report::line_changes("a\nb", "a\nb").empty());
}

TEST_CASE("numbers as the page words them") {
  using namespace report;
  CHECK(mean_text(summarize(std::vector<double>{41, 42, 43.5})) == "42.2 ± 3.1");
  CHECK(mean_text(summarize(std::vector<double>{0.861})) == "0.861");
  CHECK(mean_text(Summary{}) == "–");
  CHECK(mean_text(summarize(std::vector<double>{1e9, 2e9})) == "1.5e9 ± 6.4e9");
  CHECK(duration_text(12.34) == "12.3 s");
  CHECK(duration_text(271) == "4 min 31 s");
  CHECK(duration_text(4320) == "1 h 12 min");
  CHECK(listed({"a"}) == "a");
  CHECK(listed({"a", "b", "c"}) == "a, b and c");
}
