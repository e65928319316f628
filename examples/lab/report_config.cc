// What was configured, where it ran, and how to repeat it.
#include <algorithm>

#include "examples/lab/report_parts.h"

namespace tapestry::lab::report {
namespace {

constexpr std::size_t kMostLines = 2000;  // a table of lines × lines has to stay small

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

// A comma after the last entry changes when an entry is added behind it; that is no difference to a
// reader.
std::string_view content(const std::string& line) {
  std::string_view view(line);
  return !view.empty() && view.back() == ',' ? view.substr(0, view.size() - 1) : view;
}

}  // namespace

std::string indented_json(std::string_view text) {
  std::string out;
  std::size_t depth = 0;
  bool in_string = false;
  const auto new_line = [&] { out += "\n" + std::string(2 * depth, ' '); };
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      out += c;
      if (c == '\\' && i + 1 < text.size()) out += text[++i];
      if (c == '"') in_string = false;
      continue;
    }
    const std::size_t next = text.find_first_not_of(" \t\r\n", i + 1);
    switch (c) {
      case ' ':
      case '\t':
      case '\r':
      case '\n':
        break;
      case '"':
        in_string = true;
        out += c;
        break;
      case '{':
      case '[':
        out += c;
        if (next != std::string_view::npos && (text[next] == '}' || text[next] == ']')) {
          out += text[next];
          i = next;
        } else {
          depth = std::min<std::size_t>(depth + 1, 64);
          new_line();
        }
        break;
      case '}':
      case ']':
        depth -= depth > 0 ? 1 : 0;
        new_line();
        out += c;
        break;
      case ',':
        out += c;
        new_line();
        break;
      case ':':
        out += ": ";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::vector<LineChange> line_changes(std::string_view from, std::string_view to) {
  const std::vector<std::string> a = lines_of(from), b = lines_of(to);
  if (a.size() > kMostLines || b.size() > kMostLines) return {};
  // Longest common subsequence: length[i][j] for the tails that begin at i and j.
  const std::size_t width = b.size() + 1;
  std::vector<std::uint16_t> length((a.size() + 1) * width, 0);
  for (std::size_t i = a.size(); i-- > 0;) {
    for (std::size_t j = b.size(); j-- > 0;) {
      length[i * width + j] =
          content(a[i]) == content(b[j])
              ? static_cast<std::uint16_t>(length[(i + 1) * width + j + 1] + 1)
              : std::max(length[(i + 1) * width + j], length[i * width + j + 1]);
    }
  }
  std::vector<LineChange> changes;
  std::size_t i = 0, j = 0;
  while (i < a.size() || j < b.size()) {
    if (i < a.size() && j < b.size() && content(a[i]) == content(b[j])) {
      ++i;
      ++j;
    } else if (j == b.size() ||
               (i < a.size() && length[(i + 1) * width + j] >= length[i * width + j + 1])) {
      changes.push_back({'-', i + 1, a[i]});
      ++i;
    } else {
      changes.push_back({'+', j + 1, b[j]});
      ++j;
    }
  }
  return changes;
}

namespace {

// The config of the cell with the seed the first cell has, so that only the cell's own settings
// differ.
const RunRecord* configured(const Cell& cell) {
  for (const RunRecord* run : cell.runs) {
    if (run != nullptr && !run->config.empty()) return run;
  }
  return nullptr;
}

void differences(Html& html, const Digest& d, const RunRecord& base) {
  html.element("p", {{"class", "fine"}},
               "Every cell against the first one; − is the first cell's line, + the cell's own.");
  const auto list = html.in("dl", {{"class", "changes"}});
  const std::string base_text = indented_json(base.config);
  for (std::size_t i = 1; i < d.cells.size(); ++i) {
    const Cell& cell = d.cells[i];
    const RunRecord* run = configured(cell);
    if (run == nullptr) continue;
    const auto row = html.in("div");
    {
      const auto dt = html.in("dt");
      const auto span = html.in("span", {{"class", "cellname"}});
      swatch(html, cell.look);
      html.element("span", cell.label);
    }
    const auto dd = html.in("dd");
    const std::vector<LineChange> changes = line_changes(base_text, indented_json(run->config));
    if (changes.empty()) {
      html.element("span", {{"class", "fine"}},
                   run->config == base.config ? "no difference" : "too long to compare");
    }
    for (const LineChange& change : changes) {
      const std::size_t begin = std::min(change.text.find_first_not_of(' '), change.text.size());
      html.element("code", {{"class", change.kind == '-' ? "minus" : "plus"}},
                   (change.kind == '-' ? "− " : "+ ") + change.text.substr(begin));
    }
  }
}

}  // namespace

void config_section(Html& html, const Digest& d) {
  const RunRecord* base = nullptr;
  for (const Cell& cell : d.cells) {
    if (base == nullptr) base = configured(cell);
  }
  if (base == nullptr) return;
  const auto section = html.in("section", {{"id", "config"}});
  html.element("h2", "Configuration");
  if (d.cells.size() > 1) differences(html, d, *base);
  const auto details = html.in("details");
  html.element("summary",
               "Resolved configuration of " + base->cell + ", seed " + std::to_string(base->seed));
  const auto pre = html.in("pre");
  html.element("code", indented_json(base->config));
}

void environment_section(Html& html, const Digest& d) {
  const auto section = html.in("section", {{"id", "environment"}});
  html.element("h2", "Environment and repetition");
  if (!d.comparison.command.empty()) {
    html.element("p", {{"class", "fine"}}, "This command repeats it:");
    const auto pre = html.in("pre", {{"class", "command"}});
    html.element("code", d.comparison.command);
  }
  if (!d.comparison.environment.empty()) {
    const auto list = html.in("dl", {{"class", "facts"}});
    for (const auto& [key, value] : d.comparison.environment) {
      const auto row = html.in("div");
      html.element("dt", key).element("dd", value);
    }
  }
  const bool hashes = std::any_of(
      d.comparison.runs.begin(), d.comparison.runs.end(),
      [](const RunRecord& run) { return !run.weights_hash.empty() || !run.folder.empty(); });
  if (!hashes) return;
  html.element("h3", "Weights");
  html.element(
      "p", {{"class", "fine"}},
      "The same command on the same machine gives the same hash, at any number of threads.");
  const auto scroll = html.in("div", {{"class", "scroll"}});
  const auto table = html.in("table", {{"class", "hashes"}});
  {
    const auto head = html.in("thead");
    const auto tr = html.in("tr");
    for (const char* name : {"cell", "seed", "weights hash", "folder"})
      html.element("th", {{"scope", "col"}}, name);
  }
  const auto body = html.in("tbody");
  for (const Cell& cell : d.cells) {
    for (const RunRecord* run : cell.runs) {
      if (run == nullptr) continue;
      const auto tr = html.in("tr");
      html.element("th", {{"scope", "row"}}, cell.label)
          .element("td", {{"class", "n"}}, std::to_string(run->seed));
      html.open("td").element("code", run->weights_hash.empty() ? "–" : run->weights_hash).close();
      html.open("td").element("code", run->folder.empty() ? "–" : run->folder).close();
    }
  }
}

}  // namespace tapestry::lab::report
