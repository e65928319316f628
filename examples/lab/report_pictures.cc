// Pictures over the steps: one column per cell, one slider for all; without scripts a plain list,
// step under step.
#include <algorithm>
#include <set>

#include "examples/lab/report_parts.h"

namespace tapestry::lab::report {
namespace {

// Width and height stand at fixed places in the first chunk of every PNG.
bool png_size(std::string_view png, int* width, int* height) {
  constexpr std::string_view kSignature("\x89PNG\r\n\x1a\n", 8);
  if (png.size() < 24 || png.substr(0, 8) != kSignature || png.substr(12, 4) != "IHDR")
    return false;
  const auto number = [&](std::size_t at) {
    unsigned value = 0;
    for (std::size_t i = 0; i < 4; ++i)
      value = value << 8 | static_cast<unsigned char>(png[at + i]);
    return value;
  };
  const unsigned w = number(16), h = number(20);
  if (w == 0 || h == 0 || w > 100000 || h > 100000) return false;
  *width = static_cast<int>(w);
  *height = static_cast<int>(h);
  return true;
}

void image(Html& html, const std::string& png, const std::string& description) {
  constexpr int kTarget = 144;  // pixels on the page
  int width = 0, height = 0;
  if (!png_size(png, &width, &height)) {
    html.element("p", {{"class", "nopicture"}}, "not a PNG");
    return;
  }
  // Small pictures are shown larger by a whole factor, so that every pixel stays a square.
  const int factor = std::max(1, kTarget / std::max(width, height));
  html.empty("img", {{"alt", description},
                     {"src", "data:image/png;base64," + base64(png)},
                     {"width", width * factor},
                     {"height", height * factor},
                     {"class", factor > 1 ? "grown" : ""}});
}

// The run of a cell whose pictures are shown: the first seed for which there are any.
const RunRecord* pictured(const Cell& cell) {
  for (const RunRecord* run : cell.runs) {
    if (run != nullptr && !run->pictures.empty()) return run;
  }
  return nullptr;
}

struct Sheet {
  std::vector<std::int64_t> steps;  ///< steps that are shown
  std::size_t all_steps = 0;
  std::vector<std::string> rows;
};

void add_once(std::vector<std::string>& list, const std::string& item) {
  if (std::find(list.begin(), list.end(), item) == list.end()) list.push_back(item);
}

Sheet plan(const Digest& d, std::size_t budget) {
  Sheet sheet;
  std::set<std::int64_t> steps;
  std::size_t bytes = 0;
  for (const Cell& cell : d.cells) {
    const RunRecord* run = pictured(cell);
    if (run == nullptr) continue;
    for (const PictureStep& at : run->pictures) {
      steps.insert(at.step);
      for (const PngPicture& picture : at.pictures) {
        bytes += picture.png.size();
        add_once(sheet.rows, picture.label);
      }
    }
  }
  for (const InputColumn& input : d.comparison.inputs) {
    for (const PngPicture& picture : input.pictures) add_once(sheet.rows, picture.label);
  }
  const std::vector<std::int64_t> all(steps.begin(), steps.end());
  sheet.all_steps = all.size();
  std::size_t keep = all.size();
  if (bytes > budget)
    keep = std::clamp<std::size_t>(all.size() * budget / bytes,
                                   std::min<std::size_t>(2, all.size()), all.size());
  for (std::size_t i = 0; i < keep; ++i) {
    sheet.steps.push_back(all[keep == 1 ? all.size() - 1 : i * (all.size() - 1) / (keep - 1)]);
  }
  return sheet;
}

const PngPicture* find_picture(const std::vector<PngPicture>& pictures, const std::string& label) {
  const auto found = std::find_if(pictures.begin(), pictures.end(),
                                  [&](const PngPicture& p) { return p.label == label; });
  return found == pictures.end() ? nullptr : &*found;
}

// All steps of one row of one cell; the script shows one of them at a time.
void stack(Html& html, const Sheet& sheet, const Cell& cell, const std::string& row) {
  const auto div = html.in("div", {{"class", "stack"}});
  const RunRecord* run = pictured(cell);
  for (std::size_t i = 0; i < sheet.steps.size(); ++i) {
    const std::int64_t step = sheet.steps[i];
    const PngPicture* picture = nullptr;
    if (run != nullptr) {
      const auto at = std::find_if(run->pictures.begin(), run->pictures.end(),
                                   [&](const PictureStep& p) { return p.step == step; });
      if (at != run->pictures.end()) picture = find_picture(at->pictures, row);
    }
    const auto figure = html.in("figure", {{"data-frame", static_cast<int>(i)}});
    if (picture != nullptr) {
      image(html, picture->png,
            cell.label + (row.empty() ? "" : ", " + row) + ", step " + std::to_string(step));
    } else if (run != nullptr && run->status == RunStatus::kDiverged && step > run->step) {
      html.element("p", {{"class", "nopicture"}}, "diverged at step " + std::to_string(run->step));
    } else {
      html.element("p", {{"class", "nopicture"}}, "no picture at this step");
    }
    html.element("figcaption", "step " + std::to_string(step));
  }
}

void input_picture(Html& html, const InputColumn& input, const std::string& row) {
  // An input without labels of its own (a single style) belongs to every row.
  const PngPicture* picture = find_picture(input.pictures, row);
  if (picture == nullptr && input.pictures.size() == 1) picture = &input.pictures.front();
  if (picture != nullptr) image(html, picture->png, input.name + (row.empty() ? "" : ", " + row));
}

void cell_heading(Html& html, const Cell& cell) {
  const auto span = html.in("span", {{"class", "cellname"}});
  swatch(html, cell.look);
  html.element("span", cell.label);
}

// Cards as wide as their pictures, within what a page can take.
std::string card_width(const Digest& d) {
  int widest = 140;
  for (const Cell& cell : d.cells) {
    const RunRecord* run = pictured(cell);
    int width = 0, height = 0;
    if (run != nullptr && !run->pictures.front().pictures.empty() &&
        png_size(run->pictures.front().pictures.front().png, &width, &height)) {
      widest = std::max(widest, width);
    }
  }
  return "--card:" + std::to_string(std::min(widest, 320)) + "px";
}

void cards(Html& html, const Digest& d, const Sheet& sheet, const std::string& row) {
  const auto list = html.in("ul", {{"class", "cards"}, {"style", card_width(d)}});
  for (const InputColumn& input : d.comparison.inputs) {
    const auto item = html.in("li");
    html.element("span", {{"class", "cellname"}}, input.name);
    input_picture(html, input, row);
  }
  for (const Cell& cell : d.cells) {
    if (pictured(cell) == nullptr) continue;
    const auto item = html.in("li", {{"data-key", cell.key}});
    cell_heading(html, cell);
    stack(html, sheet, cell, row);
  }
}

void grid(Html& html, const Digest& d, const Sheet& sheet) {
  const auto scroll = html.in("div", {{"class", "scroll"}});
  const auto table = html.in("table", {{"class", "pictures"}});
  {
    const auto head = html.in("thead");
    const auto tr = html.in("tr");
    html.element("td", "");
    for (const InputColumn& input : d.comparison.inputs)
      html.element("th", {{"scope", "col"}}, input.name);
    for (const Cell& cell : d.cells) {
      if (pictured(cell) == nullptr) continue;
      const auto th = html.in("th", {{"scope", "col"}, {"data-key", cell.key}});
      cell_heading(html, cell);
    }
  }
  const auto body = html.in("tbody");
  for (const std::string& row : sheet.rows) {
    const auto tr = html.in("tr");
    html.element("th", {{"scope", "row"}}, row);
    for (const InputColumn& input : d.comparison.inputs) {
      const auto td = html.in("td");
      input_picture(html, input, row);
    }
    for (const Cell& cell : d.cells) {
      if (pictured(cell) == nullptr) continue;
      const auto td = html.in("td", {{"data-key", cell.key}});
      stack(html, sheet, cell, row);
    }
  }
}

// Hidden until the script wakes it: without the script every step is on the page anyway.
void slider(Html& html, const Sheet& sheet) {
  if (sheet.steps.size() < 2) return;
  std::string steps;
  for (const std::int64_t step : sheet.steps)
    steps += (steps.empty() ? "" : " ") + std::to_string(step);
  const auto div = html.in("div", {{"class", "slider"}, {"hidden", ""}, {"data-steps", steps}});
  html.element("button", {{"type", "button"}, {"aria-label", "play"}}, "▶");
  const auto label = html.in("label");
  html.element("span", "Training step");
  html.empty("input", {{"type", "range"},
                       {"min", "0"},
                       {"max", static_cast<int>(sheet.steps.size()) - 1},
                       {"value", static_cast<int>(sheet.steps.size()) - 1}});
  html.element("output", std::to_string(sheet.steps.back()));
}

}  // namespace

void pictures_section(Html& html, const Digest& d, const ReportOptions& options) {
  const Sheet sheet = plan(d, options.picture_bytes);
  if (sheet.steps.empty()) return;
  const auto section = html.in("section", {{"id", "samples"}});
  html.element("h2", "Samples over time");
  std::set<std::uint64_t> seeds;
  for (const Cell& cell : d.cells) {
    if (const RunRecord* run = pictured(cell)) seeds.insert(run->seed);
  }
  std::string about = "The same latents or inputs in every cell and at every step; seed " +
                      std::to_string(*seeds.begin()) +
                      (seeds.size() > 1 ? " where it exists." : ".");
  if (sheet.steps.size() < sheet.all_steps) {
    about += " " + std::to_string(sheet.steps.size()) + " of " + std::to_string(sheet.all_steps) +
             " steps are shown to keep the page small; the rest is in the run folders.";
  }
  html.element("p", {{"class", "fine"}}, about);
  slider(html, sheet);
  if (sheet.rows.size() == 1) {
    cards(html, d, sheet, sheet.rows.front());
  } else {
    grid(html, d, sheet);
  }
}

}  // namespace tapestry::lab::report
