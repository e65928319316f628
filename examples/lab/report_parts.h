// How the report is put together. Inside the library only.
#ifndef TAPESTRY_EXAMPLES_LAB_REPORT_PARTS_H_
#define TAPESTRY_EXAMPLES_LAB_REPORT_PARTS_H_

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "examples/lab/html.h"
#include "examples/lab/plot.h"
#include "examples/lab/report.h"

namespace tapestry::lab::report {

/// All runs that differ only in the seed, with the look they have everywhere on the page.
struct Cell {
  std::string name;   ///< RunRecord::cell
  std::string label;  ///< shorter, when the other cells allow it: "batch"
  std::string facet;  ///< what else the grid set besides the normalizer, "batch = 16"; cells of a
                      ///< facet share a chart
  std::string key;    ///< name within the facet and in the legend
  Look look;
  std::vector<const RunRecord*> runs;  ///< aligned with Digest::seeds; null where there is no run

  int count(RunStatus status) const;
  /// The first run, null for a cell that has not begun.
  const RunRecord* first() const;
};

/// The comparison as the sections need it.
struct Digest {
  const Comparison& comparison;
  std::vector<Cell> cells;
  std::vector<std::uint64_t> seeds;
  bool over_examples = false;  ///< curves run over examples instead of steps

  /// The facets in order with their cells; one facet without a name when there is nothing to tell
  /// apart.
  std::vector<std::pair<std::string, std::vector<const Cell*>>> facets() const;
  const Metric* main_metric() const;
  bool single() const { return comparison.runs.size() <= 1 && cells.size() <= 1; }
  int finished() const;
};
Digest digest(const Comparison& comparison);

std::string metric_label(const Metric& metric);
const Series* find_series(const std::vector<Series>& all, std::string_view name);
/// Per seed of the digest: the metric's last value in runs that are done, else missing.
std::vector<double> last_values(const Cell& cell, const Metric& metric);
std::vector<double> per_seed(const Cell& cell, double RunRecord::*field);

/// "41.2 ± 3.1": decimals follow the interval; only the mean when there is none.
std::string mean_text(const Summary& summary);
/// "+29.4 (95 % interval +25.1 to +33.7)".
std::string difference_text(const Summary& difference);
/// "1 h 12 min", "4 min 31 s", "12.3 s".
std::string duration_text(double seconds);
/// "a, b and c".
std::string listed(const std::vector<std::string>& items);

/// The verdict in words, chosen by rule.
struct Finding {
  std::string word;  ///< "clear", "confirmed", "not decided at this scale", …
  std::string text;
};
struct Verdict {
  std::string headline;
  std::vector<Finding> findings;
  std::vector<std::string> remarks;
};
Verdict verdict(const Digest& digest);

/// A cell's swatch: its line and its mark.
void swatch(Html& html, const Look& look);
void legend(Html& html, const Digest& digest);

using PointsOf = std::function<const std::vector<Point>*(const RunRecord&)>;
using XOf = std::function<double(const RunRecord&, double step)>;
double steps_or_examples(const Digest& digest, const RunRecord& run, double step);
/// The mean over the seeds with its min-max band, only where every run of the cell has a value: a
/// mean whose members drop out one by one would jump without anything having changed.
Line mean_line(const Cell& cell, const PointsOf& points_of, const XOf& x_of, bool band);
/// Values over more than a factor of 100 above zero say nothing on a linear axis.
bool wants_log(const std::vector<Line>& lines);
/// Gives all charts the ranges that hold all of them.
void same_range(std::vector<LineChart>& charts);
/// A <div class=kind> with one figure per chart.
void draw_all(Html& html, std::string_view kind, const std::vector<LineChart>& charts);

void verdict_section(Html& html, const Digest& digest);
void table_section(Html& html, const Digest& digest);
void curves_section(Html& html, const Digest& digest);
void pictures_section(Html& html, const Digest& digest, const ReportOptions& options);
void inside_section(Html& html, const Digest& digest);
void cost_section(Html& html, const Digest& digest);
void config_section(Html& html, const Digest& digest);
void environment_section(Html& html, const Digest& digest);

/// JSON text with one entry per line, whatever its own layout.
std::string indented_json(std::string_view text);
/// The lines that differ: "- old" and "+ new", each with the line number in its text.
struct LineChange {
  char kind = ' ';
  std::size_t line = 0;
  std::string text;
};
std::vector<LineChange> line_changes(std::string_view from, std::string_view to);

extern const std::string_view kStyle;
extern const std::string_view kScript;
/// Rules that give every hue its color, for light and for dark.
std::string hue_rules();

}  // namespace tapestry::lab::report

#endif  // TAPESTRY_EXAMPLES_LAB_REPORT_PARTS_H_
