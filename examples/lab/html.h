// A writer for HTML and SVG in which text cannot become markup: names from configs and files are
// always escaped, every element is closed, and there is no way to add a raw string.
#ifndef TAPESTRY_EXAMPLES_LAB_HTML_H_
#define TAPESTRY_EXAMPLES_LAB_HTML_H_

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace tapestry::lab {

/// Text for an element or a quoted attribute: & < > " ' escaped, control characters and broken
/// UTF-8 shown as U+FFFD.
std::string escape_html(std::string_view text);

/// Bytes in base64 with padding (RFC 4648).
std::string base64(std::string_view bytes);

/// `value` with `digits` significant digits, never in the locale's way: 0.861, 1234567, 1.2e-7;
/// "–" for NaN.
std::string number_text(double value, int digits = 4);

/// `value` with exactly `decimals` digits after the point; "–" for NaN.
std::string fixed_text(double value, int decimals);

/// 1234567 → "1,234,567"; "–" for NaN.
std::string count_text(double value);

class Html {
 public:
  struct Attribute {
    Attribute(std::string_view n, std::string_view v) : name(n), value(v) {}
    Attribute(std::string_view n, double v) : name(n), value(number_text(v, 6)) {}
    Attribute(std::string_view n, int v) : name(n), value(std::to_string(v)) {}
    std::string_view name;
    std::string value;
  };
  using Attributes = std::vector<Attribute>;

  /// Closes its element when it goes out of scope.
  class Scope {
   public:
    explicit Scope(Html& html) : html_(html) {}
    ~Scope() { html_.close(); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Html& html_;
  };

  /// Starts <tag …>; it is closed by close() or by the Scope of in().
  Html& open(std::string_view tag, const Attributes& attributes = {});
  Html& close();
  [[nodiscard]] Scope in(std::string_view tag, const Attributes& attributes = {}) {
    open(tag, attributes);
    return Scope(*this);
  }
  Html& text(std::string_view text);
  /// <tag …>text</tag>.
  Html& element(std::string_view tag, const Attributes& attributes, std::string_view text);
  Html& element(std::string_view tag, std::string_view text) { return element(tag, {}, text); }
  /// <tag … />: void elements of HTML and childless ones of SVG.
  Html& empty(std::string_view tag, const Attributes& attributes = {});
  /// A <style> or <script> element around a constant of the program. Throws Error when the constant
  /// contains "</".
  Html& raw_element(std::string_view tag, std::string_view constant);

  /// The page. Throws Error when an element is still open.
  const std::string& str() const;

 private:
  void start(std::string_view tag, const Attributes& attributes);

  std::string out_;
  std::vector<std::string> open_;
};

}  // namespace tapestry::lab

#endif  // TAPESTRY_EXAMPLES_LAB_HTML_H_
