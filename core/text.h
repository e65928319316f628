// Text that comes from outside: is it UTF-8, how to show it safely, and what was meant by a word.
#ifndef TAPESTRY_CORE_TEXT_H_
#define TAPESTRY_CORE_TEXT_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace tapestry {

/// Whether `text` is well-formed UTF-8.
bool is_utf8(std::string_view text);
/// At most `limit` characters of `text`; control characters and bytes that are not UTF-8 are made
/// visible: safe in a terminal.
std::string printable(std::string_view text, std::size_t limit = 80);
/// The candidates that could have been meant: Damerau-Levenshtein distance at most 2, or a third of
/// the length.
std::vector<std::string> similar(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace tapestry

#endif  // TAPESTRY_CORE_TEXT_H_
