#include "examples/lab/bench.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <vector>

#include "core/error.h"
#include "core/json.h"
#include "core/memory.h"
#include "core/ops/arithmetic.h"
#include "core/ops/conv.h"
#include "core/ops/matmul.h"
#include "core/ops/reduce.h"
#include "core/ops/unary.h"
#include "core/parallel.h"
#include "core/random.h"
#include "core/tape.h"
#include "layers/activation.h"
#include "layers/conv.h"
#include "layers/loss.h"
#include "layers/norm.h"
#include "layers/sequential.h"
#include "optim/optimizer.h"

namespace tapestry::lab {
namespace {

using Clock = std::chrono::steady_clock;

/// One line of the table. flops and bytes are of one call; 0: not given.
struct Row {
  std::string op, shape;
  double flops = 0, bytes = 0;
};

class Table {
 public:
  explicit Table(bool json) : json_(json) {
    if (!json)
      std::printf("%-28s %-34s %8s %10s %10s %12s\n", "op", "shape", "threads", "median ms",
                  "best ms", "rate");
  }
  /// Runs `call` for half a second or 5 times, whichever is longer, after a warm-up.
  void time(const Row& row, const std::function<void()>& call) {
    call();
    std::vector<double> ms;
    const Clock::time_point start = Clock::now();
    while (ms.size() < 5 || (std::chrono::duration<double>(Clock::now() - start).count() < 0.5 &&
                             ms.size() < 2000)) {
      const Clock::time_point before = Clock::now();
      call();
      ms.push_back(std::chrono::duration<double, std::milli>(Clock::now() - before).count());
    }
    std::sort(ms.begin(), ms.end());
    const double median = ms[ms.size() / 2], best = ms[0];
    if (json_) {
      Json line = Json::object({{"op", row.op},
                                {"shape", row.shape},
                                {"threads", threads()},
                                {"ms_median", median},
                                {"ms_min", best}});
      if (row.flops > 0) line.set("gflops", row.flops / median * 1e-6);
      if (row.bytes > 0) line.set("gb_s", row.bytes / median * 1e-6);
      line.set("peak_bytes", memory_stats().peak_bytes);
      std::printf("%s\n", line.dump(-1).c_str());
    } else {
      char rate[32] = "";
      if (row.flops > 0)
        std::snprintf(rate, sizeof rate, "%.1f GFLOP/s", row.flops / median * 1e-6);
      if (row.bytes > 0) std::snprintf(rate, sizeof rate, "%.1f GB/s", row.bytes / median * 1e-6);
      std::printf("%-28s %-34s %8d %10.3f %10.3f %12s\n", row.op.c_str(), row.shape.c_str(),
                  threads(), median, best, rate);
    }
    std::fflush(stdout);
  }

 private:
  bool json_;
};

double bytes_of(const Tensor& tensor) { return static_cast<double>(tensor.size()) * sizeof(Real); }

void bench_gemm(Table& table, std::int64_t m, std::int64_t k, std::int64_t n, Rng& rng) {
  const Tensor a = rng.normal({m, k}), b = rng.normal({k, n});
  table.time({"gemm", format("{} x {} x {}", m, k, n),
              2.0 * static_cast<double>(m) * static_cast<double>(k) * static_cast<double>(n)},
             [&] { matmul(a, b); });
}

void bench_conv(Table& table, const BenchOptions& o, bool transposed, Rng& rng) {
  const auto size = [&](const char* name) { return o.sizes.at(name); };
  const auto small = [&](const char* name) { return static_cast<int>(o.sizes.at(name)); };
  const std::int64_t n = size("n"), in = size("in"), out = size("out"), groups = size("groups");
  const Tensor x = rng.normal({n, in, size("size"), size("size")});
  const Tensor w = transposed ? rng.normal({in, out / groups, size("kernel"), size("kernel")})
                              : rng.normal({out, in / groups, size("kernel"), size("kernel")});
  const ConvGeometry geometry{.stride = small("stride"),
                              .padding = small("padding"),
                              .dilation = 1,
                              .groups = small("groups")};
  const ConvTransposeGeometry back{.stride = small("stride"),
                                   .padding = small("padding"),
                                   .output_padding = 0,
                                   .dilation = 1,
                                   .groups = small("groups")};
  const std::string name = transposed ? "conv_transpose2d" : "conv2d",
                    shape = x.shape().str() + " k" + std::to_string(size("kernel")) + " -> " +
                            std::to_string(out);
  const Tensor y = transposed ? conv_transpose2d(x, w, {}, back) : conv2d(x, w, {}, geometry);
  const double flops = 2.0 * static_cast<double>(w.size()) *
                       static_cast<double>((transposed ? x : y).size()) /
                       static_cast<double>((transposed ? x : y).dim(1));
  table.time({name, shape, flops},
             [&] { transposed ? conv_transpose2d(x, w, {}, back) : conv2d(x, w, {}, geometry); });
  if (transposed) {
    table.time({name + " input grad", shape, flops}, [&] { conv2d(y, w, {}, geometry); });
    table.time({name + " weight grad", shape, flops},
               [&] { conv2d_weight_grad(x, y, w.shape(), geometry); });
  } else {
    table.time({name + " input grad", shape, flops},
               [&] { conv2d_input_grad(y, w, x.shape(), geometry); });
    table.time({name + " weight grad", shape, flops},
               [&] { conv2d_weight_grad(y, x, w.shape(), geometry); });
  }
}

void bench_norm(Table& table, const BenchOptions& o, Rng& rng) {
  const std::int64_t channels = o.sizes.at("in");
  Tensor x = rng.normal({o.sizes.at("n"), channels, o.sizes.at("size"), o.sizes.at("size")});
  x.set_requires_grad();
  nn::NormSetting setting;
  setting.type = o.norm;
  const auto norm = nn::make_norm(setting, channels);
  if (norm == nullptr) throw Error("--norm", "\"none\" has nothing to time");
  norm->reset_parameters(Rng(0));
  std::vector<Tensor> wanted = norm->parameters();
  wanted.push_back(x);
  const Tensor seed = rng.normal(x.shape());
  table.time({o.norm + " norm forward", x.shape().str(), 0, 2 * bytes_of(x)}, [&] { (*norm)(x); });
  table.time({o.norm + " norm fwd + bwd", x.shape().str(), 0, 5 * bytes_of(x)}, [&] {
    Tape tape;
    const Tensor y = (*norm)(x);
    tape.vjp(y, seed, wanted);
  });
}

void bench_elementwise(Table& table, Rng& rng) {
  const Tensor a = rng.normal({4, 1 << 20}), b = rng.normal({4, 1 << 20});
  table.time({"add", a.shape().str(), 0, 3 * bytes_of(a)}, [&] { add(a, b); });
  table.time({"relu", a.shape().str(), 0, 2 * bytes_of(a)}, [&] { relu(a); });
  table.time({"tanh", a.shape().str(), 0, 2 * bytes_of(a)}, [&] { tanh(a); });
  table.time({"exp", a.shape().str(), 0, 2 * bytes_of(a)}, [&] { exp(a); });
  table.time({"sum", a.shape().str(), 0, bytes_of(a)}, [&] { sum(a); });
  const Tensor tiny = rng.normal({64});
  table.time({"add, small", tiny.shape().str()}, [&] {
    for (int i = 0; i < 1000; ++i)
      add(tiny, tiny);  // milliseconds for a thousand: microseconds each
  });
}

/// The DCGAN of the usual comparison: 32 × 32 color, latent 128, batch 64.
class Dcgan {
 public:
  explicit Dcgan(const std::string& norm) : rng_(0) {
    const bool bias = norm == "none";
    const nn::ConvTranspose2dOptions up{.kernel = 4, .stride = 2, .padding = 1, .bias = bias};
    const nn::Conv2dOptions down{.kernel = 4, .stride = 2, .padding = 1, .bias = bias};
    generator_.add(nn::ConvTranspose2d(128, 256, {.kernel = 4, .bias = bias}));
    finish(generator_, norm, 256, 4, false);
    generator_.add(nn::ConvTranspose2d(256, 128, up));
    finish(generator_, norm, 128, 8, false);
    generator_.add(nn::ConvTranspose2d(128, 64, up));
    finish(generator_, norm, 64, 16, false);
    generator_.add(nn::ConvTranspose2d(64, 3, {.kernel = 4, .stride = 2, .padding = 1}));
    generator_.add(nn::Tanh());
    discriminator_.add(nn::Conv2d(3, 64, {.kernel = 4, .stride = 2, .padding = 1}));
    discriminator_.add(nn::LeakyReLU({.slope = Real(0.2)}));
    discriminator_.add(nn::Conv2d(64, 128, down));
    finish(discriminator_, norm, 128, 8, true);
    discriminator_.add(nn::Conv2d(128, 256, down));
    finish(discriminator_, norm, 256, 4, true);
    discriminator_.add(nn::Conv2d(256, 1, {.kernel = 4}));
    discriminator_.add(nn::Flatten());
    generator_.reset_parameters(rng_.split("G"));
    discriminator_.reset_parameters(rng_.split("D"));
    const optim::AdamOptions adam{.lr = 2e-4, .beta1 = 0.5};
    g_ = std::make_unique<optim::Adam>(generator_.parameters(), adam);
    d_ = std::make_unique<optim::Adam>(discriminator_.parameters(), adam);
    real_ = tanh(rng_.normal({64, 3, 32, 32}));
  }
  void step() {
    Tape tape;
    const Tensor fake = generator_(rng_.normal({64, 128, 1, 1}));
    const Tensor d_loss = nn::bce_with_logits(discriminator_(real_), Real(1)) +
                          nn::bce_with_logits(discriminator_(fake.detach()), Real(0));
    d_->step(tape.gradient(d_loss, d_->parameters()));
    const Tensor g_loss = nn::bce_with_logits(discriminator_(fake), Real(1));
    g_->step(tape.gradient(g_loss, g_->parameters()));
  }
  /// {generator, discriminator}
  std::pair<std::int64_t, std::int64_t> parameter_counts() const {
    return {count(*g_), count(*d_)};
  }

 private:
  static std::int64_t count(const optim::Optimizer& optimizer) {
    std::int64_t total = 0;
    for (const Tensor& parameter : optimizer.parameters()) total += parameter.size();
    return total;
  }
  /// The norm by PyTorch's usual layers: LayerNorm over (C, H, W) has a scale per element, not per
  /// channel.
  static void finish(nn::Sequential& net, const std::string& norm, std::int64_t channels,
                     std::int64_t size, bool leaky) {
    if (norm == "layer") {
      net.add(nn::LayerNorm({channels, size, size}));
    } else if (norm != "none") {
      nn::NormSetting setting;
      setting.type = norm;
      net.add_shared(nn::make_norm(setting, channels));
    }
    net.add(leaky ? nn::LeakyReLU({.slope = Real(0.2)}) : nn::ReLU());
  }

  Rng rng_;
  nn::Sequential generator_, discriminator_;
  std::unique_ptr<optim::Adam> g_, d_;
  Tensor real_;
};

}  // namespace

int bench(const BenchOptions& options) {
  const std::vector<std::string> known{"gemm", "conv2d",      "conv_transpose2d",
                                       "norm", "elementwise", "dcgan"};
  if (!options.what.empty() && std::find(known.begin(), known.end(), options.what) == known.end()) {
    std::string all;
    for (const std::string& name : known) all += (all.empty() ? "" : ", ") + name;
    throw Error("bench", "there is nothing called \"{}\" to time", printable(options.what))
        .hint("choose one of {}", all);
  }
  const auto wanted = [&](std::string_view name) {
    return options.what.empty() || options.what == name;
  };
  Rng rng(0);
  Table table(options.json);
  if (wanted("gemm"))
    bench_gemm(table, options.sizes.at("m"), options.sizes.at("k"),
               options.what.empty() ? 512 : options.sizes.at("n"), rng);
  if (wanted("conv2d")) bench_conv(table, options, false, rng);
  if (wanted("conv_transpose2d")) bench_conv(table, options, true, rng);
  if (wanted("norm")) bench_norm(table, options, rng);
  if (wanted("elementwise")) bench_elementwise(table, rng);
  if (wanted("dcgan")) {
    Dcgan dcgan(options.norm);
    const auto [g, d] = dcgan.parameter_counts();
    reset_peak_memory();
    table.time({"dcgan step, " + options.norm, format("G {} + D {} parameters", g, d)},
               [&] { dcgan.step(); });
  }
  return 0;
}

}  // namespace tapestry::lab
