#include "examples/lab/bench_ops.h"

#include <charconv>
#include <optional>
#include <utility>

#include "core/error.h"
#include "core/ops/arithmetic.h"
#include "core/ops/matmul.h"
#include "core/random.h"
#include "core/tape.h"
#include "examples/lab/bench_nets.h"
#include "examples/lab/bench_steps.h"

namespace tapestry::lab {

// Values
// --------------------------------------------------------------------------------------------------------------------

Values::Values(std::map<std::string, std::string> defaults,
               const std::map<std::string, std::string>& given)
    : values_(std::move(defaults)) {
  for (const auto& [name, value] : given) values_.at(name) = value;
}

void Values::refuse(const std::string& name, const std::string& expected) const {
  throw Error("--" + name, "must be {}, got \"{}\"", expected, printable(text(name)));
}

namespace {

constexpr std::int64_t kLargest = 1 << 24;  // more than memory holds of most things

std::optional<std::int64_t> whole(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return {};
  return value;
}

}  // namespace

std::int64_t Values::number(const std::string& name, std::int64_t least) const {
  const std::optional<std::int64_t> value = whole(text(name));
  if (!value || *value < least || *value > kLargest)
    refuse(name, format("a whole number from {} to {}", least, kLargest));
  return *value;
}

std::vector<std::int64_t> Values::list(const std::string& name, std::int64_t least) const {
  std::vector<std::int64_t> numbers;
  std::string_view rest = text(name);
  while (!rest.empty()) {
    const std::size_t comma = std::min(rest.find(','), rest.size());
    const std::optional<std::int64_t> value = whole(rest.substr(0, comma));
    if (!value || *value < least || *value > kLargest || numbers.size() == Shape::kMaxRank)
      refuse(name,
             format("up to {} whole numbers from {} with commas between", Shape::kMaxRank, least));
    numbers.push_back(*value);
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  return numbers;
}

Pair Values::pair(const std::string& name, int least) const {
  const std::vector<std::int64_t> numbers = list(name, least);
  if (numbers.empty() || numbers.size() > 2 || std::max(numbers.front(), numbers.back()) > 65536)
    refuse(name, format("a whole number from {} to 65536, or two, height,width", least));
  return {static_cast<int>(numbers.front()), static_cast<int>(numbers.back())};
}

double Values::seconds(const std::string& name) const {
  double value = 0;
  const std::string& written = text(name);
  const auto [end, error] = std::from_chars(written.data(), written.data() + written.size(), value);
  if (error != std::errc() || end != written.data() + written.size() ||
      !(value >= 0 && value <= 3600))
    refuse(name, "seconds from 0 to 3600");
  return value;
}

const std::string& Values::choice(const std::string& name,
                                  const std::vector<std::string>& allowed) const {
  for (const std::string& word : allowed) {
    if (word == text(name)) return word;
  }
  throw unknown_word("--" + name, name, text(name), allowed);
}

namespace {

double bytes_of(const Tensor& tensor) { return static_cast<double>(tensor.size()) * sizeof(Real); }

void bench_gemm(const Values& v, Table& table) {
  const std::int64_t m = v.number("m"), k = v.number("k"), n = v.number("n");
  const bool ta = v.flag("transpose-a"), tb = v.flag("transpose-b");
  Rng rng(0);
  const Tensor a = rng.normal(ta ? Shape{k, m} : Shape{m, k}),
               b = rng.normal(tb ? Shape{n, k} : Shape{k, n});
  const double flops =
      2.0 * static_cast<double>(m) * static_cast<double>(k) * static_cast<double>(n);
  table.time(
      {format("gemm {}{}", ta ? "T" : "N", tb ? "T" : "N"), format("{} x {} x {}", m, k, n), flops},
      [&] { matmul(a, b, {.transpose_a = ta, .transpose_b = tb}); });
}

std::string window_text(const Values& v, std::int64_t out, const Tensor& x) {
  std::string text = x.shape().str() + " -> " + std::to_string(out) + " k" + v.text("kernel");
  if (v.text("stride") != "1") text += " s" + v.text("stride");
  if (v.text("padding") != "0") text += " p" + v.text("padding");
  if (v.text("dilation") != "1") text += " d" + v.text("dilation");
  if (v.text("groups") != "1") text += " g" + v.text("groups");
  return text;
}

void bench_conv2d(const Values& v, Table& table) {
  const std::int64_t in = v.number("in"), out = v.number("out"), groups = v.number("groups");
  const Pair size = v.pair("size"), kernel = v.pair("kernel");
  const ConvGeometry geometry{.stride = v.pair("stride"),
                              .padding = v.pair("padding", 0),
                              .dilation = v.pair("dilation"),
                              .groups = static_cast<int>(groups)};
  if (in % groups != 0 || out % groups != 0)
    throw Error("--groups", "{} groups must divide both {} input and {} output channels", groups,
                in, out);
  Rng rng(0);
  const Tensor x = rng.normal({v.number("n"), in, size.h, size.w}),
               w = rng.normal({out, in / groups, kernel.h, kernel.w}), b = rng.normal({out});
  const Tensor y = conv2d(x, w, b, geometry);
  const double flops = 2.0 * static_cast<double>(w.size()) * static_cast<double>(y.size() / out);
  const std::string shape = window_text(v, out, x);
  table.time({"conv2d", shape, flops}, [&] { conv2d(x, w, b, geometry); });
  table.time({"conv2d input grad", shape, flops},
             [&] { conv2d_input_grad(y, w, x.shape(), geometry); });
  table.time({"conv2d weight grad", shape, flops},
             [&] { conv2d_weight_grad(y, x, w.shape(), geometry); });
}

void bench_conv_transpose2d(const Values& v, Table& table) {
  const std::int64_t in = v.number("in"), out = v.number("out"), groups = v.number("groups");
  const Pair size = v.pair("size"), kernel = v.pair("kernel");
  const ConvTransposeGeometry geometry{.stride = v.pair("stride"),
                                       .padding = v.pair("padding", 0),
                                       .output_padding = v.pair("output-padding", 0),
                                       .dilation = v.pair("dilation"),
                                       .groups = static_cast<int>(groups)};
  if (in % groups != 0 || out % groups != 0)
    throw Error("--groups", "{} groups must divide both {} input and {} output channels", groups,
                in, out);
  Rng rng(0);
  const Tensor x = rng.normal({v.number("n"), in, size.h, size.w}),
               w = rng.normal({in, out / groups, kernel.h, kernel.w}), b = rng.normal({out});
  const Tensor y = conv_transpose2d(x, w, b, geometry);
  const double flops = 2.0 * static_cast<double>(w.size()) * static_cast<double>(x.size() / in);
  const std::string shape = window_text(v, out, x);
  // Its gradients are convolutions with the roles of input and output exchanged.
  const ConvGeometry back{.stride = geometry.stride,
                          .padding = geometry.padding,
                          .dilation = geometry.dilation,
                          .groups = geometry.groups};
  table.time({"conv_transpose2d", shape, flops}, [&] { conv_transpose2d(x, w, b, geometry); });
  table.time({"conv_transpose2d input grad", shape, flops}, [&] { conv2d(y, w, {}, back); });
  table.time({"conv_transpose2d weight grad", shape, flops},
             [&] { conv2d_weight_grad(x, y, w.shape(), back); });
}

void bench_norms(const Values& v, Table& table) {
  const std::vector<std::string> names{"batch", "layer", "group", "instance"};
  const std::string& name = v.choice("norm", names);
  const std::int64_t channels = v.number("in");
  const Pair size = v.pair("size");
  const auto norm = bench_norm(name, channels, size.h, size.w);
  norm->reset_parameters(Rng(0));
  Rng rng(0);
  Tensor x = rng.normal({v.number("n"), channels, size.h, size.w});
  x.set_requires_grad();
  std::vector<Tensor> inputs = norm->parameters();
  inputs.push_back(x);
  const Tensor seed = rng.normal(x.shape());
  table.time({name + " norm", x.shape().str(), 0, 2 * bytes_of(x)}, [&] { (*norm)(x); });
  table.time({name + " norm fwd+bwd", x.shape().str(), 0, 5 * bytes_of(x)}, [&] {
    Tape tape;
    tape.vjp((*norm)(x), seed, inputs);
  });
}

}  // namespace

const std::vector<Benchmark>& op_benchmarks() {
  static const std::map<std::string, std::string> conv{
      {"n", "16"},     {"in", "64"},     {"out", "64"},     {"size", "32"},  {"kernel", "3"},
      {"stride", "1"}, {"padding", "1"}, {"dilation", "1"}, {"groups", "1"},
  };
  static const std::vector<Benchmark> benchmarks = [] {
    auto transposed = conv;
    transposed.insert({"output-padding", "0"});
    transposed["kernel"] = "4", transposed["stride"] = "2";
    return std::vector<Benchmark>{
        {"gemm",
         "matrix product",
         {{"m", "512"},
          {"k", "512"},
          {"n", "512"},
          {"transpose-a", "false"},
          {"transpose-b", "false"}},
         bench_gemm},
        {"conv2d", "convolution and its two gradients", conv, bench_conv2d},
        {"conv_transpose2d", "transposed convolution and its two gradients", transposed,
         bench_conv_transpose2d},
        {"norm",
         "norm layer, alone and with its gradients",
         {{"norm", "batch"}, {"n", "64"}, {"in", "64"}, {"size", "32"}},
         bench_norms},
    };
  }();
  return benchmarks;
}

}  // namespace tapestry::lab
