// tapestry-conformance DIR [--tier T]: runs reference vectors and says how Tapestry did.
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <map>
#include <string>
#include <system_error>
#include <vector>

#include <unistd.h>

#include "core/kernels/simd_info.h"
#include "core/parallel.h"
#include "core/real.h"
#include "tests/conformance/run.h"

namespace tapestry::conformance {
namespace {

constexpr int kPassed = 0, kFailed = 1, kBadUsage = 2;

constexpr const char* kUsage =
    "usage: tapestry-conformance DIR [--tier core|hard|extra|stretch] [--only TEXT] [--verbose] "
    "[--baseline]\n"
    "Runs the reference vectors (*.safetensors) in DIR; --only takes those whose name contains "
    "TEXT,\n"
    "--verbose shows whole messages and what passed loosely, --baseline takes the simplest SIMD\n"
    "target that is compiled in.\n"
    "Exit code: 0 all passed, 1 some failed, 2 bad usage.\n";

struct Options {
  std::filesystem::path folder;
  std::string tier, only;
  bool verbose = false, baseline = false;
};

struct Row {
  int cases = 0, loose = 0, tight = 0, failed = 0, skipped = 0;
  double worst = 0;
  std::string worst_case;
};

struct Messages {
  int refused = 0, complete = 0;
};

/// The name of the running case, for the signal handler.
char running[256];

extern "C" void say_where(int signal) {
  constexpr char kText[] = "\ncrashed in ";
  const auto ignored = write(STDERR_FILENO, kText, sizeof kText - 1) +
                       write(STDERR_FILENO, running, std::char_traits<char>::length(running)) +
                       write(STDERR_FILENO, "\n", 1);
  (void)ignored;
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

void record(const Case& c, const Outcome& outcome, Row& row, Messages& messages, bool verbose) {
  ++row.cases;
  switch (outcome.state) {
    case Outcome::State::kSkipped:
      ++row.skipped;
      std::printf("skipped  %s: %s\n", c.name.c_str(), outcome.problems.front().text.c_str());
      return;
    case Outcome::State::kFailed:
      ++row.failed;
      for (const Problem& problem : outcome.problems) {
        std::printf("FAILED   %s: %s%s%s\n", c.name.c_str(), problem.tensor.c_str(),
                    problem.tensor.empty() ? "" : ": ",
                    (verbose ? problem.text : first_line(problem.text)).c_str());
      }
      return;
    case Outcome::State::kPassed:
      break;
  }
  ++row.loose;
  row.tight += outcome.tight ? 1 : 0;
  if (outcome.error > row.worst) {
    row.worst = outcome.error;
    row.worst_case = c.name;
  }
  if (verbose && !outcome.tight) {
    std::printf("loose    %s: error %.2g\n", c.name.c_str(), outcome.error);
  }
  if (c.kind != "expect_error") return;
  ++messages.refused;
  messages.complete += outcome.unmentioned.empty() ? 1 : 0;
  for (const std::string& word : outcome.unmentioned) {
    std::printf("message  %s: does not mention '%s': %s\n", c.name.c_str(), word.c_str(),
                first_line(outcome.refusal).c_str());
  }
}

int run_all(const Options& options) {
  std::vector<std::filesystem::path> files;
  std::error_code problem;
  for (const auto& entry : std::filesystem::directory_iterator(options.folder, problem)) {
    if (entry.path().extension() == ".safetensors") files.push_back(entry.path());
  }
  if (problem || files.empty()) {
    std::fprintf(stderr, "tapestry-conformance: %s: %s\n", options.folder.c_str(),
                 problem ? problem.message().c_str() : "no .safetensors files in it");
    return kBadUsage;
  }
  std::sort(files.begin(), files.end());
  for (const int signal : {SIGSEGV, SIGABRT, SIGFPE, SIGBUS}) std::signal(signal, say_where);

  std::map<std::string, Row> rows;
  Messages messages;
  for (const std::filesystem::path& file : files) {
    const std::string name = file.stem().string();
    if (name.find(options.only) == std::string::npos) continue;
    name.copy(running, sizeof running - 1);
    running[std::min(name.size(), sizeof running - 1)] = '\0';
    try {
      const Case c = read_case(file);
      if (!options.tier.empty() && c.tier != options.tier) continue;
      record(c, run(c), rows[c.tier], messages, options.verbose);
    } catch (const BadCase& error) {
      ++rows["unreadable"].cases;
      ++rows["unreadable"].failed;
      std::printf("FAILED   %s: %s\n", name.c_str(), error.what());
    }
  }

  Row all;
  std::printf("\n%s, %s, %d thread%s\n", sizeof(Real) == 4 ? "float" : "double",
              std::string(kernels::simd_target()).c_str(), threads(), threads() == 1 ? "" : "s");
  std::printf("%-11s %6s %6s %6s %7s %8s   worst error, in units of the tensor's scale\n", "tier",
              "cases", "loose", "tight", "failed", "skipped");
  const auto print = [](const std::string& tier, const Row& row) {
    std::printf("%-11s %6d %6d %6d %7d %8d   %.2g %s\n", tier.c_str(), row.cases, row.loose,
                row.tight, row.failed, row.skipped, row.worst, row.worst_case.c_str());
  };
  for (const auto& [tier, row] : rows) {
    print(tier, row);
    all.cases += row.cases;
    all.loose += row.loose;
    all.tight += row.tight;
    all.failed += row.failed;
    all.skipped += row.skipped;
    if (row.worst > all.worst) {
      all.worst = row.worst;
      all.worst_case = row.worst_case;
    }
  }
  print("all", all);
  if (messages.refused > 0) {
    std::printf("refused with an error: %d, whose message names everything it should: %d\n",
                messages.refused, messages.complete);
  }
  if (all.cases == 0) {
    std::fprintf(stderr, "tapestry-conformance: no case fits --tier and --only\n");
    return kBadUsage;
  }
  return all.failed == 0 ? kPassed : kFailed;
}

}  // namespace
}  // namespace tapestry::conformance

int main(int argc, char** argv) {
  using namespace tapestry::conformance;
  Options options;
  bool good = true;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--tier" && i + 1 < argc) {
      options.tier = argv[++i];
    } else if (word == "--only" && i + 1 < argc) {
      options.only = argv[++i];
    } else if (word == "--verbose") {
      options.verbose = true;
    } else if (word == "--baseline") {
      options.baseline = true;
    } else if (word == "--help") {
      std::printf("%s", kUsage);
      return kPassed;
    } else if (word.starts_with("-") || !options.folder.empty()) {
      good = false;
    } else {
      options.folder = word;
    }
  }
  const std::string tiers[] = {"", "core", "hard", "extra", "stretch"};
  good = good && std::find(std::begin(tiers), std::end(tiers), options.tier) != std::end(tiers);
  if (!good || options.folder.empty()) {
    std::fprintf(stderr, "%s", kUsage);
    return kBadUsage;
  }
  try {
    tapestry::kernels::simd_target();  // TAPESTRY_SIMD or
    tapestry::threads();               // TAPESTRY_THREADS may name what is not there
    if (options.baseline) {
      tapestry::kernels::force_simd_target(tapestry::kernels::simd_targets().back());
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "tapestry-conformance: %s\n", error.what());
    return kBadUsage;
  }
  return run_all(options);
}
