// One training from start to end: the run folder, checkpoints, resuming, interruption, and the
// record that reports are made from.
#ifndef TAPESTRY_EXAMPLES_LAB_EXPERIMENT_H_
#define TAPESTRY_EXAMPLES_LAB_EXPERIMENT_H_

#include <filesystem>
#include <string>

#include "examples/lab/report.h"
#include "examples/lab/settings.h"

namespace tapestry::lab {

// A run folder:
//   config.json        resolved: every key; runnable       command.txt       what was typed
//   environment.json   program, processor, threads         status.json       running, done,
//   interrupted, diverged or failed; cost; weights hash metrics.jsonl      losses and evaluations
//   by step       statistics.jsonl  figures of every layer inputs/, samples/  pictures checkpoints/
//   the last two report.html

struct RunOptions {
  std::string title = {};    // before the progress line
  std::string command = {};  // to repeat it
  bool quiet = false;
  bool resume = false;     // continue from the last checkpoint that loads, if there is one
  bool overwrite = false;  // throw an existing run away
  bool report = true;      // write report.html with each evaluation and at the end
};

/// Trains as the setting says, into `folder`. Returns how it ended: done, interrupted (SIGINT or
/// SIGTERM; a checkpoint is saved), or diverged (a result, not an exception). Throws Error for bad
/// settings or data before anything is written, when the folder holds a run and neither resume nor
/// overwrite is chosen, and when it cannot be written.
RunStatus run_experiment(const ExperimentSetting& setting, const std::filesystem::path& folder,
                         const RunOptions& options);

/// What a run folder holds, for the report. Throws Error naming the file that is missing or
/// damaged.
struct LoadedRun {
  RunRecord record;
  std::vector<Metric> metrics;
  std::vector<InputColumn> inputs;
  Facts environment;
  std::string command, name, data;
};
LoadedRun load_run(const std::filesystem::path& folder);

/// The report of a single run.
Comparison single_run(const LoadedRun& run);

/// The file of the last checkpoint in a run folder that is intact; damaged ones are named in
/// `remark`. Throws Error when there is none.
std::filesystem::path last_checkpoint(const std::filesystem::path& folder,
                                      std::string* remark = nullptr);

/// A run folder or a checkpoint file, as commands take them: the file.
std::filesystem::path checkpoint_of(const std::filesystem::path& run_or_file);

/// What `tapestry info` prints and environment.json keeps.
Facts environment_facts();

/// Seconds that training as set would take, from a few timed steps.
double estimate_seconds(const ExperimentSetting& setting);

/// Set by the first SIGINT or SIGTERM once handle_signals() was called; a second signal ends the
/// program at once.
void handle_signals();
bool interrupted();

}  // namespace tapestry::lab

#endif  // TAPESTRY_EXAMPLES_LAB_EXPERIMENT_H_
