#include "examples/lab/bench.h"

#include <algorithm>
#include <cstdio>
#include <set>
#include <utility>

#include "core/checkpoint.h"
#include "core/error.h"
#include "core/kernels/simd_info.h"
#include "core/memory.h"
#include "core/parallel.h"
#include "examples/lab/bench_ops.h"
#include "examples/lab/bench_steps.h"
#include "examples/lab/bench_table.h"

namespace tapestry::lab {
namespace {

/// Losses of the first steps, to be compared with another program's.
void print_losses(const std::string& name, const Values& v) {
  Checkpoint file;
  const bool given = !v.text("initial").empty();
  if (given) file = load_checkpoint(v.text("initial"));
  const auto step = make_step(name, {v.text("norm"), v.number("batch"), v.number("size", 0)},
                              given ? Source(&file) : Source());
  Json losses = Json::array();
  for (std::int64_t i = 0; i < v.number("losses"); ++i) {
    Json of_step = Json::array();
    for (const double loss : step->run()) of_step.push(loss);
    losses.push(std::move(of_step));
  }
  std::printf(
      "%s\n",
      Json::object(
          {{"op", name}, {"norm", v.text("norm")}, {"threads", threads()}, {"losses", losses}})
          .dump(-1)
          .c_str());
}

void time_step(const std::string& name, const Values& v, Table& table) {
  if (v.number("losses", 0) > 0) return print_losses(name, v);
  if (!v.text("initial").empty())
    throw Error("--initial", "is only read to print losses").hint("add --losses 5");
  reset_peak_memory();
  const std::int64_t resident = peak_resident_bytes();
  const auto step = make_step(name, {v.text("norm"), v.number("batch"), v.number("size", 0)});
  Timing timing = measure([&] { step->run(); }, table.seconds, 3);
  timing.pool_bytes = memory_stats().peak_bytes;
  timing.growth_bytes = peak_resident_bytes() - resident;
  Json parameters = Json::object();
  std::string shape = "batch " + v.text("batch") + ",";
  for (const TrainingStep::Network& network : step->networks()) {
    parameters.set(network.name, network.parameters());
    shape += " " + network.name + " " + std::to_string(network.parameters());
  }
  table.print({name + " " + v.text("norm"), shape, step->flops()}, timing,
              {{"norm", v.text("norm")}, {"parameters", parameters}});
}

void print_peak(Table& table) {
  const MachinePeak& peak = machine_peak();
  if (table.json()) {
    std::printf("%s\n", Json::object({{"op", "peak"},
                                      {"threads", threads()},
                                      {"simd", std::string(kernels::simd_target())},
                                      {"gflops", peak.gflops},
                                      {"copy_gb_s", peak.copy_gb_s},
                                      {"stream_copy_gb_s", peak.stream_copy_gb_s}})
                            .dump(-1)
                            .c_str());
    return;
  }
  std::printf(
      "%s, %d threads: at most %.0f GFLOP/s in registers; copying 64 MB %.1f GB/s, past the caches "
      "%.1f GB/s\n",
      std::string(kernels::simd_target()).c_str(), threads(), peak.gflops, peak.copy_gb_s,
      peak.stream_copy_gb_s);
}

std::vector<Benchmark> all_benchmarks() {
  std::vector<Benchmark> all = op_benchmarks();
  all.push_back({"peak", "limits of this machine", {}, [](const Values&, Table& table) {
                   print_peak(table);
                 }});
  for (const StepInfo& info : step_infos()) {
    Benchmark step{
        info.name,
        info.description,
        {{"batch", std::to_string(info.batch)}, {"initial", ""}, {"losses", "0"}},
        [name = info.name](const Values& v, Table& table) { time_step(name, v, table); }};
    step.options["norm"] = info.norms[0];
    step.options["size"] = std::to_string(info.size);
    all.push_back(std::move(step));
  }
  return all;
}

std::string known_options(const Benchmark& benchmark) {
  std::string text;
  for (const auto& [name, value] : benchmark.options)
    text += " --" + name + (value == "false" ? "" : value.empty() ? " ..." : " " + value);
  return text;
}

bool is_step(const Benchmark& benchmark) { return benchmark.options.count("losses") != 0; }

using Given = std::map<std::string, std::string>;

void run(const Benchmark& benchmark, const Given& given, Table& table) {
  Given defaults = benchmark.options;
  defaults["budget"] = is_step(benchmark) ? "1" : "0.3";
  std::vector<std::string> names;
  for (const auto& [name, value] : defaults) names.push_back(name);
  for (const auto& [name, value] : given) {
    if (defaults.count(name) == 0)
      throw unknown_word("bench " + benchmark.name, "option", name, names);
  }
  const Values values(std::move(defaults), given);
  table.seconds = values.seconds("budget");
  benchmark.run(values, table);
}

/// Everything once; the steps with each of their norms.
void run_all(const std::vector<Benchmark>& all, const Given& given, Table& table) {
  for (const Benchmark& benchmark : all) {
    if (!is_step(benchmark)) {
      run(benchmark, given, table);
      continue;
    }
    for (const std::string& norm : step_info(benchmark.name).norms) {
      Given values = given;
      values["norm"] = norm;
      run(benchmark, values, table);
    }
  }
}

/// What exists, and a few lines that show what kind of machine this is.
void overview(const std::vector<Benchmark>& all, const Given& given, Table& table) {
  if (!table.json()) {
    std::printf("tapestry bench WHAT [OPTIONS] [--threads T] [--json]\n\n");
    for (const Benchmark& benchmark : all) {
      std::printf("%-18s %-50s%s\n", benchmark.name.c_str(), benchmark.description.c_str(),
                  known_options(benchmark).c_str());
    }
    std::printf("%-18s everything once\n\n", "all");
  }
  const std::vector<std::pair<std::string, Given>> shown{
      {"peak", {}},
      {"gemm", {}},
      {"conv2d", {}},
      {"conv2d", {{"in", "3"}, {"kernel", "4"}, {"stride", "2"}}},
      {"conv_transpose2d", {}},
      {"norm", {{"norm", "batch"}}},
      {"norm", {{"norm", "layer"}}},
      {"norm", {{"norm", "group"}}},
      {"norm", {{"norm", "instance"}}},
      {"elementwise", {{"op", "relu"}}},
      {"elementwise", {{"op", "tanh"}}},
      {"elementwise", {{"op", "add"}}},
      {"overhead", {}},
  };
  for (const auto& [name, options] : shown) {
    const auto found = std::find_if(all.begin(), all.end(),
                                    [&name = name](const Benchmark& b) { return b.name == name; });
    Given values = options;
    values.insert(given.begin(), given.end());
    run(*found, values, table);
  }
}

}  // namespace

const std::vector<BenchOption>& bench_options() {
  static const std::vector<BenchOption> options{
      {"m", "rows of the product"},
      {"k", "extent that is summed over"},
      {"n", "columns of the product, images, or parameters"},
      {"transpose-a", "the first matrix is stored as (k, m)", true},
      {"transpose-b", "the second matrix is stored as (n, k)", true},
      {"in", "channels of the input"},
      {"out", "channels of the output"},
      {"size", "height and width of the images: 32, or 32,48"},
      {"kernel", "extent of the window: 3, or 3,5"},
      {"stride", "pixels from window to window"},
      {"padding", "pixels added around the images"},
      {"output-padding", "rows and columns added to the result"},
      {"dilation", "pixels from tap to tap"},
      {"groups", "groups of channels that do not mix"},
      {"op", "function: relu, add, sum, ..."},
      {"shape", "extents of the tensor: 2048,2048"},
      {"axes", "axes that are summed over: 0, or 0,2; all when left out"},
      {"axis", "axis of the probabilities"},
      {"mode", "nearest, bilinear; constant, reflect, replicate, circular"},
      {"factor", "how many times larger"},
      {"tensors", "pieces that the parameters come in"},
      {"norm", "batch, layer, group, instance or none"},
      {"batch", "examples in a training step"},
      {"initial", "safetensors file with initial values and inputs of a training step"},
      {"losses", "print the losses of so many steps instead of times"},
      {"budget", "seconds to measure each line for"},
  };
  return options;
}

int bench(const BenchOptions& options) {
  const std::vector<Benchmark> all = all_benchmarks();
  Table table(options.json);
  if (options.what.empty() || options.what == "all") {
    for (const auto& [name, value] : options.values) {
      if (name != "budget")
        throw Error("bench", "--{} is an option of single benchmarks", name).hint("name one");
    }
    options.what.empty() ? overview(all, options.values, table)
                         : run_all(all, options.values, table);
    return 0;
  }
  std::vector<std::string> names{"all"};
  for (const Benchmark& benchmark : all) {
    names.push_back(benchmark.name);
    if (benchmark.name != options.what) continue;
    run(benchmark, options.values, table);
    return 0;
  }
  throw unknown_word("bench", "benchmark", options.what, names);
}

}  // namespace tapestry::lab
