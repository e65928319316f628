// One self-contained report.html per run or comparison: plain structs in, a page out. It opens
// without a network, reads without scripts, in light, in dark and on paper. Nothing here knows
// tensors.
#ifndef TAPESTRY_EXAMPLES_LAB_REPORT_H_
#define TAPESTRY_EXAMPLES_LAB_REPORT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "examples/lab/statistics.h"

namespace tapestry::lab {

enum class RunStatus { kRunning, kDone, kInterrupted, kDiverged, kFailed };
std::string_view status_name(RunStatus status);

/// Name and value in the order they are to be shown.
using Facts = std::vector<std::pair<std::string, std::string>>;

/// One PNG; pictures with the same label stand in one row of the sheet ("photo 3"). "" when there
/// is only one row.
struct PngPicture {
  std::string label;
  std::string png;  ///< the file's bytes
};

/// The pictures a run made at one training step, from the same latents or the same inputs every
/// time.
struct PictureStep {
  std::int64_t step = 0;
  std::vector<PngPicture> pictures;
};

/// Bars of a distribution: counts[i] values fell between edges[i] and edges[i + 1].
struct Bins {
  std::vector<double> edges, counts;
};

/// What one layer did over the steps. Leave empty what was not measured.
struct LayerRecord {
  std::string layer;  ///< module path, "generator.main.3 (BatchNorm2d)"
  std::vector<Point> mean, sd, gradient_norm;
  std::vector<Point> dead;  ///< fraction of units that were zero for the whole batch, 0 … 1
  Bins activations;         ///< at the last measured step
};

/// One training run: one cell of the grid with one seed.
struct RunRecord {
  std::string cell;  ///< the run's differences without the seed, "norm=batch"; equal over the seeds
                     ///< of a cell
  std::string normalizer;  ///< "batch", "group", …: chooses the hue. "" takes a free one
  Facts settings;  ///< what the grid set for this cell: {"model.norm", "batch"}, {"train.batch",
                   ///< "16"}
  std::uint64_t seed = 0;

  RunStatus status = RunStatus::kDone;
  std::int64_t step = 0;   ///< last finished step
  std::int64_t steps = 0;  ///< steps asked for
  std::string remark;      ///< why it stopped, "loss became NaN in discriminator.main.3"

  std::vector<Series> metrics;      ///< evaluated now and then; named as Comparison::metrics
  std::vector<Series> scalars;      ///< logged while training: losses, learning rate
  std::vector<LayerRecord> layers;  ///< in order of depth
  std::vector<PictureStep> pictures;

  double ms_per_step = kMissing;
  std::vector<std::pair<std::string, double>>
      ms_parts;               ///< {"forward", 3.1}, …: parts of ms_per_step, optional
  double seconds = kMissing;  ///< the whole run with its evaluations
  double peak_bytes = kMissing;
  double parameters = kMissing;
  double examples_per_step =
      kMissing;  ///< batch size; curves run over examples when it differs between runs

  std::string config;        ///< resolved config as JSON text
  std::string weights_hash;  ///< of the final weights
  std::string folder;        ///< relative to the report
};

/// How one metric is read.
struct Metric {
  std::string name;                 ///< key of RunRecord::metrics, "frechet_features"
  std::string label;                ///< "FD-own"; the name when ""
  Goal goal = Goal::kNone;          ///< no goal: drawn, never judged
  std::string unit;                 ///< "%", "dB"; may be ""
  bool log = false;                 ///< logarithmic axis
  std::optional<double> reference;  ///< real against real (or another best that can be expected)
  std::string reference_label;      ///< "real against real"
  std::int64_t samples = 0;         ///< samples behind one value, 0 = not said
  std::string note;                 ///< one sentence: what it measures, its bias
};

/// A statement to be decided: over the paired seeds, `metric` is better in cell `better` than in
/// cell `worse`.
struct Claim {
  std::string text;    ///< "batch norm beats no norm in the generator"
  std::string metric;  ///< Metric::name
  std::string better, worse;
  std::string source;  ///< who says so; may be ""
};

/// Pictures that do not change with the step: the real data, contents, styles. Stand left of the
/// cells.
struct InputColumn {
  std::string name;
  std::vector<PngPicture> pictures;
};

/// A grid of runs (or a single one) and what a reader needs to judge and to repeat it.
struct Comparison {
  std::string title;     ///< "dcgan_norms · preset quick"
  std::string question;  ///< one sentence; may be ""
  RunStatus status = RunStatus::kDone;
  std::vector<Metric> metrics;  ///< the first one decides
  std::vector<RunRecord>
      runs;  ///< cells in order of first appearance; the first cell is the base of differences
  std::vector<Claim> claims;
  std::vector<InputColumn> inputs;
  std::vector<std::string>
      cells;  ///< planned cells in the order to show them; those without a run yet are named too
  std::vector<std::uint64_t> seeds;  ///< planned seeds
  Facts varied;                      ///< {"model.norm", "none, batch, layer"}
  Facts fixed;  ///< {"data", "Fashion-MNIST mini, 2,000 images"}, {"steps", "300"}
  std::vector<std::string>
      notes;                  ///< shown under the verdict: "learning rate 2e-4 for all, not tuned"
  double seconds = kMissing;  ///< wall time of everything so far
  Facts environment;
  std::string command;  ///< the exact command that repeats it
};

struct ReportOptions {
  std::size_t picture_bytes =
      2'000'000;             ///< PNG bytes to embed at most; steps are thinned evenly above it
  int refresh_seconds = 10;  ///< the page reloads itself while status is running
};

/// The whole page. With a single run it leaves out what compares.
std::string report_html(const Comparison& comparison, const ReportOptions& options = {});

/// One line per run and a header line, RFC 4180: cell, seed, status, last and best of every metric,
/// cost, weights hash.
std::string report_csv(const Comparison& comparison);

/// The verdict as the page words it, without markup: headline first. For terminals and tests.
std::vector<std::string> verdict_sentences(const Comparison& comparison);

}  // namespace tapestry::lab

#endif  // TAPESTRY_EXAMPLES_LAB_REPORT_H_
