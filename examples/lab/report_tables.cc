// The verdict, the table of cells, every run, and the same as CSV.
#include <algorithm>
#include <cmath>

#include "examples/lab/report_parts.h"

namespace tapestry::lab {
namespace report {
namespace {

constexpr double kMega = 1e6;

// A number in a table: right-aligned, sortable by its exact value.
void number_cell(Html& html, double value, std::string_view text, std::string_view kind = "n") {
  html.element(
      "td", {{"class", kind}, {"data-sort", std::isnan(value) ? "" : number_text(value, 9)}}, text);
}

void cell_name(Html& html, const Cell& cell) {
  const auto th = html.in("th", {{"scope", "row"}, {"class", "cell"}, {"data-sort", cell.label}});
  const auto span = html.in("span", {{"class", "cellname"}});
  swatch(html, cell.look);
  html.element("span", cell.label);
}

StripScale scale_of(const Digest& d, const Metric& metric) {
  double low = kMissing, high = kMissing;
  const auto add = [&](double v) {
    if (!std::isfinite(v)) return;
    low = std::isnan(low) ? v : std::min(low, v);
    high = std::isnan(high) ? v : std::max(high, v);
  };
  for (const Cell& cell : d.cells) {
    for (const double v : last_values(cell, metric)) add(v);
  }
  if (std::isnan(low)) return {};
  const bool log = metric.log && low > 0;
  if (!(high > low)) {
    const double reach = std::max(std::abs(low) * 0.1, 1e-6);
    return {low - reach, high + reach, false};
  }
  return {low, high, log};
}

// Every seed as a number, in the order of the seeds; runs without a value say why.
void seed_numbers(Html& html, const Digest& d, const Cell& cell,
                  const std::vector<double>& values) {
  const auto td = html.in("td", {{"class", "seeds"}});
  for (std::size_t i = 0; i < values.size(); ++i) {
    const RunRecord* run = cell.runs[i];
    std::string shown = number_text(values[i], 4);
    if (run == nullptr)
      shown = "–";
    else if (run->status != RunStatus::kDone)
      shown = std::string(status_name(run->status));
    html.element("span", {{"title", "seed " + std::to_string(d.seeds[i])}}, shown);
    html.text(" ");
  }
}

void best_cell(Html& html, const Cell& cell, const Metric& metric) {
  std::vector<double> values;
  double first = kMissing, last = kMissing;
  for (const RunRecord* run : cell.runs) {
    const Series* series = run == nullptr ? nullptr : find_series(run->metrics, metric.name);
    if (series == nullptr) continue;
    const Point best = best_point(*series, metric.goal);
    if (std::isnan(best.value)) continue;
    values.push_back(best.value);
    first = std::isnan(first) ? best.step : std::min(first, best.step);
    last = std::isnan(last) ? best.step : std::max(last, best.step);
  }
  const double mean = summarize(values).mean;
  std::string text = number_text(mean, 4);
  if (!values.empty()) {
    text += " @ " + number_text(first, 9) + (first == last ? "" : "–" + number_text(last, 9));
  }
  number_cell(html, mean, text);
}

struct Column {
  std::string name, remark;
  bool number = true;
};

void head(Html& html, const std::vector<Column>& columns) {
  const auto thead = html.in("thead");
  const auto tr = html.in("tr");
  for (const auto& [name, remark, number] : columns) {
    const auto th = html.in("th", {{"scope", "col"}, {"class", number ? "n" : ""}});
    html.text(name);
    if (!remark.empty()) html.element("small", remark);
  }
}

void main_table(Html& html, const Digest& d, const Metric& metric) {
  const std::string arrow = metric.goal == Goal::kMin   ? "lower is better"
                            : metric.goal == Goal::kMax ? "higher is better"
                                                        : "";
  const auto scroll = html.in("div", {{"class", "scroll"}});
  const auto table = html.in("table", {{"class", "sortable"}});
  html.element("caption", metric_label(metric) + (metric.unit.empty() ? "" : " in " + metric.unit) +
                              (arrow.empty() ? "" : ", " + arrow) + ", " +
                              std::to_string(d.seeds.size()) +
                              (d.seeds.size() == 1 ? " seed" : " seeds"));
  head(html, {{"cell", "", false},
              {"last", "mean ± 95 %"},
              {"seeds", "dot: seed, bar: mean", false},
              {"each seed", "last value", false},
              {"best @ step", "mean of bests"},
              {"ms/step", ""},
              {"peak MB", ""},
              {"parameters", ""},
              {"diverged", "of ended"}});
  const auto body = html.in("tbody");
  const StripScale scale = scale_of(d, metric);
  for (const Cell& cell : d.cells) {
    const auto tr = html.in("tr");
    cell_name(html, cell);
    const std::vector<double> values = last_values(cell, metric);
    const Summary s = summarize(values);
    number_cell(html, s.mean, mean_text(s), "n strong");
    {
      const auto td =
          html.in("td", {{"class", "stripcell"}, {"data-sort", number_text(s.mean, 9)}});
      if (s.n > 0) draw(html, Strip{cell.label, cell.look, values, s}, scale);
    }
    seed_numbers(html, d, cell, values);
    best_cell(html, cell, metric);
    const double ms = summarize(per_seed(cell, &RunRecord::ms_per_step)).mean;
    number_cell(html, ms, number_text(ms, 3));
    const double peak = summarize(per_seed(cell, &RunRecord::peak_bytes)).max / kMega;
    number_cell(html, peak, number_text(peak, 3));
    const double parameters = summarize(per_seed(cell, &RunRecord::parameters)).mean;
    number_cell(html, parameters, count_text(parameters));
    const int diverged = cell.count(RunStatus::kDiverged),
              ended = diverged + cell.count(RunStatus::kDone);
    number_cell(html, diverged, std::to_string(diverged) + "/" + std::to_string(ended),
                diverged > 0 ? "n warn" : "n");
  }
}

// The other metrics side by side: one column each.
void other_metrics(Html& html, const Digest& d) {
  const auto& metrics = d.comparison.metrics;
  if (metrics.size() < 2) return;
  const auto scroll = html.in("div", {{"class", "scroll"}});
  const auto table = html.in("table", {{"class", "sortable"}});
  html.element("caption", "Every metric at the last step, mean ± 95 % interval over the seeds");
  std::vector<Column> columns{{"cell", "", false}};
  for (const Metric& m : metrics) {
    columns.push_back({metric_label(m), m.goal == Goal::kMin   ? "lower is better"
                                        : m.goal == Goal::kMax ? "higher is better"
                                                               : "no goal"});
  }
  head(html, columns);
  const auto body = html.in("tbody");
  for (const Cell& cell : d.cells) {
    const auto tr = html.in("tr");
    cell_name(html, cell);
    for (const Metric& m : metrics) {
      const Summary s = summarize(last_values(cell, m));
      number_cell(html, s.mean, mean_text(s));
    }
  }
  if (std::any_of(metrics.begin(), metrics.end(),
                  [](const Metric& m) { return m.reference.has_value(); })) {
    const auto tr = html.in("tr", {{"class", "reference"}});
    html.element("th", {{"scope", "row"}}, "reference");
    for (const Metric& m : metrics) {
      const double value = m.reference.value_or(kMissing);
      number_cell(html, value, number_text(value, 4));
    }
  }
}

std::string last_text(const RunRecord& run, const Metric& metric) {
  const Series* series = find_series(run.metrics, metric.name);
  return series == nullptr ? "–" : number_text(last_value(*series), 5);
}

void every_run(Html& html, const Digest& d) {
  const auto details =
      html.in("details", d.single() ? Html::Attributes{{"open", ""}} : Html::Attributes{});
  html.element("summary", "Every run with every number");
  const auto scroll = html.in("div", {{"class", "scroll"}});
  const auto table = html.in("table", {{"class", "sortable"}});
  std::vector<Column> columns{
      {"cell", "", false}, {"seed", ""}, {"status", "", false}, {"step", ""}};
  for (const Metric& m : d.comparison.metrics) columns.push_back({metric_label(m), "last"});
  for (const char* name : {"ms/step", "peak MB", "parameters", "time"})
    columns.push_back({name, ""});
  head(html, columns);
  const auto body = html.in("tbody");
  for (const Cell& cell : d.cells) {
    for (const RunRecord* run : cell.runs) {
      if (run == nullptr) continue;
      const auto tr = html.in("tr");
      cell_name(html, cell);
      number_cell(html, static_cast<double>(run->seed), std::to_string(run->seed));
      const std::string status(status_name(run->status));
      html.element("td", {{"class", "status " + status}},
                   status + (run->remark.empty() ? "" : ": " + run->remark));
      number_cell(html, static_cast<double>(run->step), std::to_string(run->step));
      for (const Metric& m : d.comparison.metrics) {
        const Series* series = find_series(run->metrics, m.name);
        number_cell(html, series == nullptr ? kMissing : last_value(*series), last_text(*run, m));
      }
      number_cell(html, run->ms_per_step, number_text(run->ms_per_step, 4));
      number_cell(html, run->peak_bytes, number_text(run->peak_bytes / kMega, 4));
      number_cell(html, run->parameters, count_text(run->parameters));
      number_cell(html, run->seconds, duration_text(run->seconds));
    }
  }
}

}  // namespace

void verdict_section(Html& html, const Digest& d) {
  const auto section = html.in("section", {{"id", "verdict"}, {"class", "verdict"}});
  html.element("h2", "Verdict");
  const Verdict v = verdict(d);
  html.element("p", {{"class", "headline"}}, v.headline);
  if (!v.findings.empty()) {
    const auto list = html.in("ul", {{"class", "findings"}});
    for (const Finding& finding : v.findings) {
      const auto item = html.in("li");
      const std::string kind = finding.word.substr(0, finding.word.find(' '));
      html.element("span", {{"class", "word " + kind}}, finding.word);
      html.element("span", {{"class", "what"}}, finding.text);
    }
  }
  if (!v.remarks.empty()) {
    const auto list = html.in("ul", {{"class", "remarks"}});
    for (const std::string& remark : v.remarks) html.element("li", remark);
  }
  const auto facts = html.in("dl", {{"class", "facts"}});
  const auto all = {std::pair{"varied", &d.comparison.varied},
                    std::pair{"the same", &d.comparison.fixed}};
  for (const auto& [heading, list] : all) {
    for (const auto& [key, value] : *list) {
      const auto row = html.in("div");
      html.open("dt").element("small", heading).text(": " + key).close();
      html.element("dd", value);
    }
  }
  if (!std::isnan(d.comparison.seconds)) {
    const auto row = html.in("div");
    html.element("dt", "total time").element("dd", duration_text(d.comparison.seconds));
  }
}

void table_section(Html& html, const Digest& d) {
  const auto section = html.in("section", {{"id", "table"}});
  html.element("h2", d.single() ? "Numbers" : "Table");
  if (!d.single() && d.main_metric() != nullptr) {
    main_table(html, d, *d.main_metric());
    html.element("p", {{"class", "fine"}},
                 "± is half the 95 % Student-t interval over the seeds. Best is picked after the "
                 "fact and flatters noisy "
                 "curves; the verdict uses the last value. Peak is the largest over the seeds, 1 "
                 "MB = 10⁶ bytes.");
    other_metrics(html, d);
  }
  every_run(html, d);
  const auto p = html.in("p");
  html.element("a",
               {{"download", "table.csv"},
                {"href", "data:text/csv;base64," + base64(report_csv(d.comparison))}},
               "Download table.csv");
}

}  // namespace report

std::string report_csv(const Comparison& comparison) {
  const auto field = [](std::string_view text) {
    if (text.find_first_of(",\"\r\n") == std::string_view::npos) return std::string(text);
    std::string quoted = "\"";
    for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
    return quoted + "\"";
  };
  const auto number = [](double value) {
    return std::isnan(value) ? std::string() : number_text(value, 9);
  };
  std::string out = "cell,seed,status,step";
  for (const Metric& m : comparison.metrics) {
    for (const char* kind : {" last", " best", " best step"}) out += "," + field(m.name + kind);
  }
  out += ",ms per step,seconds,peak bytes,parameters,weights hash,folder\r\n";
  for (const RunRecord& run : comparison.runs) {
    out += field(run.cell) + "," + std::to_string(run.seed) + "," +
           std::string(status_name(run.status)) + "," + std::to_string(run.step);
    for (const Metric& m : comparison.metrics) {
      const Series* series = report::find_series(run.metrics, m.name);
      const Point best =
          series == nullptr ? Point{kMissing, kMissing} : best_point(*series, m.goal);
      out += "," + number(series == nullptr ? kMissing : last_value(*series)) + "," +
             number(best.value) + "," + (std::isnan(best.value) ? "" : number(best.step));
    }
    for (const double v : {run.ms_per_step, run.seconds, run.peak_bytes, run.parameters})
      out += "," + number(v);
    out += "," + field(run.weights_hash) + "," + field(run.folder) + "\r\n";
  }
  return out;
}

}  // namespace tapestry::lab
