#include "examples/lab/settings.h"

#include <algorithm>

#include "core/error.h"
#include "core/text.h"

namespace tapestry::lab {
namespace {

constexpr double kMany = 1e9;

void describe_rule(Fields& f, optim::OptimizerSetting& s) {
  f.variant("type", s.type, {"adam", "adamw", "sgd", "rmsprop", "adagrad"}, "update rule");
  const Limits rate{.above = 0, .below = 1e3}, decay{.min = 0, .below = 1},
      weight{.min = 0, .below = 1e3}, tiny{.min = 0, .below = 1};
  if (s.type == "sgd") {
    f.number("lr", s.sgd.lr, rate, "learning rate");
    f.number("momentum", s.sgd.momentum, decay, "share of the last step kept");
    f.boolean("nesterov", s.sgd.nesterov, "look ahead along the momentum");
    f.number("weight_decay", s.sgd.weight_decay, weight, "pull of the weights towards 0");
    if (s.sgd.nesterov && s.sgd.momentum == 0)
      f.problem("nesterov", "needs a momentum above 0", "add \"momentum\": 0.9");
  } else if (s.type == "adam" || s.type == "adamw") {
    if (s.type == "adamw" && !f.given("weight_decay")) s.adam.weight_decay = 0.01;
    f.number("lr", s.adam.lr, rate, "learning rate");
    f.number("beta1", s.adam.beta1, decay, "decay of the mean gradient");
    f.number("beta2", s.adam.beta2, decay, "decay of the mean squared gradient");
    f.number("eps", s.adam.eps, tiny, "added to the root");
    f.number("weight_decay", s.adam.weight_decay, weight, "pull of the weights towards 0");
    f.boolean("amsgrad", s.adam.amsgrad, "divide by the largest mean square so far");
  } else if (s.type == "rmsprop") {
    f.number("lr", s.rmsprop.lr, rate, "learning rate");
    f.number("alpha", s.rmsprop.alpha, decay, "decay of the mean squared gradient");
    f.number("eps", s.rmsprop.eps, tiny, "added to the root");
    f.number("momentum", s.rmsprop.momentum, decay, "share of the last step kept");
    f.boolean("centered", s.rmsprop.centered, "divide by the variance instead of the mean square");
    f.number("weight_decay", s.rmsprop.weight_decay, weight, "pull of the weights towards 0");
  } else {
    f.number("lr", s.adagrad.lr, rate, "learning rate");
    f.number("lr_decay", s.adagrad.lr_decay, weight, "decay of the learning rate");
    f.number("eps", s.adagrad.eps, tiny, "added to the root");
    f.number("weight_decay", s.adagrad.weight_decay, weight, "pull of the weights towards 0");
  }
}

/// A named group of keys without a struct of its own.
template <class F>
struct Group {
  F keys;
};
template <class F>
void describe(Fields& f, Group<F>& group) {
  group.keys(f);
}
template <class F>
void group(Fields& f, std::string_view key, F keys, std::string_view help = "") {
  Group<F> all{keys};
  f.object(key, all, help);
}

}  // namespace
}  // namespace tapestry::lab

namespace tapestry::optim {

void describe(Fields& f, Schedule& s) {
  f.variant("type", s.type, schedule_names(), "course of the learning rate");
  const Limits steps{.min = 0, .max = 1e9};
  f.integer("warm_up", s.warm_up, steps, "steps over which the rate grows from near 0");
  if (s.type == "step")
    f.integer("step_size", s.step_size, {.min = 1, .max = 1e9}, "steps between drops");
  if (s.type == "multistep")
    f.numbers("milestones", s.milestones, 0, steps, true, "steps of the drops");
  if (s.type == "step" || s.type == "multistep" || s.type == "exponential")
    f.number("gamma", s.gamma, {.max = 1, .above = 0}, "factor of each drop");
  if (s.type == "cosine") f.number("minimum", s.minimum, {.min = 0}, "where it ends");
  if (s.type == "linear") {
    f.number("start_factor", s.start_factor, {.min = 0, .max = 1},
             "share of the rate at the beginning");
    f.number("end_factor", s.end_factor, {.min = 0, .max = 1}, "share at the end");
  }
  if (s.type == "cosine" || s.type == "linear")
    f.integer("length", s.length, steps, "steps; 0: the whole training");
}

}  // namespace tapestry::optim

namespace tapestry::lab {

void describe(Fields& f, Optimization& s) {
  describe_rule(f, s.rule);
  f.word_or_object("schedule", s.schedule, "type", optim::schedule_names(),
                   "course of the learning rate");
  f.number("clip", s.clip, {.min = 0}, "largest norm of all gradients together; 0: no clipping");
  f.integer("lr_scales_with_batch", s.lr_scales_with_batch, {.min = 0, .max = kMany},
            "multiply lr by batch/this; 0: do not");
}

std::vector<GridAxis> CompareSetting::axes() const {
  std::vector<GridAxis> result;
  for (const auto& [path, values] : grid.members()) result.push_back({path, values.items()});
  return result;
}

void describe(Fields& f, CompareSetting& s) {
  f.json("grid", s.grid, "paths of keys, each with the list of values to try");
  for (const auto& [path, values] : s.grid.members()) {
    if (!values.is_array() || values.items().empty())
      f.problem("grid", "\"" + printable(path) + "\" must have a list of values");
  }
  f.numbers("seeds", s.seeds, 0, {.min = 0, .max = 4294967295.0}, true,
            "each cell is trained once per seed");
  if (s.seeds.empty()) f.problem("seeds", "at least one seed is needed");
  f.string("metric", s.metric, "figure to rank by; empty: the task's own");
  f.choice("goal", s.goal, {"", "min", "max"},
           "which direction of it is better; empty: the task's own");
  f.string("question", s.question, "one sentence for the report");
}

void describe(Fields& f, ExperimentSetting& s) {
  std::string schema;
  if (f.given("$schema") && s.version == 1) f.string("$schema", schema, "for editors");
  f.integer("version", s.version, {.min = 1, .max = 1}, "of the config format");
  f.string("name", s.name, "names the run folder");
  if (s.name.empty() || s.name.find_first_of("/\\") != std::string::npos || s.name[0] == '.')
    f.problem("name", "must be usable as the name of a folder");
  f.required("task");
  f.variant("task", s.task, {"classify", "gan", "style"}, "what is trained");
  f.integer("seed", s.seed, {.min = 0, .max = 4294967295.0}, "of all random numbers");

  if (s.task != "style") f.object("data", s.data, "what it is trained on");
  if (s.task == "style") {
    group(f, "data", [&](Fields& g) {
      StyleSetting& style = s.style;
      g.variant("content", style.content, {"scenes", "folder"},
                "procedural scenes, or a folder of pictures");
      if (style.content == "folder") {
        g.required("content_folder");
        g.string("content_folder", style.content_folder, "relative to the config");
      } else {
        g.integer("count", style.content_count, {.min = 8, .max = 1e6}, "scenes to train on");
        g.boolean("vary_contrast", style.vary_contrast,
                  "move each scene to a random mean and contrast");
      }
      g.variant("style", style.style, {"waves", "checks", "cells", "noise", "image"},
                "a procedural texture, or any picture");
      if (style.style == "image") {
        g.required("style_file");
        g.string("style_file", style.style_file, "PNG, JPEG or BMP, relative to the config");
      } else {
        g.integer("style_seed", style.style_seed, {.min = 0, .max = 1e9},
                  "which of the textures of that kind");
      }
      g.integer("size", style.size, {.min = 16, .max = 512}, "height and width; a multiple of 4");
      if (style.size % 4 != 0)
        g.problem("size", "must be a multiple of 4, because the net halves the picture twice");
    });
  }

  group(f, "model", [&](Fields& g) {
    if (s.norm.type == "inherit") s.norm.type = "batch";
    nn::describe_norm(g, s.norm);
    if (s.task == "classify") {
      g.required("network");
      g.object("network", s.classify.network, "images to one score per class");
    } else if (s.task == "gan") {
      g.required("generator");
      g.required("discriminator");
      g.integer("latent", s.gan.latent, {.min = 1, .max = 4096},
                "numbers the generator starts from");
      g.object("generator", s.gan.generator, "latent numbers to images");
      g.object("discriminator", s.gan.discriminator, "images to one score");
    } else {
      if (!g.given("transformer")) s.style.transformer.type = "johnson";
      g.object("transformer", s.style.transformer, "picture to picture");
    }
    g.word_or_object("init", s.init, "type", nn::init_names(), "how weights start");
  });

  const Limits weight{.min = 0};
  if (s.task == "classify") {
    group(f, "loss", [&](Fields& g) {
      g.number("label_smoothing", s.classify.label_smoothing, {.min = 0, .below = 1},
               "share of the target spread over all classes");
    });
    f.object("optimizer", s.classify.optimizer, "how weights move");
  } else if (s.task == "gan") {
    group(f, "loss", [&](Fields& g) {
      g.choice("type", s.gan.loss, {"nonsaturating", "least_squares", "hinge", "wasserstein"},
               "the game");
      g.number("label_smoothing", s.gan.label_smoothing, {.min = 0, .below = 1},
               "nonsaturating: target of real images is 1 minus this");
      g.number("gradient_penalty", s.gan.gradient_penalty, weight,
               "weight of (slope − 1)² between real and fake; 10 for wasserstein");
      g.number("r1", s.gan.r1, weight, "weight of the squared slope at real images");
      g.boolean("real_and_fake_together", s.gan.real_and_fake_together,
                "one discriminator pass over both, so that BatchNorm mixes them");
      if (s.gan.loss == "wasserstein" && s.gan.gradient_penalty == 0 && s.gan.r1 == 0) {
        g.problem("type", "wasserstein needs a penalty, or the scores grow without bound",
                  "add \"gradient_penalty\": 10");
      }
    });
    group(f, "optimizer", [&](Fields& g) {
      g.object("generator", s.gan.generator_optimizer, "how the generator's weights move");
      g.object("discriminator", s.gan.discriminator_optimizer,
               "how the discriminator's weights move");
    });
  } else {
    group(f, "loss", [&](Fields& g) {
      g.number("content", s.style.content_weight, weight, "weight of the content's structure");
      g.number("style", s.style.style_weight, weight, "weight of the style's texture");
      g.number("total_variation", s.style.total_variation, weight, "weight of smoothness");
      g.integer("filter_seed", s.style.filter_seed, {.min = 0, .max = 1e9},
                "of the random filters that measure");
      g.integer("judge_seed", s.style.judge_seed, {.min = 0, .max = 1e9},
                "of the held-out filters that score");
      if (s.style.filter_seed == s.style.judge_seed)
        g.problem("judge_seed", "must differ from filter_seed, or the judge is the teacher");
    });
    f.object("optimizer", s.style.optimizer, "how weights move");
  }

  group(f, "train", [&](Fields& g) {
    g.integer("steps", s.train.steps, {.min = 1, .max = kMany}, "training steps");
    g.integer("examples", s.train.examples, {.min = 0, .max = 1e12},
              "if above 0, instead of steps: examples to consume");
    g.integer("batch", s.train.batch, {.min = 1, .max = 4096}, "examples per step");
    if (s.task == "gan") {
      g.integer("discriminator_steps", s.train.discriminator_steps, {.min = 1, .max = 100},
                "discriminator steps per generator step");
      g.number("ema", s.train.ema, {.min = 0, .below = 1},
               "decay of the generator's averaged weights; 0: none");
    }
    g.integer("threads", s.train.threads, {.min = 0, .max = 256},
              "0: all cores; results do not depend on it");
    g.boolean("anomaly", s.train.anomaly,
              "check every number; the first NaN or Inf is named with op, layer and step");
  });
  group(f, "evaluate", [&](Fields& g) {
    g.integer("every", s.evaluate.every, {.min = 1, .max = kMany}, "steps between evaluations");
    g.integer("samples", s.evaluate.samples, {.min = 16, .max = 1e6}, "examples to judge");
    g.choice("batch_norm", s.evaluate.batch_norm, {"running", "batch", "recalibrated"},
             "statistics BatchNorm uses while judging");
  });
  group(f, "log", [&](Fields& g) {
    g.integer("every", s.log.every, {.min = 1, .max = kMany}, "steps between logged losses");
    g.integer("samples_every", s.log.samples_every, {.min = 1, .max = kMany},
              "steps between pictures");
    g.numbers("sample_grid", s.log.sample_grid, 2, {.min = 1, .max = 32}, true,
              "rows and columns of a picture sheet");
    g.boolean("statistics", s.log.statistics, "figures of every layer with each evaluation");
  });
  f.object("compare", s.compare, "a grid of runs");
  f.json("presets", s.presets, "named partial configs, laid over this one by --preset");
}

Json load_config(const ConfigSource& source) {
  Json json = load_json(source.file);
  if (!json.is_object()) throw Error(source.file.string(), "must be a JSON object");
  if (!source.preset.empty() && source.preset != "none") {
    const Json* presets = json.find("presets");
    const Json* preset = presets != nullptr ? presets->find(source.preset) : nullptr;
    if (preset == nullptr) {
      std::string known;
      if (presets != nullptr) {
        for (const auto& [name, value] : presets->members())
          known += (known.empty() ? "" : ", ") + name;
      }
      throw Error(source.file.string(), "has no preset \"{}\"", printable(source.preset))
          .hint(known.empty() ? "it has no presets" : "it has {}", known);
    }
    const Json changes = *preset;  // merging may move it
    merge(json, changes);
    // A grid of a preset replaces the whole grid, so that a smaller one can be given.
    if (const Json* grid = find_path(changes, "compare.grid"))
      json.find("compare")->set("grid", *grid);
  }
  for (const std::string& text : source.overrides) {
    const std::size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0)
      throw Error("--set " + printable(text),
                  "must look like path=value, for example train.batch=32");
    Json value = parse_loosely(std::string_view(text).substr(equals + 1));
    value.set_origin("--set " + printable(text));
    set_path(json, text.substr(0, equals), std::move(value));
  }
  return json;
}

ExperimentSetting read_config(const Json& json, const std::filesystem::path& folder) {
  ExperimentSetting setting;
  setting.folder = folder;
  Problems problems;
  read_settings(json, setting, problems);
  problems.throw_if_any();
  return setting;
}

Json resolved_config(const ExperimentSetting& setting) {
  Json json = write_settings(setting);
  std::vector<Json::Member>& members = json.members();
  members.erase(std::remove_if(members.begin(), members.end(),
                               [](const Json::Member& m) {
                                 return m.first == "$schema" || m.first == "presets";
                               }),
                members.end());
  // Paths count from the run folder's copy no more: they become absolute.
  const auto absolute = [&](std::string_view path) {
    if (const Json* found = find_path(json, path);
        found != nullptr && found->is_string() && !found->text().empty()) {
      set_path(
          json, path,
          std::filesystem::absolute(setting.folder / found->text()).lexically_normal().string());
    }
  };
  absolute("data.folder");
  absolute("data.content_folder");
  absolute("data.style_file");
  return json;
}

Json config_schema() {
  Json schema = Json::object(
      {{"$schema", "http://json-schema.org/draft-07/schema#"}, {"title", "tapestry config"}});
  const Json experiment = schema_of<ExperimentSetting>();
  for (const auto& [key, value] : experiment.members()) schema.set(key, value);
  return schema;
}

}  // namespace tapestry::lab
