// The benchmarks time what they say they time: nets of the published sizes, work that adds up,
// losses that repeat.
#include "examples/lab/bench.h"

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "core/error.h"
#include "core/kernels/machine.h"
#include "core/parallel.h"
#include "examples/lab/bench_ops.h"
#include "examples/lab/bench_steps.h"

using namespace tapestry;
using namespace tapestry::lab;

namespace {

std::string complaint(const BenchOptions& options) {
  try {
    bench(options);
  } catch (const Error& error) {
    CHECK(error.exit_code() == 2);
    return error.what();
  }
  return "";
}

/// Losses of two steps of a shrunken net.
std::vector<double> losses(const std::string& name, const std::string& norm, int thread_count) {
  set_threads(thread_count);
  const StepInfo& info = step_info(name);
  const auto step = make_step(name, {norm, 2, info.size == 0 ? 0 : info.multiple == 32 ? 32 : 16});
  std::vector<double> all = step->run();
  for (const double loss : step->run()) all.push_back(loss);
  return all;
}

}  // namespace

TEST_CASE("bench: nets have the number of parameters that PyTorch counts") {
  using Counts = std::map<std::string, std::int64_t>;
  const struct {
    std::string name, norm;
    Counts counts;
  } cases[] = {
      {"dcgan", "batch", {{"G", 1183619}, {"D", 663361}}},
      {"dcgan", "layer", {{"G", 1240067}, {"D", 687169}}},
      {"dcgan", "group", {{"G", 1183619}, {"D", 663361}}},
      {"dcgan", "instance", {{"G", 1183619}, {"D", 663361}}},
      {"dcgan", "none", {{"G", 1183171}, {"D", 662977}}},
      {"style", "instance", {{"T", 1679235}, {"VGG", 1735488}}},
      {"resnet20", "batch", {{"M", 269722}}},
      {"resnet20", "layer", {{"M", 645178}}},
      {"resnet20", "group", {{"M", 269722}}},
      {"resnet20", "instance", {{"M", 269722}}},
      {"resnet20", "none", {{"M", 268346}}},
      {"unet", "batch", {{"G", 4168291}, {"D", 696225}}},
      {"unet", "instance", {{"G", 4168291}, {"D", 696225}}},
      {"espcn", "none", {{"M", 26796}}},
      {"edsr", "none", {{"M", 483587}}},
      {"wgangp", "none", {{"D", 662977}, {"G", 1183619}}},
      {"wgangp", "layer", {{"D", 687169}, {"G", 1183619}}},
      {"lenet", "none", {{"M", 61706}}},
      {"mlp", "none", {{"M", 235146}}},
      {"lstm", "none", {{"M", 82186}}},
      {"lstm_cell", "none", {{"M", 81674}}},
      {"lnlstm", "layer", {{"M", 83978}}},
      {"lnlstm_cell", "layer", {{"M", 83978}}},
  };
  for (const auto& one : cases) {
    INFO(one.name << " " << one.norm);
    Counts counts;
    const auto step = make_step(one.name, {.norm = one.norm});
    for (const auto& network : step->networks()) counts[network.name] = network.parameters();
    CHECK(counts == one.counts);
  }
}

TEST_CASE("bench: the work of a step is what PyTorch's dispatcher counts") {
  // The style step and those below it; wgangp is left out, because PyTorch also multiplies by the
  // zeros that LeakyReLU's second derivative is.
  const struct {
    std::string name;
    double gflop;
  } cases[] = {{"dcgan", 24.667},    {"style", 137.443}, {"resnet20", 31.03}, {"unet", 9.985},
               {"espcn", 2.466},     {"edsr", 47.903},   {"lenet", 0.145},    {"mlp", 0.065},
               {"lstm_cell", 0.799}, {"lnlstm", 0.799}};
  for (const auto& one : cases) {
    INFO(one.name);
    const double gflop = 1e-9 * make_step(one.name, {})->flops();
    CHECK(std::abs(gflop - one.gflop) < 0.0006 + 1e-4 * one.gflop);
  }
  const double single = make_step("dcgan", {.batch = 1})->flops();
  CHECK(make_step("dcgan", {.batch = 3})->flops() == doctest::Approx(3 * single));
}

TEST_CASE("bench: losses are finite, repeat, and do not depend on threads") {
  const int before = threads();
  for (const StepInfo& info : step_infos()) {
    for (const std::string& norm : info.norms) {
      INFO(info.name << " " << norm);
      const std::vector<double> one = losses(info.name, norm, 1);
      for (const double loss : one) CHECK(std::isfinite(loss));
      CHECK(one == losses(info.name, norm, 1));
      CHECK(one == losses(info.name, norm, 3));
      CHECK(one[0] != one[one.size() / 2]);  // it learned something
    }
  }
  set_threads(before);
}

TEST_CASE("bench: every op runs with any shape") {
  const std::map<std::string, std::map<std::string, std::string>> small{
      {"gemm", {{"m", "5"}, {"k", "7"}, {"n", "3"}, {"transpose-a", "true"}}},
      {"conv2d",
       {{"n", "1"},
        {"in", "4"},
        {"out", "6"},
        {"size", "7,9"},
        {"kernel", "1,3"},
        {"padding", "0,1"},
        {"groups", "2"}}},
      {"conv_transpose2d",
       {{"n", "1"},
        {"in", "4"},
        {"out", "6"},
        {"size", "3,5"},
        {"output-padding", "1,0"},
        {"dilation", "2"}}},
      {"norm", {{"norm", "group"}, {"n", "2"}, {"in", "12"}, {"size", "4,3"}}},
      {"elementwise", {{"shape", "3,5,7"}}},
      {"softmax", {{"op", "log_softmax"}, {"shape", "5,7,2"}, {"axis", "1"}}},
      {"reduce", {{"shape", "3,5,7"}, {"axes", "0,-1"}}},
      {"max_pool2d",
       {{"n", "1"},
        {"in", "2"},
        {"size", "7,5"},
        {"kernel", "3"},
        {"stride", "2"},
        {"padding", "1"}}},
      {"avg_pool2d", {{"n", "1"}, {"in", "2"}, {"size", "7"}}},
      {"global_avg_pool2d", {{"n", "1"}, {"in", "2"}, {"size", "7,5"}}},
      {"upsample", {{"n", "1"}, {"in", "2"}, {"size", "7"}, {"mode", "bilinear"}, {"factor", "3"}}},
      {"pad", {{"n", "1"}, {"in", "2"}, {"size", "7"}, {"mode", "circular"}, {"padding", "2,1"}}},
      {"pixel_shuffle", {{"n", "1"}, {"in", "18"}, {"size", "7"}, {"factor", "3"}}},
      {"adam", {{"n", "100"}, {"tensors", "3"}}},
      {"sgd", {{"n", "100"}, {"tensors", "3"}}},
      {"overhead", {}},
  };
  for (const Benchmark& benchmark : op_benchmarks()) {
    INFO(benchmark.name);
    REQUIRE(small.count(benchmark.name) == 1);
    auto values = small.at(benchmark.name);
    values["budget"] = "0";
    CHECK(bench({.what = benchmark.name, .values = values, .json = true}) == 0);
  }
}

TEST_CASE("bench: every option of a benchmark is one of the command line") {
  for (const Benchmark& benchmark : op_benchmarks()) {
    for (const auto& taken : benchmark.options) {
      const std::string& name = taken.first;
      INFO(benchmark.name << " --" << name);
      bool known = false;
      for (const BenchOption& option : bench_options()) known = known || option.name == name;
      CHECK(known);
    }
  }
}

TEST_CASE("bench: bad names and values get one error that says what would be right") {
  const struct {
    BenchOptions options;
    std::vector<std::string> mentions;
  } cases[] = {
      {{.what = "gem"}, {"gem", "did you mean \"gemm\"?"}},
      {{.what = "dcgan", .values = {{"norm", "bach"}}}, {"bach", "did you mean \"batch\"?"}},
      {{.what = "dcgan", .values = {{"size", "64"}}}, {"--size", "one size only"}},
      {{.what = "unet", .values = {{"size", "48"}}}, {"--size", "multiple of 32", "48"}},
      {{.what = "gemm", .values = {{"kernel", "3"}}}, {"kernel", "transpose-a"}},
      {{.what = "gemm", .values = {{"m", "many"}}}, {"--m", "whole number", "many"}},
      {{.what = "gemm", .values = {{"m", "0"}}}, {"--m", "from 1"}},
      {{.what = "gemm", .values = {{"m", "99999999999999999999"}}}, {"--m"}},
      {{.what = "conv2d", .values = {{"size", "3,4,5"}}}, {"--size", "height,width"}},
      {{.what = "conv2d", .values = {{"size", ""}}}, {"--size"}},
      {{.what = "conv2d", .values = {{"groups", "3"}}}, {"--groups", "64"}},
      {{.what = "conv2d", .values = {{"size", "2"}, {"kernel", "9"}}}, {"conv2d", "9"}},
      {{.what = "elementwise", .values = {{"op", "rleu"}}}, {"did you mean \"relu\"?"}},
      {{.what = "elementwise", .values = {{"shape", "1,1,1,1,1,1,1"}}}, {"--shape", "up to 6"}},
      {{.what = "softmax", .values = {{"axis", "2"}}}, {"axis"}},
      {{.what = "reduce", .values = {{"axes", "0,5"}}}, {"5"}},
      {{.what = "adam", .values = {{"n", "3"}, {"tensors", "4"}}}, {"--tensors"}},
      {{.what = "gemm", .values = {{"budget", "-1"}}}, {"--budget", "seconds"}},
      {{.what = "all", .values = {{"m", "3"}}}, {"--m", "single benchmarks"}},
      {{.what = "mlp", .values = {{"initial", "nowhere.safetensors"}}}, {"--losses"}},
      {{.what = "mlp", .values = {{"initial", "nowhere.safetensors"}, {"losses", "1"}}},
       {"nowhere.safetensors"}},
  };
  for (const auto& one : cases) {
    const std::string text = complaint(one.options);
    INFO(one.options.what << ": " << text);
    for (const std::string& mention : one.mentions) {
      CAPTURE(mention);
      CHECK(text.find(mention) != std::string::npos);
    }
  }
}

TEST_CASE("bench: the machine's limits are measured by loops that do their work") {
  for (const std::int64_t n : {1, 15, 64, 1000}) {
    const Tensor x = Rng(0).normal({n});
    Tensor y = Tensor::zeros({n}), z = Tensor::zeros({n});
    kernels::copy_loop(x.data().data(), y.mutable_data().data(), n);
    kernels::copy_loop_streaming(x.data().data(), z.mutable_data().data(), n);
    CHECK(y.to_vector() == x.to_vector());
    CHECK(z.to_vector() == x.to_vector());
  }
  Real sinks[12] = {};
  const double few = kernels::multiply_add_loop(40, sinks);
  CHECK(few >= 2 * 12 * 40);
  CHECK(sinks[0] == doctest::Approx(12).epsilon(0.1));  // twelve chains, each on its way to 1
  CHECK(kernels::multiply_add_loop(4000, sinks) == doctest::Approx(100 * few));
}
