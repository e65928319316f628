#include "examples/lab/experiment.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <map>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "core/error.h"
#include "core/file.h"
#include "core/image.h"
#include "core/kernels/simd_info.h"
#include "core/memory.h"
#include "core/parallel.h"
#include "core/tape.h"
#include "examples/lab/progress.h"
#include "examples/lab/run_files.h"
#include "examples/lab/task.h"

namespace tapestry::lab {
namespace {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

volatile std::sig_atomic_t signals = 0;

void on_signal(int number) {
  if (signals != 0) _exit(128 + number);
  signals = number;
}

/// One training process per folder: the second one is refused instead of mixing its lines with the
/// first's.
class FolderLock {
 public:
  explicit FolderLock(const std::filesystem::path& folder) {
    const std::filesystem::path file = folder / "lock";
    descriptor_ = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (descriptor_ < 0)
      throw Error(folder.string(), "cannot be written to").fault(Fault::kEnvironment);
    if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
      ::close(descriptor_);
      throw Error(folder.string(), "is in use by another training")
          .hint("choose another folder with --out")
          .fault(Fault::kEnvironment);
    }
  }
  ~FolderLock() { ::close(descriptor_); }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int descriptor_;
};

/// Mean, deviation and dead channels of every layer, from one pass over a fixed input.
class LayerProbe final : public nn::Probe {
 public:
  explicit LayerProbe(const Network& network) : prefix_(network.name) {
    for (const auto& [name, module] : network.module->modules()) names_[module] = name;
  }
  void called(nn::Module& module, const Tensor&, const Tensor& output) override {
    if (!module.children().empty() || output.size() == 0) return;
    LayerFigures figures;
    figures.path = prefix_ + (names_[&module].empty() ? "" : "." + names_[&module]);
    figures.kind = std::string(module.kind());
    double sum = 0, squares = 0;
    for (const Real value : output.data()) {
      sum += value;
      squares += static_cast<double>(value) * value;
    }
    const double n = static_cast<double>(output.size());
    figures.mean = sum / n;
    figures.deviation = std::sqrt(std::max(squares / n - figures.mean * figures.mean, 0.0));
    if (output.rank() >= 2) {
      const std::int64_t channels = output.dim(1), inner = output.shape().product(2, output.rank());
      std::vector<char> alive(static_cast<std::size_t>(channels), 0);
      for (std::int64_t i = 0; i < output.size(); ++i) {
        if (output.data()[static_cast<std::size_t>(i)] != 0)
          alive[static_cast<std::size_t>(i / inner % channels)] = 1;
      }
      figures.dead = static_cast<double>(std::count(alive.begin(), alive.end(), 0)) /
                     static_cast<double>(channels);
    }
    rows.push_back(figures);
  }
  std::vector<LayerFigures> rows;

 private:
  std::string prefix_;
  std::map<const nn::Module*, std::string> names_;
};

std::vector<LayerFigures> layer_figures(Task& task) {
  const PauseRecording pause;
  std::map<std::string, double> gradients;
  for (const Named<double>& norm : task.gradient_norms()) {
    double& sum = gradients[norm.name.substr(0, norm.name.rfind('.'))];
    sum += norm.value * norm.value;
  }
  std::vector<LayerFigures> all;
  for (const Network& network : task.networks()) {
    network.module->eval();
    LayerProbe probe(network);
    (*network.module)(network.input);
    network.module->train();
    for (LayerFigures& row : probe.rows) {
      if (const auto found = gradients.find(row.path); found != gradients.end())
        row.gradient = std::sqrt(found->second);
      all.push_back(std::move(row));
    }
  }
  return all;
}

std::string weights_hash(Task& task) {
  std::vector<Tensor> tensors;
  for (const Network& network : task.networks()) {
    for (const Named<Tensor>& entry : network.module->state()) tensors.push_back(entry.value);
  }
  char text[24];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash(tensors)));
  return text;
}

double parameter_count(Task& task) {
  double count = 0;
  for (const Network& network : task.networks()) {
    for (const Tensor& parameter : network.module->parameters())
      count += static_cast<double>(parameter.size());
  }
  return count;
}

std::string checkpoint_name(std::int64_t step) {
  char text[48];
  std::snprintf(text, sizeof text, "step-%09lld.safetensors", static_cast<long long>(step));
  return text;
}

std::vector<std::filesystem::path> checkpoints_newest_first(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> found;
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "checkpoints", none)) {
    if (entry.path().extension() == ".safetensors") found.push_back(entry.path());
  }
  std::sort(found.rbegin(), found.rend());
  return found;
}

/// The run in progress: everything that is written, in one place.
class Run {
 public:
  Run(const ExperimentSetting& setting, const std::filesystem::path& folder,
      const RunOptions& options)
      : setting_(setting), files_(folder), options_(options), steps_(setting.train.total_steps()) {}

  RunStatus train() {
    if (setting_.train.threads > 0) set_threads(static_cast<int>(setting_.train.threads));
    set_anomaly_mode(setting_.train.anomaly);
    reset_peak_memory();
    task_ = make_task(setting_);
    std::filesystem::create_directories(files_.folder);
    const FolderLock lock(files_.folder);
    std::int64_t step = prepare();
    Progress progress(options_.title.empty() ? setting_.name : options_.title, step, steps_,
                      options_.quiet);
    RunStatus status = RunStatus::kDone;
    std::string remark;
    const Clock::time_point start = Clock::now();
    try {
      if (step == 0) show(0);
      for (; step < steps_;) {
        set_anomaly_step(step + 1);
        const Clock::time_point before = Clock::now();
        const Figures losses = task_->step(step);
        stepping_ += seconds_since(before);
        ++step;
        ++ran_;
        progress.step(step, losses);
        const bool last = step == steps_;
        if (step % setting_.log.every == 0 || last)
          files_.add_losses(step, seconds_ + seconds_since(start), losses);
        if (step % setting_.evaluate.every == 0 || last) evaluate(step, progress);
        if (step % setting_.log.samples_every == 0 || last) show(step);
        if (step % setting_.evaluate.every == 0 || last) {
          save(step);
          write_status(last ? RunStatus::kDone : RunStatus::kRunning, step,
                       seconds_ + seconds_since(start), "");
        }
        if (interrupted() && !last) {
          save(step);
          status = RunStatus::kInterrupted;
          break;
        }
      }
    } catch (const Error& error) {
      if (error.exit_code() != static_cast<int>(Fault::kDiverged)) {
        write_status(RunStatus::kFailed, step, seconds_ + seconds_since(start), error.what());
        throw;
      }
      status = RunStatus::kDiverged;
      remark = error.what();
      progress.line(remark);
    }
    progress.finish();
    write_status(status, step, seconds_ + seconds_since(start), remark);
    return status;
  }

 private:
  /// Decides between a new run and going on; returns the first step.
  std::int64_t prepare() {
    const bool exists = std::filesystem::exists(files_.folder / "status.json");
    std::int64_t step = 0;
    if (exists && options_.resume) {
      step = resume();
    } else {
      if (exists && !options_.overwrite) {
        throw Error(files_.folder.string(), "holds a run already")
            .hint(
                "continue it with --resume, replace it with --overwrite, or choose another folder "
                "with --out");
      }
      files_.clear();
      write_pictures("inputs", task_->inputs());
    }
    files_.write("config.json", resolved_config(setting_).dump() + "\n");
    files_.write("command.txt", options_.command + "\n");
    files_.write_environment(environment_facts());
    files_.write_figures(task_->figures(), task_->data_description());
    write_status(RunStatus::kRunning, step, seconds_, "");
    return step;
  }

  std::int64_t resume() {
    const Json before = load_json(files_.folder / "config.json");
    std::string changed;
    for (const Difference& difference : differences(before, resolved_config(setting_))) {
      const std::string& path = difference.path;
      if (path == "train.steps" || path == "train.threads" || path.starts_with("log") ||
          path.starts_with("evaluate") || path.starts_with("compare"))
        continue;
      changed += "\n  " + path + ": " + difference.before + " → " + difference.after;
    }
    if (!changed.empty())
      throw Error(files_.folder.string(), "was begun with another config{}", changed)
          .hint("undo the changes, or start over with --overwrite");
    if (checkpoints_newest_first(files_.folder).empty()) {
      files_.clear();
      return 0;
    }
    std::string remark;
    const std::filesystem::path file = last_checkpoint(files_.folder, &remark);
    if (!remark.empty() && !options_.quiet) std::printf("%s\n", remark.c_str());
    const Checkpoint checkpoint = load_checkpoint(file);
    try {
      task_->load(checkpoint);
    } catch (const std::exception& error) {
      throw Error(file.string(), "does not fit the config: {}", error.what());
    }
    const std::int64_t step = std::stoll(checkpoint.text("step"));
    seconds_ = std::stod(checkpoint.text("seconds"));
    files_.truncate(step);
    return step;
  }

  void evaluate(std::int64_t step, Progress& progress) {
    const Figures figures = task_->evaluate();
    files_.add_evaluation(step, figures);
    if (setting_.log.statistics) files_.add_layers(step, layer_figures(*task_));
    std::string line = (options_.title.empty() ? setting_.name : options_.title) + "  step " +
                       std::to_string(step);
    for (const auto& [name, value] : figures) line += "  " + name + " " + figure_text(value);
    progress.line(line);
  }

  void write_pictures(const std::string& place, const std::vector<Shown>& pictures) {
    for (std::size_t i = 0; i < pictures.size(); ++i)
      files_.write_picture(place, i, pictures[i].label, encode_png(pictures[i].image));
  }
  void show(std::int64_t step) {
    char place[40];
    std::snprintf(place, sizeof place, "samples/step-%09lld", static_cast<long long>(step));
    write_pictures(place, task_->pictures());
  }

  void save(std::int64_t step) {
    Checkpoint checkpoint;
    task_->save(checkpoint);
    checkpoint.texts["step"] = std::to_string(step);
    checkpoint.texts["seconds"] = to_text(seconds_ + stepping_);
    checkpoint.texts["config"] = resolved_config(setting_).dump(-1);
    save_checkpoint(checkpoint, files_.folder / "checkpoints" / checkpoint_name(step));
    const std::vector<std::filesystem::path> all = checkpoints_newest_first(files_.folder);
    for (std::size_t i = 2; i < all.size(); ++i) std::filesystem::remove(all[i]);
  }

  void write_status(RunStatus status, std::int64_t step, double seconds,
                    const std::string& remark) {
    Json json = Json::object({{"state", std::string(status_name(status))},
                              {"step", step},
                              {"steps", steps_},
                              {"seconds", seconds}});
    if (ran_ > 0) json.set("ms_per_step", 1000 * stepping_ / static_cast<double>(ran_));
    json.set("peak_bytes", memory_stats().peak_bytes);
    json.set("parameters", parameter_count(*task_));
    json.set("weights_hash", weights_hash(*task_));
    if (!remark.empty()) json.set("remark", remark);
    files_.write("status.json", json.dump() + "\n");
    if (options_.report)
      files_.write("report.html", report_html(single_run(load_run(files_.folder))));
  }

  const ExperimentSetting& setting_;
  RunFiles files_;
  const RunOptions& options_;
  const std::int64_t steps_;
  std::unique_ptr<Task> task_;
  double seconds_ = 0;   // of the run before it was resumed
  double stepping_ = 0;  // inside steps, of this process
  std::int64_t ran_ = 0;
};

}  // namespace

void handle_signals() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);  // a closed pipe shows as a failed write, which is ignored
}
bool interrupted() { return signals != 0; }

RunStatus run_experiment(const ExperimentSetting& setting, const std::filesystem::path& folder,
                         const RunOptions& options) {
  return Run(setting, folder, options).train();
}

std::filesystem::path last_checkpoint(const std::filesystem::path& folder, std::string* remark) {
  std::string damaged;
  for (const std::filesystem::path& file : checkpoints_newest_first(folder)) {
    try {
      load_checkpoint(file);
      if (remark != nullptr && !damaged.empty())
        *remark = damaged + "going on from " + file.string();
      return file;
    } catch (const Error& error) {
      damaged += std::string(error.what()) + "\n";
    }
  }
  throw Error(folder.string(), "{}has no checkpoint{}", damaged,
              damaged.empty() ? "" : " that can be read")
      .hint("is it the folder of a run? It should hold checkpoints/");
}

std::filesystem::path checkpoint_of(const std::filesystem::path& path) {
  return std::filesystem::is_directory(path) ? last_checkpoint(path) : path;
}

Facts environment_facts() {
  std::string processor = "unknown";
  if (std::FILE* file = std::fopen("/proc/cpuinfo", "r")) {
    char line[256];
    while (std::fgets(line, sizeof line, file) != nullptr) {
      const std::string_view text(line);
      if (text.starts_with("model name")) {
        processor = std::string(text.substr(text.find(':') + 2));
        processor.erase(processor.find_last_not_of("\n ") + 1);
        break;
      }
    }
    std::fclose(file);
  }
  return {{"program", "tapestry 0.1.0"},
          {"numbers", kDouble ? "double" : "float"},
          {"processor", processor},
          {"SIMD target", std::string(kernels::simd_target())},
          {"threads", std::to_string(threads())},
          {"compiler", __VERSION__}};
}

double estimate_seconds(const ExperimentSetting& setting) {
  if (setting.train.threads > 0) set_threads(static_cast<int>(setting.train.threads));
  const std::unique_ptr<Task> task = make_task(setting);
  task->step(0);  // memory comes from the system only the first time
  const Clock::time_point start = Clock::now();
  std::int64_t steps = 0;
  while (steps < setting.train.total_steps() && (steps < 2 || seconds_since(start) < 2))
    task->step(++steps);
  const double per_step = seconds_since(start) / static_cast<double>(steps);
  const Clock::time_point judging = Clock::now();
  task->evaluate();
  const double evaluations = std::ceil(static_cast<double>(setting.train.total_steps()) /
                                       static_cast<double>(setting.evaluate.every));
  return per_step * static_cast<double>(setting.train.total_steps()) +
         evaluations * seconds_since(judging);
}

}  // namespace tapestry::lab
