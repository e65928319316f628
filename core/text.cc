#include "core/text.h"

#include <algorithm>
#include <cstdio>

namespace tapestry {
namespace {

/// Bytes of the UTF-8 sequence that `text` begins with; 0 when it begins with none (RFC 3629).
std::size_t sequence_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  const std::size_t length = first >= 0xC2 && first <= 0xDF   ? 2
                             : (first & 0xF0) == 0xE0         ? 3
                             : first >= 0xF0 && first <= 0xF4 ? 4
                                                              : 0;
  if (length == 0 || text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  // Longer than need be, half of a surrogate pair, beyond the last character.
  if ((first == 0xE0 && byte(1) < 0xA0) || (first == 0xED && byte(1) > 0x9F)) return 0;
  if ((first == 0xF0 && byte(1) < 0x90) || (first == 0xF4 && byte(1) > 0x8F)) return 0;
  return length;
}

}  // namespace

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const std::size_t length = sequence_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

std::string printable(std::string_view text, std::size_t limit) {
  std::string out;
  for (std::size_t shown = 0; !text.empty(); ++shown) {
    if (shown == limit) return out + "…";
    const std::size_t length = sequence_length(text);
    const unsigned first = static_cast<unsigned char>(text[0]);
    // Terminals take C2 80 … C2 9F for control characters, too.
    const bool control =
        length == 1 ? first < 0x20 || first == 0x7F
                    : length == 2 && first == 0xC2 && static_cast<unsigned char>(text[1]) < 0xA0;
    if (length == 0 || control) {
      char code[8];
      const unsigned last = static_cast<unsigned char>(text[length == 2 ? 1 : 0]);
      std::snprintf(code, sizeof code, "\\x%02x", last);
      out += code;
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return out;
}

std::vector<std::string> similar(std::string_view word,
                                 const std::vector<std::string>& candidates) {
  constexpr std::size_t kLongest = 100;  // nobody mistypes longer words; the table is quadratic
  if (word.size() > kLongest) return {};
  std::vector<std::string> best;
  std::size_t least = std::max<std::size_t>(2, word.size() / 3);
  for (const std::string& candidate : candidates) {
    // Damerau and Levenshtein: insert, delete, replace, or swap neighbors.
    const std::size_t m = word.size(), n = candidate.size();
    std::vector<std::vector<std::size_t>> cost(m + 1, std::vector<std::size_t>(n + 1));
    for (std::size_t i = 0; i <= m; ++i) {
      for (std::size_t j = 0; j <= n; ++j) {
        if (i == 0 || j == 0) {
          cost[i][j] = i + j;
          continue;
        }
        cost[i][j] = std::min({cost[i - 1][j] + 1, cost[i][j - 1] + 1,
                               cost[i - 1][j - 1] + (word[i - 1] != candidate[j - 1])});
        if (i > 1 && j > 1 && word[i - 1] == candidate[j - 2] && word[i - 2] == candidate[j - 1]) {
          cost[i][j] = std::min(cost[i][j], cost[i - 2][j - 2] + 1);
        }
      }
    }
    if (cost[m][n] > least) continue;
    if (cost[m][n] < least) best.clear();
    least = cost[m][n];
    best.push_back(candidate);
  }
  return best;
}

}  // namespace tapestry
