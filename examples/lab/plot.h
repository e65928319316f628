// Charts as SVG: complete without scripts, text stays text, readable in light, dark and print. The
// hue of a normalizer is the same everywhere (Okabe-Ito), and a dash pattern or marker says the
// same again for print and for color-blind readers.
#ifndef TAPESTRY_EXAMPLES_LAB_PLOT_H_
#define TAPESTRY_EXAMPLES_LAB_PLOT_H_

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "examples/lab/html.h"
#include "examples/lab/statistics.h"

namespace tapestry::lab {

/// One of the eight hues with its variants for a white and for a dark ground, both at least 3 : 1
/// against it.
struct Hue {
  std::string_view name, light, dark;
};
std::span<const Hue> hues();

/// How a curve looks: index into hues(), index of a dash pattern and of a marker shape.
struct Look {
  int hue = 0;
  int dash = 0;
};

/// The fixed look of a known normalizer (none batch layer instance group rms spectral weight);
/// nothing for other names.
std::optional<Look> look_of(std::string_view normalizer);

struct Axis {
  std::string label;
  bool log = false;                 ///< values ≤ 0 become gaps
  std::optional<double> low, high;  ///< from the data when not given
};

/// A curve with an optional band. NaN interrupts both.
struct Line {
  std::string label;
  Look look;
  std::vector<Point> points;
  std::vector<double> low, high;  ///< band, one entry per point, or empty
  std::string key;                ///< legend entry that switches it; the label when ""
  bool faint = false;             ///< a single seed behind the mean
};

/// A horizontal line with a name.
struct Reference {
  double value = 0;
  std::string label;
};

struct LineChart {
  std::string title;
  std::string description;  ///< for screen readers; made from the data when ""
  Axis x, y;
  std::vector<Line> lines;
  std::vector<Reference> references;
  double width = 560, height = 300;
  bool legend = false;  ///< names inside the drawing, for a chart that stands alone
  bool small = false;   ///< a panel of small multiples: fewer ticks, no axis names
};
void draw(Html& html, const LineChart& chart);

/// Values of one row on a common scale: a dot per seed, a bar for the mean, a line for the
/// interval.
struct Strip {
  std::string label;
  Look look;
  std::vector<double> values;
  Summary summary;
};
struct StripScale {
  double low = 0, high = 1;
  bool log = false;
};
/// One row alone, for a table cell.
void draw(Html& html, const Strip& strip, const StripScale& scale, double width = 180,
          double height = 26);

/// Horizontal bars from zero, one per row; parts are stacked with falling opacity.
struct Bar {
  std::string label;
  Look look;
  std::vector<std::pair<std::string, double>> parts;
  std::vector<double> dots;  ///< single seeds
  std::string value;         ///< text at the end; the sum when ""
  std::string key;           ///< as in Line
};
struct BarChart {
  std::string title, description;
  std::string unit;
  std::vector<Bar> bars;
  double width = 560;
};
void draw(Html& html, const BarChart& chart);

/// Outlines of distributions on one axis, each scaled to its own largest bin.
struct HistogramChart {
  struct Outline {
    std::string label;
    Look look;
    std::vector<double> edges, counts;
    std::string key;
  };
  std::string title, description;
  std::string x_label;
  std::vector<Outline> outlines;
  double width = 220, height = 130;
};
void draw(Html& html, const HistogramChart& chart);

/// Rows × columns of values with the number in every field; NaN stays blank.
struct HeatMap {
  std::string title, description;
  std::vector<std::string> rows, columns;
  std::vector<double> values;  ///< row-major
  double low = 0, high = 1;    ///< ends of the color scale
  int digits = 2;
  double width = 720;
};
void draw(Html& html, const HeatMap& chart);

/// Ticks at 1, 2 or 5 · 10^k that cover [low, high], about `count` of them; powers of ten (with 2
/// and 5 when few) if log.
std::vector<double> nice_ticks(double low, double high, int count, bool log = false);

}  // namespace tapestry::lab

#endif  // TAPESTRY_EXAMPLES_LAB_PLOT_H_
