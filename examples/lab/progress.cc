#include "examples/lab/progress.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include <sys/ioctl.h>
#include <unistd.h>

namespace tapestry::lab {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

bool locale_is_utf8() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    if (const char* value = std::getenv(name); value != nullptr && *value != '\0') {
      const std::string_view text(value);
      return text.find("UTF-8") != text.npos || text.find("utf8") != text.npos;
    }
  }
  return false;
}

int terminal_width() {
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20) return size.ws_col;
  return 100;
}

/// Cuts after `width` characters; UTF-8 continuation bytes do not count.
std::string fit(const std::string& text, int width) {
  int shown = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if ((text[i] & 0xC0) != 0x80 && ++shown > width) return text.substr(0, i);
  }
  return text;
}

}  // namespace

std::string clock_text(double seconds) {
  const long total = std::lround(std::max(seconds, 0.0));
  char text[32];
  if (total >= 3600) {
    std::snprintf(text, sizeof text, "%ld:%02ld:%02ld", total / 3600, total / 60 % 60, total % 60);
  } else {
    std::snprintf(text, sizeof text, "%ld:%02ld", total / 60, total % 60);
  }
  return text;
}

std::string figure_text(double value) {
  char text[32];
  const double size = std::abs(value);
  if (value == 0 || !std::isfinite(value) || size < 1e-4 || size >= 1e6) {
    std::snprintf(text, sizeof text, "%.3g", value);
  } else {
    const int digits = std::max(0, 3 - static_cast<int>(std::floor(std::log10(size))));
    std::snprintf(text, sizeof text, "%.*f", std::min(digits, 6), value);
  }
  return text;
}

Progress::Progress(std::string title, std::int64_t first, std::int64_t steps, bool quiet)
    : title_(std::move(title)),
      first_(first),
      steps_(steps),
      quiet_(quiet),
      terminal_(isatty(STDOUT_FILENO) != 0),
      unicode_(locale_is_utf8()),
      next_plain_(first + std::max<std::int64_t>(1, steps / 5)),
      start_(Clock::now()) {}

Progress::~Progress() { finish(); }

std::string Progress::text(std::int64_t done,
                           const std::vector<std::pair<std::string, double>>& figures) const {
  const double share = steps_ > 0 ? static_cast<double>(done) / static_cast<double>(steps_) : 1;
  std::string line = title_.empty() ? "" : title_ + "  ";
  line += "step " + std::to_string(done) + "/" + std::to_string(steps_);
  if (terminal_) {
    constexpr int kCells = 12;
    const int full = static_cast<int>(share * kCells);
    line += unicode_ ? " ▕" : " [";
    for (int i = 0; i < kCells; ++i)
      line += i < full ? (unicode_ ? "█" : "#") : (unicode_ ? " " : ".");
    line += unicode_ ? "▏" : "]";
  }
  char percent[16];
  std::snprintf(percent, sizeof percent, " %3.0f%%", 100 * share);
  line += percent;
  for (const auto& [name, value] : figures) line += "  " + name + " " + figure_text(value);
  const double elapsed = seconds_since(start_);
  const std::int64_t ran = done - first_;
  if (ran > 0) {
    const double per_step = elapsed / static_cast<double>(ran);
    line += "  " + figure_text(1000 * per_step) + " ms/step  ETA " +
            clock_text(per_step * static_cast<double>(steps_ - done));
  }
  return line;
}

void Progress::step(std::int64_t done, const std::vector<std::pair<std::string, double>>& figures) {
  if (quiet_) return;
  if (!terminal_) {
    if (done < next_plain_ && done != steps_) return;
    next_plain_ = done + std::max<std::int64_t>(1, steps_ / 20);
    std::printf("%s\n", text(done, figures).c_str());
    std::fflush(stdout);
    return;
  }
  if (drawn_ && seconds_since(last_draw_) < 0.1) return;
  std::printf("\r\033[K%s", fit(text(done, figures), terminal_width() - 1).c_str());
  std::fflush(stdout);
  drawn_ = true;
  last_draw_ = Clock::now();
}

void Progress::line(const std::string& text) {
  if (quiet_) return;
  finish();
  std::printf("%s\n", text.c_str());
  std::fflush(stdout);
}

void Progress::finish() {
  if (!drawn_) return;
  std::printf("\r\033[K");
  std::fflush(stdout);
  drawn_ = false;
}

}  // namespace tapestry::lab
