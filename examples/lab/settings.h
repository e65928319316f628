// Everything a config file can say, in one place. The describe() functions in settings.cc are the
// reference: keys, ranges, defaults, help.
#ifndef TAPESTRY_EXAMPLES_LAB_SETTINGS_H_
#define TAPESTRY_EXAMPLES_LAB_SETTINGS_H_

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "core/config.h"
#include "datasets/builder.h"
#include "layers/builder.h"
#include "optim/optimizer.h"
#include "optim/schedule.h"

namespace tapestry::lab {

/// An optimizer and the course of its learning rate.
struct Optimization {
  optim::OptimizerSetting rule;
  optim::Schedule schedule;
  double clip = 0;                        // largest norm of all gradients together; 0: no clipping
  std::int64_t lr_scales_with_batch = 0;  // multiply the learning rate by batch/this; 0: do not
};
void describe(Fields& fields, Optimization& setting);

struct TrainSetting {
  std::int64_t steps = 1000;
  std::int64_t examples = 0;  // instead of steps: as many steps as consume this many examples
  std::int64_t batch = 64;
  std::int64_t discriminator_steps = 1;  // gan
  double ema = 0;                        // gan: decay of the generator's averaged weights; 0: none
  std::int64_t threads = 0;              // 0: all cores
  bool anomaly = false;
  std::int64_t total_steps() const { return examples > 0 ? (examples + batch - 1) / batch : steps; }
};

struct EvaluateSetting {
  std::int64_t every = 250;            // steps
  std::int64_t samples = 1000;         // generated or held-out examples to judge
  std::string batch_norm = "running";  // running, batch, recalibrated
};

struct LogSetting {
  std::int64_t every = 25;           // steps between lines of metrics.jsonl
  std::int64_t samples_every = 250;  // steps between pictures
  std::vector<double> sample_grid{8, 8};
  bool statistics = true;  // layer figures with each evaluation
};

struct ClassifySetting {
  nn::NetworkSetting network;
  double label_smoothing = 0;
  Optimization optimizer;
};

struct GanSetting {
  nn::NetworkSetting generator, discriminator;
  std::int64_t latent = 64;
  std::string loss = "nonsaturating";
  double label_smoothing = 0;
  double gradient_penalty = 0;  // λ
  double r1 = 0;                // γ
  bool real_and_fake_together = false;
  Optimization generator_optimizer, discriminator_optimizer;
};

struct StyleSetting {
  nn::NetworkSetting transformer;
  std::string content = "scenes", style = "waves";  // style: a texture's name or "image"
  std::string content_folder, style_file;
  std::int64_t content_count = 512, size = 64, style_seed = 1;
  bool vary_contrast = true;
  std::int64_t filter_seed = 1,
               judge_seed = 1000;  // of the loss network, and of the held-out one that scores
  double content_weight = 1, style_weight = 5, total_variation = 0.05;
  Optimization optimizer;
};

/// Key and values of one axis of a comparison's grid.
struct GridAxis {
  std::string path;
  std::vector<Json> values;
};
struct CompareSetting {
  Json grid = Json::object();  // path → list of values
  std::vector<double> seeds{1};
  std::string metric;    // "": the task's own
  std::string goal;      // min, max or "": the task's own
  std::string question;  // shown under the report's title
  std::vector<GridAxis> axes() const;
};
void describe(Fields& fields, CompareSetting& setting);

/// A whole config.
struct ExperimentSetting {
  std::int64_t version = 1;
  std::string name = "run", task = "classify";
  std::int64_t seed = 1;
  data::DataSetting data;  // classify, gan
  nn::NormChoice norm;     // model.norm
  nn::InitSetting init;    // model.init
  ClassifySetting classify;
  GanSetting gan;
  StyleSetting style;
  TrainSetting train;
  EvaluateSetting evaluate;
  LogSetting log;
  CompareSetting compare;
  Json presets = Json::object();
  std::filesystem::path folder;  // of the config file: relative paths count from here. Not a key.
};
void describe(Fields& fields, ExperimentSetting& setting);

/// A config file with what the command line lays over it.
struct ConfigSource {
  std::filesystem::path file;
  std::string preset;                  // "": none
  std::vector<std::string> overrides;  // "path=value"
};
/// The JSON after preset and overrides; relative paths still relative. Throws Error when the preset
/// does not exist or an override's path leads nowhere.
Json load_config(const ConfigSource& source);
/// Reads it; throws one Error that lists every problem. `folder` is where relative paths count
/// from.
ExperimentSetting read_config(const Json& json, const std::filesystem::path& folder);
/// Every key with its value: runnable, and what the run folder keeps.
Json resolved_config(const ExperimentSetting& setting);
/// The draft-07 schema of all configs.
Json config_schema();

}  // namespace tapestry::lab

#endif  // TAPESTRY_EXAMPLES_LAB_SETTINGS_H_
