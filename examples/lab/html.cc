#include "examples/lab/html.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "core/error.h"

namespace tapestry::lab {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

// Length of the well-formed UTF-8 sequence at `i` of a character allowed in XML, else 0.
std::size_t utf8_length(std::string_view text, std::size_t i) {
  const auto byte = [&](std::size_t k) { return static_cast<unsigned char>(text[k]); };
  const unsigned first = byte(i);
  const std::size_t length = first < 0x80             ? 1
                             : (first & 0xE0) == 0xC0 ? 2
                             : (first & 0xF0) == 0xE0 ? 3
                             : (first & 0xF8) == 0xF0 ? 4
                                                      : 0;
  if (length == 0 || i + length > text.size()) return 0;
  unsigned code = length == 1 ? first : first & (0x7Fu >> length);
  for (std::size_t k = 1; k < length; ++k) {
    if ((byte(i + k) & 0xC0) != 0x80) return 0;
    code = (code << 6) | (byte(i + k) & 0x3Fu);
  }
  constexpr unsigned kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool control =
      (code < 0x20 && code != '\t' && code != '\n') || (code >= 0x7F && code < 0xA0);
  const bool direction = (code >= 0x202A && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069);
  const bool not_a_character =
      (code >= 0xD800 && code < 0xE000) || (code & 0xFFFE) == 0xFFFE || code > 0x10FFFF;
  if (code < kSmallest[length] || control || direction || not_a_character) return 0;
  return length;
}

}  // namespace

std::string escape_html(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = utf8_length(text, i);
    if (length == 0) {
      out += kReplacement;
      ++i;
      continue;
    }
    switch (text[i]) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += text.substr(i, length);
    }
    i += length;
  }
  return out;
}

std::string base64(std::string_view bytes) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    unsigned group = 0;
    for (std::size_t k = 0; k < 3; ++k) {
      group = group << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0u);
    }
    for (std::size_t k = 0; k < 4; ++k) {
      out += i + k <= bytes.size() ? kDigits[group >> (18 - 6 * k) & 63] : '=';
    }
  }
  return out;
}

std::string fixed_text(double value, int decimals) {
  if (std::isnan(value)) return "–";
  if (std::isinf(value)) return value > 0 ? "∞" : "−∞";
  char buffer[512];
  const auto end =
      std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed, decimals).ptr;
  std::string text(buffer, end);
  // "-0.00" says nothing that "0.00" does not.
  if (text[0] == '-' && text.find_first_not_of("-0.") == std::string::npos) text.erase(0, 1);
  return text;
}

std::string number_text(double value, int digits) {
  if (!std::isfinite(value) || value == 0) return value == 0 ? "0" : fixed_text(value, 0);
  char buffer[64];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value,
                                 std::chars_format::scientific, digits - 1)
                       .ptr;
  const std::string_view text(buffer, static_cast<std::size_t>(end - buffer));
  const std::size_t e = text.find('e');
  int exponent = 0;
  const std::size_t sign = text[e + 1] == '+' ? 1 : 0;  // from_chars takes no plus
  std::from_chars(text.data() + e + 1 + sign, end, exponent);
  std::string body;
  const bool plain = exponent >= -4 && exponent < std::max(7, digits);
  if (plain) {
    body = fixed_text(value, std::max(0, digits - 1 - exponent));
  } else {
    body = text.substr(0, e);
  }
  if (body.find('.') != std::string::npos) {
    body.erase(body.find_last_not_of('0') + 1);
    if (body.back() == '.') body.pop_back();
  }
  return plain ? body : body + "e" + std::to_string(exponent);
}

std::string count_text(double value) {
  std::string text = fixed_text(value, 0);
  if (!std::isfinite(value)) return text;
  for (int at = static_cast<int>(text.size()) - 3; at > (text[0] == '-' ? 1 : 0); at -= 3) {
    text.insert(static_cast<std::size_t>(at), ",");
  }
  return text;
}

void Html::start(std::string_view tag, const Attributes& attributes) {
  out_ += '<';
  out_ += tag;
  for (const Attribute& a : attributes) {
    out_ += ' ';
    out_ += a.name;
    out_ += "=\"";
    out_ += escape_html(a.value);
    out_ += '"';
  }
}

Html& Html::open(std::string_view tag, const Attributes& attributes) {
  start(tag, attributes);
  out_ += '>';
  open_.emplace_back(tag);
  return *this;
}

Html& Html::close() {
  out_ += "</" + open_.back() + ">";
  // Line breaks between blocks keep the page readable as text.
  static constexpr std::string_view kBlocks[] = {"p",      "tr",      "table", "section",
                                                 "figure", "li",      "ul",    "dl",
                                                 "svg",    "details", "head",  "header"};
  for (const std::string_view block : kBlocks) {
    if (open_.back() == block) out_ += '\n';
  }
  open_.pop_back();
  return *this;
}

Html& Html::text(std::string_view text) {
  out_ += escape_html(text);
  return *this;
}

Html& Html::element(std::string_view tag, const Attributes& attributes, std::string_view content) {
  return open(tag, attributes).text(content).close();
}

Html& Html::empty(std::string_view tag, const Attributes& attributes) {
  start(tag, attributes);
  out_ += " />";
  return *this;
}

Html& Html::raw_element(std::string_view tag, std::string_view constant) {
  if (constant.find("</") != std::string_view::npos) {
    throw Error("html", "the text of a {} element must not contain \"</\"", tag)
        .fault(Fault::kInternal);
  }
  out_ += "<" + std::string(tag) + ">";
  out_ += constant;
  out_ += "</" + std::string(tag) + ">\n";
  return *this;
}

const std::string& Html::str() const {
  if (!open_.empty()) {
    throw Error("html", "<{}> is still open", open_.back()).fault(Fault::kInternal);
  }
  return out_;
}

}  // namespace tapestry::lab
