// Made-up runs that look like real ones: six normalizers, some seeds, one diverged run, pictures,
// layers.
#ifndef TAPESTRY_TESTS_LAB_REPORT_FIXTURE_H_
#define TAPESTRY_TESTS_LAB_REPORT_FIXTURE_H_

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "examples/lab/report.h"

namespace tapestry::lab::fixture {

/// A small deterministic noise in [−1, 1]; the fixture must not change with the library's
/// generators.
class Noise {
 public:
  explicit Noise(std::uint64_t seed) : state_(seed) {}
  double operator()() {  // splitmix64
    std::uint64_t z = (state_ += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return static_cast<double>((z ^ (z >> 31)) >> 11) / 4503599627370496.0 - 1;
  }

 private:
  std::uint64_t state_;
};

/// A grey PNG with stored (uncompressed) data.
inline std::string png(int width, int height, const std::string& pixels) {
  const auto word = [](std::uint32_t v) {
    return std::string{static_cast<char>(v >> 24), static_cast<char>(v >> 16),
                       static_cast<char>(v >> 8), static_cast<char>(v)};
  };
  const auto chunk = [&](const std::string& type, const std::string& data) {
    std::uint32_t crc = 0xFFFFFFFFu;
    for (const char c : type + data) {
      crc ^= static_cast<unsigned char>(c);
      for (int k = 0; k < 8; ++k) crc = crc & 1 ? 0xEDB88320u ^ (crc >> 1) : crc >> 1;
    }
    return word(static_cast<std::uint32_t>(data.size())) + type + data + word(~crc);
  };
  std::string rows;
  for (int y = 0; y < height; ++y) {
    rows +=
        '\0' + pixels.substr(static_cast<std::size_t>(y * width), static_cast<std::size_t>(width));
  }
  std::uint32_t a = 1, b = 0;
  for (const char c : rows) {
    a = (a + static_cast<unsigned char>(c)) % 65521;
    b = (b + a) % 65521;
  }
  std::string zlib = "\x78\x01";
  for (std::size_t at = 0; at < rows.size(); at += 65535) {
    const std::size_t size = std::min<std::size_t>(65535, rows.size() - at);
    const auto low = static_cast<char>(size & 255), high = static_cast<char>(size >> 8);
    zlib += std::string{at + size == rows.size() ? '\1' : '\0', low, high, static_cast<char>(~low),
                        static_cast<char>(~high)};
    zlib += rows.substr(at, size);
  }
  zlib += word(b << 16 | a);
  return std::string("\x89PNG\r\n\x1a\n", 8) +
         chunk("IHDR", word(static_cast<std::uint32_t>(width)) +
                           word(static_cast<std::uint32_t>(height)) +
                           std::string("\x08\x00\x00\x00\x00", 5)) +
         chunk("IDAT", zlib) + chunk("IEND", "");
}

/// Tiles of blurred shirts that come out of the noise as `progress` goes from 0 to 1.
inline std::string blobs(int tiles, double progress, std::uint64_t seed) {
  const int side = 28 * tiles;
  std::string pixels;
  Noise noise(seed);
  for (int y = 0; y < side; ++y) {
    for (int x = 0; x < side; ++x) {
      const int tile = y / 28 * tiles + x / 28;
      const double u = (x % 28 - 13.5) / (7.0 + tile % 4), v = (y % 28 - 13.5) / (9.0 + tile % 3);
      const double shape = 1 / (1 + std::exp(6 * (std::max(std::abs(u), std::abs(v)) - 1)));
      const double value =
          progress * shape * (0.6 + 0.1 * (tile % 5)) + (1 - progress) * (0.5 + 0.4 * noise());
      pixels += static_cast<char>(static_cast<int>(255 * std::min(1.0, std::max(0.0, value))));
    }
  }
  return png(side, side, pixels);
}

struct Norm {
  const char* name;
  double fd, ms, mb;
};
inline constexpr Norm kNorms[] = {{"none", 68, 58, 41.2},  {"batch", 40, 71, 52.8},
                                  {"layer", 47, 69, 51.0}, {"instance", 61, 70, 51.9},
                                  {"group", 49, 72, 51.4}, {"rms", 52, 66, 48.7}};

inline RunRecord run(const Norm& norm, std::uint64_t seed, bool diverges = false) {
  Noise noise(seed * 1000 + static_cast<std::uint64_t>(norm.fd));
  Noise shared(seed);  // what all cells of a seed have in common
  RunRecord r;
  r.cell = std::string("norm=") + norm.name;
  r.normalizer = norm.name;
  r.settings = {{"model.norm", norm.name}};
  r.seed = seed;
  r.steps = 300;
  r.step = diverges ? 180 : 300;
  r.status = diverges ? RunStatus::kDiverged : RunStatus::kDone;
  if (diverges) r.remark = "d_loss became NaN in discriminator.main.3";
  const double luck = 2.5 * shared() + 2.5 * noise();
  Series fd{"fd_own", {}}, coverage{"coverage", {}}, d_loss{"d_loss", {}}, g_loss{"g_loss", {}};
  for (int step = 0; step <= r.step; step += 50) {
    const double left = std::exp(-step / 70.0);
    const bool broken = diverges && step > 120;
    fd.points.push_back({static_cast<double>(step),
                         broken ? kMissing : norm.fd + luck + 150 * left + 1.5 * noise()});
    coverage.points.push_back(
        {static_cast<double>(step),
         broken ? kMissing : (1 - left) * (0.5 - norm.fd / 200) + 0.03 * noise()});
  }
  for (int step = 5; step <= r.step; step += 5) {
    const double left = std::exp(-step / 60.0);
    d_loss.points.push_back({static_cast<double>(step), 0.6 + 0.8 * left + 0.12 * noise()});
    g_loss.points.push_back(
        {static_cast<double>(step), 0.7 + norm.fd / 60 * (1 - left) + 0.2 * noise()});
  }
  r.metrics = {fd, coverage};
  r.scalars = {d_loss, g_loss};
  const char* layers[] = {"generator.main.1", "generator.main.4", "generator.main.7",
                          "discriminator.main.2", "discriminator.main.5"};
  const bool normalized = r.normalizer != "none";
  for (int i = 0; i < 5; ++i) {
    LayerRecord layer{layers[i], {}, {}, {}, {}, {}};
    for (int step = 0; step <= r.step; step += 25) {
      const double x = step, growth = normalized ? 1 : std::pow(0.35, i) * (1 + step / 150.0);
      layer.sd.push_back({x, growth * (1 + 0.08 * noise())});
      layer.mean.push_back({x, 0.1 * growth * noise() - 0.05 * i});
      layer.gradient_norm.push_back(
          {x, (normalized ? 0.3 : 0.3 * std::pow(0.2, 4 - i)) * std::exp(0.4 * noise())});
      layer.dead.push_back(
          {x, std::max(0.0, (normalized ? 0.02 : 0.12 * i * step / 300) + 0.02 * noise())});
    }
    for (int k = 0; k <= 20; ++k) layer.activations.edges.push_back(-3 + 0.3 * k);
    for (int k = 0; k < 20; ++k) {
      const double z = -2.85 + 0.3 * k;
      layer.activations.counts.push_back(1000 *
                                         std::exp(-z * z / (normalized ? 2 : 0.5 + 0.3 * i)));
    }
    r.layers.push_back(layer);
  }
  if (seed == 1) {
    for (int step = 0; step <= r.step; step += 75) {
      const double progress = (1 - std::exp(-step / 120.0)) * (1.1 - norm.fd / 150);
      r.pictures.push_back(
          {step, {{"", blobs(4, progress, seed + static_cast<std::uint64_t>(step))}}});
    }
  }
  r.ms_per_step = norm.ms + 2 * noise();
  r.ms_parts = {
      {"forward", norm.ms * 0.35}, {"backward", norm.ms * 0.55}, {"optimizer", norm.ms * 0.1}};
  r.seconds = r.ms_per_step * static_cast<double>(r.step) / 1000 + 4;
  r.peak_bytes = norm.mb * 1e6;
  r.parameters = 176385 + (normalized ? 448 : 0);
  r.examples_per_step = 32;
  r.config =
      std::string(R"({"version":1,"name":"dcgan_norms","task":"gan","seed":)") +
      std::to_string(seed) + R"(,"model":{"norm":")" + norm.name +
      R"(","generator":{"latent":64}},"optimizer":{"type":"adam","lr":2e-4},"train":{"steps":300,"batch":32}})";
  r.weights_hash = "5c0f" + std::to_string(1000 + seed * 7) + "e9a1b" +
                   std::to_string(static_cast<int>(norm.fd));
  r.folder = r.cell + ",seed=" + std::to_string(seed);
  return r;
}

inline Comparison comparison(int seeds, bool diverged = true) {
  Comparison c;
  c.title = "dcgan_norms · quick";
  c.question = "Which normalizer should the generator and the discriminator of a small DCGAN use?";
  Metric fd{"fd_own",
            "FD-own",
            Goal::kMin,
            "",
            false,
            0.82,
            "real against real",
            2000,
            "Fréchet distance in 48 features of our own classifier, biased upward at this sample "
            "count; not FID."};
  Metric coverage{"coverage", "Coverage",          Goal::kMax, "", false,
                  0.97,       "real against real", 2000,       ""};
  c.metrics = {fd, coverage};
  for (int seed = 1; seed <= seeds; ++seed) {
    for (const Norm& norm : kNorms) {
      const bool fails = diverged && seed == 2 && std::string(norm.name) == "instance";
      c.runs.push_back(run(norm, static_cast<std::uint64_t>(seed), fails));
    }
  }
  c.claims = {{"Batch normalization helps a generator that starts from noise", "fd_own",
               "norm=batch", "norm=none", "Radford et al. 2016"},
              {"Instance normalization prevents mode collapse", "coverage", "norm=instance",
               "norm=batch", ""}};
  c.varied = {{"model.norm", "none, batch, layer, instance, group (8), rms"}};
  c.fixed = {{"data", "Fashion-MNIST mini, 2,000 images"},
             {"training", "300 steps of 32"},
             {"optimizer", "Adam 2e-4, β 0.5 and 0.999"}};
  c.notes = {"One learning rate for all cells, not tuned per normalizer."};
  c.seconds = 283;
  c.environment = {{"tapestry", "0.1.0"},
                   {"processor", "2 cores, AVX2"},
                   {"threads", "2"},
                   {"compiler", "g++ 12.2"},
                   {"data hash", "8a3f…61"}};
  c.command =
      "build/bin/tapestry compare examples/configs/dcgan_norms.json --preset quick --seeds 1,2,3";
  return c;
}

/// Pictures as labeled rows: contents and a style on the left, one result per normalizer.
inline Comparison style() {
  Comparison c = comparison(2, false);
  c.title = "style_in_vs_bn · quick";
  c.inputs = {{"content", {}}, {"style", {{"", blobs(2, 0.9, 77)}}}};
  for (int k = 1; k <= 4; ++k) {
    c.inputs[0].pictures.push_back(
        {"scene " + std::to_string(k), blobs(2, 1, static_cast<std::uint64_t>(k))});
  }
  for (RunRecord& r : c.runs) {
    for (PictureStep& at : r.pictures) {
      at.pictures.clear();
      for (int k = 1; k <= 4; ++k) {
        at.pictures.push_back(
            {"scene " + std::to_string(k),
             blobs(2, static_cast<double>(at.step) / 400, static_cast<std::uint64_t>(k))});
      }
    }
  }
  return c;
}

/// A grid of two settings: normalizer × batch size.
inline Comparison sweep() {
  Comparison c = comparison(0);
  c.title = "batch_size_sweep · fast";
  c.metrics = {{"test_accuracy", "Test accuracy", Goal::kMax, "%", false, {}, "", 400, ""}};
  c.claims.clear();
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    for (const char* norm : {"batch", "layer", "instance", "group"}) {
      for (const int batch : {2, 4, 16, 64}) {
        Noise noise(seed * 97 + static_cast<std::uint64_t>(batch) +
                    static_cast<unsigned char>(norm[0]));
        const bool bn = norm[0] == 'b';
        RunRecord r;
        r.normalizer = norm;
        r.cell = std::string("norm=") + norm + ",batch=" + std::to_string(batch);
        r.settings = {{"model.norm", norm}, {"train.batch", std::to_string(batch)}};
        r.seed = seed;
        r.examples_per_step = batch;
        r.steps = r.step = 3200 / batch;
        const double top = bn               ? 78 - 20.0 / batch
                           : norm[0] == 'i' ? 62
                                            : 73 - std::log2(batch) * 0.7;
        Series accuracy{"test_accuracy", {}};
        for (int k = 0; k <= 8; ++k) {
          accuracy.points.push_back(
              {400.0 * k / batch, top - (top - 10) * std::exp(-k / 1.8) + noise()});
        }
        r.metrics = {accuracy};
        r.ms_per_step = batch * 0.9;
        c.runs.push_back(r);
      }
    }
  }
  return c;
}

}  // namespace tapestry::lab::fixture

#endif  // TAPESTRY_TESTS_LAB_REPORT_FIXTURE_H_
