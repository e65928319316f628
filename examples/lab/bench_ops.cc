#include "examples/lab/bench_ops.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

#include "core/error.h"
#include "core/ops/arithmetic.h"
#include "core/ops/matmul.h"
#include "core/ops/movement.h"
#include "core/ops/pool.h"
#include "core/ops/reduce.h"
#include "core/ops/softmax.h"
#include "core/ops/unary.h"
#include "core/random.h"
#include "core/tape.h"
#include "core/text.h"
#include "examples/lab/bench_nets.h"
#include "examples/lab/bench_steps.h"
#include "optim/optimizer.h"

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
    if (word == text(name)) return text(name);
  }
  throw unknown_word("--" + name, name, text(name), allowed);
}

namespace {

double bytes_of(const Tensor& tensor) { return static_cast<double>(tensor.size()) * sizeof(Real); }

/// Times the gradient of an output alone, with respect to all of `inputs`: it is recorded once and
/// walked again and again.
void time_backward(Table& table, const Row& row, const std::function<Tensor()>& forward,
                   const std::vector<Tensor>& inputs) {
  Tape tape;
  const Tensor y = forward();
  const Tensor seed = Rng(1).normal(y.shape());
  table.time(row, [&] { tape.vjp(y, seed, inputs, {.keep = true}); });
}

/// A line for the op, and one for its gradient alone.
void time_both(Table& table, const std::string& name, const Tensor& x,
               const std::function<Tensor()>& forward, const std::vector<Tensor>& inputs,
               double forward_bytes, double backward_bytes) {
  table.time({name, x.shape().str(), 0, forward_bytes}, forward);
  if (backward_bytes > 0)
    time_backward(table, {name + " grad", x.shape().str(), 0, backward_bytes}, forward, inputs);
}

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

// Element by element
// --------------------------------------------------------------------------------------------------------

struct UnaryOp {
  std::string name;
  Tensor (*call)(const Tensor&);
};
const std::vector<UnaryOp>& unary_ops() {
  static const std::vector<UnaryOp> ops{
      {"relu", relu},
      {"leaky_relu", [](const Tensor& x) { return leaky_relu(x, Real(0.2)); }},
      {"tanh", tanh},
      {"sigmoid", sigmoid},
      {"exp", exp},
      {"log", log},
      {"sqrt", sqrt},
      {"rsqrt", rsqrt},
      {"square", square},
      {"abs", abs},
      {"sin", sin},
      {"erf", erf},
      {"elu", [](const Tensor& x) { return elu(x); }},
      {"gelu", [](const Tensor& x) { return gelu(x); }},
      {"silu", silu},
      {"mish", mish},
      {"softplus", [](const Tensor& x) { return softplus(x); }},
      {"softsign", softsign},
      {"hardswish", hardswish},
      {"clamp", [](const Tensor& x) { return clamp(x, Real(0.6), Real(1.4)); }},
  };
  return ops;
}

struct BinaryOp {
  std::string name;
  Tensor (*call)(const Tensor&, const Tensor&);
  double gradient_tensors;  // read and written; 0: the gradient is the upstream one itself
};
const std::vector<BinaryOp>& binary_ops() {
  static const std::vector<BinaryOp> ops{
      {"add", add, 0}, {"sub", sub, 0}, {"mul", mul, 5}, {"div", div, 5}, {"maximum", maximum, 5}};
  return ops;
}

void bench_elementwise(const Values& v, Table& table) {
  std::vector<std::string> names{"all"};
  for (const UnaryOp& op : unary_ops()) names.push_back(op.name);
  for (const BinaryOp& op : binary_ops()) names.push_back(op.name);
  const std::string& wanted = v.choice("op", names);
  Rng rng(0);
  // Positive, for logarithms and roots.
  Tensor a = rng.uniform(v.shape("shape"), Real(0.5), Real(1.5)),
         b = rng.uniform(a.shape(), Real(0.5), Real(1.5));
  a.set_requires_grad();
  b.set_requires_grad();
  for (const UnaryOp& op : unary_ops()) {
    if (wanted == "all" || wanted == op.name)
      time_both(
          table, op.name, a, [&] { return op.call(a); }, {a}, 2 * bytes_of(a), 3 * bytes_of(a));
  }
  for (const BinaryOp& op : binary_ops()) {
    if (wanted == "all" || wanted == op.name)
      time_both(
          table, op.name, a, [&] { return op.call(a, b); }, {a, b}, 3 * bytes_of(a),
          op.gradient_tensors * bytes_of(a));
  }
}

void bench_softmax(const Values& v, Table& table) {
  const std::string& op = v.choice("op", {"softmax", "log_softmax"});
  Tensor x = Rng(0).normal(v.shape("shape"));
  x.set_requires_grad();
  const std::vector<std::int64_t> axis = v.list("axis", -x.rank());
  if (axis.size() != 1 || axis[0] >= x.rank())
    throw Error("--axis", "must be one axis of {}", x.shape());
  const auto call = op == "softmax" ? softmax : log_softmax;
  time_both(
      table, op, x, [&] { return call(x, static_cast<int>(axis[0])); }, {x}, 2 * bytes_of(x),
      3 * bytes_of(x));
}

struct ReduceOp {
  std::string name;
  std::function<Tensor(const Tensor&, const Axes&)> call;
  double gradient_tensors;  // a sum's gradient is written, others need x, too
};
const std::vector<ReduceOp>& reduce_ops() {
  static const std::vector<ReduceOp> ops{
      {"sum", [](const Tensor& x, const Axes& axes) { return sum(x, axes); }, 1},
      {"mean", [](const Tensor& x, const Axes& axes) { return mean(x, axes); }, 1},
      {"max", [](const Tensor& x, const Axes& axes) { return max(x, axes); }, 1},
      {"var", [](const Tensor& x, const Axes& axes) { return var(x, axes); }, 2},
      {"norm", [](const Tensor& x, const Axes& axes) { return norm(x, axes); }, 2},
      {"logsumexp", [](const Tensor& x, const Axes& axes) { return logsumexp(x, axes); }, 2},
  };
  return ops;
}

void bench_reduce(const Values& v, Table& table) {
  std::vector<std::string> names{"all"};
  for (const ReduceOp& op : reduce_ops()) names.push_back(op.name);
  const std::string& wanted = v.choice("op", names);
  Tensor x = Rng(0).normal(v.shape("shape"));
  x.set_requires_grad();
  Axes axes;
  for (const std::int64_t axis : v.list("axes", -x.rank())) axes.push_back(static_cast<int>(axis));
  const std::string suffix = axes.empty() ? "" : " over " + v.text("axes");
  for (const ReduceOp& op : reduce_ops()) {
    if (wanted == "all" || wanted == op.name)
      time_both(
          table, op.name + suffix, x, [&] { return op.call(x, axes); }, {x}, bytes_of(x),
          op.gradient_tensors * bytes_of(x));
  }
}

// Windows and grids
// ---------------------------------------------------------------------------------------------------------

/// An op from images to images that reads each number and writes each number once, and so does its
/// gradient.
void time_images(const Values& v, Table& table, const std::string& name,
                 const std::function<Tensor(const Tensor&)>& op) {
  const Pair size = v.pair("size");
  Tensor x = Rng(0).normal({v.number("n"), v.number("in"), size.h, size.w});
  x.set_requires_grad();
  const double bytes = bytes_of(x) + bytes_of(op(x));
  time_both(
      table, name, x, [&] { return op(x); }, {x}, bytes, bytes);
}

PoolGeometry pool_geometry(const Values& v) {
  return {
      .kernel = v.pair("kernel"), .stride = v.pair("stride", 0), .padding = v.pair("padding", 0)};
}

void bench_pad(const Values& v, Table& table) {
  const PadMode mode = pad_mode(v.choice("mode", {"constant", "reflect", "replicate", "circular"}));
  const Pair border = v.pair("padding");
  time_images(v, table, "pad " + v.text("mode"), [&](const Tensor& x) {
    return pad(x, {{border.h, border.h}, {border.w, border.w}}, mode);
  });
}

void bench_upsample(const Values& v, Table& table) {
  const Resample mode = resample_mode(v.choice("mode", {"nearest", "bilinear"}));
  const int factor = static_cast<int>(v.number("factor"));
  time_images(v, table, "upsample " + v.text("mode"), [&](const Tensor& x) {
    return upsample(x, {static_cast<int>(x.dim(2)) * factor, static_cast<int>(x.dim(3)) * factor},
                    mode);
  });
}

// The rest of a step
// --------------------------------------------------------------------------------------------------------

void bench_optimizer(const Values& v, Table& table, bool adam) {
  const std::int64_t n = v.number("n"), count = v.number("tensors");
  if (count > n) throw Error("--tensors", "{} numbers do not make {} tensors", n, count);
  Rng rng(0);
  std::vector<Tensor> parameters, gradients;
  for (std::int64_t i = 0; i < count; ++i) {
    parameters.push_back(rng.normal({n / count}));
    gradients.push_back(rng.normal({n / count}));
  }
  optim::OptimizerSetting setting;
  setting.type = adam ? "adam" : "sgd";
  setting.sgd.momentum = 0.9;
  const auto optimizer = optim::make_optimizer(setting, parameters);
  // Adam reads parameter, gradient and two moments and writes three of them; SGD has one.
  const double bytes = (adam ? 7 : 5) * static_cast<double>(n / count * count) * sizeof(Real);
  table.time({setting.type, format("{} in {}", n / count * count, count), 0, bytes},
             [&] { optimizer->step(gradients); });
}

/// What an op costs besides its arithmetic.
void bench_overhead(const Values&, Table& table) {
  const Tensor a = Rng(0).normal({64});
  Tensor s = a.clone();
  s.set_requires_grad();
  table.time({"add", a.shape().str()}, [&] { add(a, a); });
  table.time({"3 ops and their gradient", a.shape().str()}, [&] {
    Tape tape;
    tape.gradient(sum(s * s + s), {s});
  });
}

}  // namespace

const std::vector<Benchmark>& op_benchmarks() {
  using Options = std::map<std::string, std::string>;
  static const Options conv{{"n", "16"},      {"in", "64"},      {"out", "64"},
                            {"size", "32"},   {"kernel", "3"},   {"stride", "1"},
                            {"padding", "1"}, {"dilation", "1"}, {"groups", "1"}};
  static const Options images{{"n", "16"}, {"in", "64"}, {"size", "64"}};
  const auto with = [](Options options, const Options& more) {
    for (const auto& [name, value] : more) options[name] = value;
    return options;
  };
  static const Options pool = with(images, {{"kernel", "2"}, {"stride", "0"}, {"padding", "0"}});
  static const std::vector<Benchmark> benchmarks{
      {"gemm",
       "matrix product",
       {{"m", "512"},
        {"k", "512"},
        {"n", "512"},
        {"transpose-a", "false"},
        {"transpose-b", "false"}},
       bench_gemm},
      {"conv2d", "convolution and its two gradients", conv, bench_conv2d},
      {"conv_transpose2d", "transposed convolution and its two gradients",
       with(conv, {{"kernel", "4"}, {"stride", "2"}, {"output-padding", "0"}}),
       bench_conv_transpose2d},
      {"norm", "norm layer, alone and with its gradients",
       with(images, {{"norm", "batch"}, {"n", "64"}, {"size", "32"}}), bench_norms},
      {"elementwise",
       "functions of each number, and their gradients",
       {{"op", "all"}, {"shape", "2048,2048"}},
       bench_elementwise},
      {"softmax",
       "probabilities, and their gradient",
       {{"op", "softmax"}, {"shape", "4096,1024"}, {"axis", "-1"}},
       bench_softmax},
      {"reduce",
       "sums and the like, and their gradients",
       {{"op", "all"}, {"shape", "2048,2048"}, {"axes", ""}},
       bench_reduce},
      {"max_pool2d", "largest of each window", pool,
       [](const Values& v, Table& table) {
         time_images(v, table, "max_pool2d",
                     [&](const Tensor& x) { return max_pool2d(x, pool_geometry(v)); });
       }},
      {"avg_pool2d", "mean of each window", pool,
       [](const Values& v, Table& table) {
         time_images(v, table, "avg_pool2d",
                     [&](const Tensor& x) { return avg_pool2d(x, pool_geometry(v)); });
       }},
      {"global_avg_pool2d", "mean of each map", images,
       [](const Values& v, Table& table) {
         time_images(v, table, "global_avg_pool2d", global_avg_pool2d);
       }},
      {"upsample", "images made larger",
       with(images, {{"size", "32"}, {"factor", "2"}, {"mode", "nearest"}}), bench_upsample},
      {"pad", "a border around images", with(images, {{"padding", "1"}, {"mode", "reflect"}}),
       bench_pad},
      {"pixel_shuffle", "channels become pixels", with(images, {{"factor", "2"}}),
       [](const Values& v, Table& table) {
         time_images(v, table, "pixel_shuffle", [&](const Tensor& x) {
           return pixel_shuffle(x, static_cast<int>(v.number("factor")));
         });
       }},
      {"adam",
       "one step of Adam",
       {{"n", "5000000"}, {"tensors", "50"}},
       [](const Values& v, Table& table) { bench_optimizer(v, table, true); }},
      {"sgd",
       "one step of SGD with momentum",
       {{"n", "5000000"}, {"tensors", "50"}},
       [](const Values& v, Table& table) { bench_optimizer(v, table, false); }},
      {"overhead", "ops on 64 numbers", {}, bench_overhead},
  };
  return benchmarks;
}

}  // namespace tapestry::lab
