// A strict reader for the little HTML that the reports use: every element closed in order, every
// attribute quoted, every character reference known. Finds what a lenient browser would hide.
#ifndef TAPESTRY_TESTS_LAB_WELL_FORMED_H_
#define TAPESTRY_TESTS_LAB_WELL_FORMED_H_

#include <string>
#include <string_view>
#include <vector>

namespace tapestry::lab {

struct Element {
  std::string tag;
  std::vector<std::pair<std::string, std::string>> attributes;  ///< values still escaped
  std::string value(std::string_view name) const {
    for (const auto& [key, text] : attributes) {
      if (key == name) return text;
    }
    return "";
  }
};

struct Reading {
  std::string problem;  ///< "" when well formed
  std::vector<Element> elements;
  std::string text;  ///< all text outside of script and style, still escaped
};

inline Reading read_markup(std::string_view page) {
  Reading reading;
  std::vector<std::string> open;
  const auto fail = [&](const std::string& what, std::size_t at) {
    reading.problem = what + " near: " + std::string(page.substr(at, 60));
    return reading;
  };
  const auto references_known = [](std::string_view text) {
    for (std::size_t at = text.find('&'); at != std::string_view::npos;
         at = text.find('&', at + 1)) {
      const std::string_view name = text.substr(at, text.find(';', at) - at);
      if (name != "&amp" && name != "&lt" && name != "&gt" && name != "&quot" && name != "&#39")
        return false;
    }
    return true;
  };
  std::size_t at = 0;
  if (page.substr(0, 15) == "<!DOCTYPE html>") at = 15;
  while (at < page.size()) {
    if (page[at] != '<') {
      const std::size_t end = std::min(page.find('<', at), page.size());
      const std::string_view text = page.substr(at, end - at);
      if (text.find('>') != std::string_view::npos || !references_known(text))
        return fail("unescaped text", at);
      reading.text += text;
      at = end;
      continue;
    }
    if (page.substr(at, 2) == "</") {
      const std::size_t end = page.find('>', at);
      const std::string tag(page.substr(at + 2, end - at - 2));
      if (open.empty() || open.back() != tag) return fail("</" + tag + "> closes nothing", at);
      open.pop_back();
      at = end + 1;
      continue;
    }
    Element element;
    std::size_t i = at + 1;
    while (i < page.size() && page[i] != ' ' && page[i] != '>' && page[i] != '<')
      element.tag += page[i++];
    while (i < page.size() && page[i] == ' ' && page[i + 1] != '/') {
      const std::size_t equals = page.find("=\"", i);
      const std::size_t end =
          equals == std::string_view::npos ? equals : page.find('"', equals + 2);
      if (end == std::string_view::npos) return fail("unquoted attribute", at);
      element.attributes.emplace_back(page.substr(i + 1, equals - i - 1),
                                      page.substr(equals + 2, end - equals - 2));
      const auto& [name, value] = element.attributes.back();
      if (name.find_first_of(" <>\"'=") != std::string::npos || name.empty())
        return fail("bad attribute name", at);
      if (value.find('<') != std::string::npos || !references_known(value))
        return fail("unescaped attribute", at);
      i = end + 1;
    }
    reading.elements.push_back(element);
    if (page.substr(i, 3) == " />") {
      at = i + 3;
      continue;
    }
    if (i >= page.size() || page[i] != '>') return fail("broken tag", at);
    at = i + 1;
    open.push_back(element.tag);
    if (element.tag == "script" || element.tag == "style") at = page.find("</", at);
  }
  if (!open.empty()) reading.problem = "<" + open.back() + "> is not closed";
  return reading;
}

}  // namespace tapestry::lab

#endif  // TAPESTRY_TESTS_LAB_WELL_FORMED_H_
