// What the charts share: scales, marks, colors as classes. Inside the library only.
#ifndef TAPESTRY_EXAMPLES_LAB_PLOT_PARTS_H_
#define TAPESTRY_EXAMPLES_LAB_PLOT_PARTS_H_

#include <string>
#include <string_view>
#include <vector>

#include "examples/lab/plot.h"

namespace tapestry::lab::plot {

inline constexpr double kFont = 12, kSmallFont = 10.5;

/// Values to pixels; missing stays missing, and so does what a logarithm cannot show.
class Scale {
 public:
  Scale(double low, double high, bool log, double from, double to);
  double operator()(double value) const;
  double low() const { return low_; }
  double high() const { return high_; }
  bool log() const { return log_; }

 private:
  double low_, high_, from_, to_;
  bool log_;
};

/// Smallest and largest of what was added; values that a logarithmic axis cannot show do not count.
struct Range {
  double low = kMissing, high = kMissing;
  void add(double value, bool log);
  /// A usable range: never empty, widened by `margin` of itself on both sides.
  void finish(bool log, double margin);
};

/// A pixel position: one decimal is enough and keeps the page small.
std::string pixels(double value);

/// <svg> with its accessible name; in() closes it.
Html::Attributes canvas(std::string_view kind, double width, double height, std::string_view title);
void name_it(Html& html, std::string_view title, std::string_view description);

enum class Anchor { kStart, kMiddle, kEnd };
void label(Html& html, double x, double y, Anchor anchor, std::string_view text,
           double size = kFont, std::string_view kind = "");
/// The start of a drawing: its title, and after it the remark in a lighter tone.
void heading(Html& html, double x, double y, double width, std::string_view title,
             std::string_view remark, double size);
/// About how wide the text will be, in pixels.
double text_width(std::string_view text, double size);
/// The text with its middle replaced by … when it would be wider than `width`.
std::string shortened(std::string_view text, double width, double size);

/// Presentation attributes for a stroke or a fill in the hue; the page's style sheet overrides them
/// by class in the dark.
void add_stroke(Html::Attributes& attributes, const Look& look);
void add_fill(Html::Attributes& attributes, const Look& look);
void add_dash(Html::Attributes& attributes, const Look& look);
void rule(Html& html, double x1, double y1, double x2, double y2, std::string_view kind);
/// A mark whose shape follows the dash pattern: circle, square, triangle, diamond, …
void mark(Html& html, const Look& look, double x, double y, double radius);

}  // namespace tapestry::lab::plot

#endif  // TAPESTRY_EXAMPLES_LAB_PLOT_PARTS_H_
