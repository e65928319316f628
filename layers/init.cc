#include "layers/init.h"

#include <algorithm>
#include <cmath>

namespace tapestry::nn {

const std::vector<std::string>& init_names() {
  static const std::vector<std::string> names{"default",       "normal",          "xavier_uniform",
                                              "xavier_normal", "kaiming_uniform", "kaiming_normal",
                                              "orthogonal"};
  return names;
}

namespace {

/// Orthonormal rows or columns, whichever are fewer, by Gram and Schmidt on normal numbers.
Tensor orthogonal(const Shape& shape, Real gain, Rng& rng) {
  const std::int64_t rows = shape[0], columns = shape.size() / rows;
  const std::int64_t count = std::min(rows, columns), length = std::max(rows, columns);
  const Tensor drawn = rng.normal({count, length});
  std::vector<double> basis(drawn.data().begin(), drawn.data().end());
  for (std::int64_t i = 0; i < count; ++i) {
    double* v = basis.data() + i * length;
    for (std::int64_t j = 0; j < i; ++j) {
      const double* u = basis.data() + j * length;
      double dot = 0;
      for (std::int64_t k = 0; k < length; ++k) dot += u[k] * v[k];
      for (std::int64_t k = 0; k < length; ++k) v[k] -= dot * u[k];
    }
    double norm = 0;
    for (std::int64_t k = 0; k < length; ++k) norm += v[k] * v[k];
    for (std::int64_t k = 0; k < length; ++k) v[k] /= std::sqrt(norm);
  }
  Tensor weight = Tensor::empty(shape);
  std::span<Real> to = weight.mutable_data();
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = 0; c < columns; ++c) {
      const std::int64_t from = rows <= columns ? r * length + c : c * length + r;
      to[static_cast<std::size_t>(r * columns + c)] =
          gain * static_cast<Real>(basis[static_cast<std::size_t>(from)]);
    }
  }
  return weight;
}

}  // namespace

void initialize(Module& module, const InitSetting& setting, const Rng& rng) {
  module.reset_parameters(rng);
  if (setting.type == "default") return;
  for (const auto& [name, part] : module.modules()) {
    const std::string_view kind = part->kind();
    if (kind != "Linear" && kind != "Conv1d" && kind != "Conv2d" && kind != "ConvTranspose2d" &&
        !kind.starts_with("Reparameterized"))
      continue;
    for (Named<Tensor>& parameter : part->named_parameters()) {
      std::span<Real> values = parameter.value.mutable_data();
      if (parameter.name == "bias") {
        std::fill(values.begin(), values.end(), Real{0});
        continue;
      }
      if (parameter.name.ends_with(".original0")) continue;  // weight norm's lengths follow below
      const Shape& shape = parameter.value.shape();
      Rng stream = rng.split((name.empty() ? "" : name + ".") + parameter.name);
      const double area = static_cast<double>(shape.product(2, shape.rank()));
      // A transposed convolution's weight is (in, out, …): its fans are the other way round.
      const bool transposed = kind == "ConvTranspose2d";
      const double fan_in = area * static_cast<double>(shape[transposed ? 0 : 1]),
                   fan_out = area * static_cast<double>(shape[transposed ? 1 : 0]);
      const double variance =
          setting.type.starts_with("xavier") ? 2 / (fan_in + fan_out) : 2 / fan_in;
      const Real deviation = static_cast<Real>(
          setting.type == "normal" ? setting.std : setting.gain * std::sqrt(variance));
      const Real bound =
          deviation * std::sqrt(Real{3});  // of a uniform distribution of this deviation
      const Tensor drawn =
          setting.type == "orthogonal" ? orthogonal(shape, static_cast<Real>(setting.gain), stream)
          : setting.type.ends_with("_uniform") ? stream.uniform(shape, -bound, bound)
                                               : stream.normal(shape, 0, deviation);
      std::copy(drawn.data().begin(), drawn.data().end(), values.begin());
    }
    part->parameters_drawn();
  }
}

}  // namespace tapestry::nn
