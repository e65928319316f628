#include "examples/lab/sample.h"

#include <algorithm>
#include <cmath>

#include "core/checkpoint.h"
#include "core/error.h"
#include "core/image.h"
#include "core/ops/arithmetic.h"
#include "core/ops/movement.h"
#include "core/ops/unary.h"
#include "core/tape.h"
#include "examples/lab/experiment.h"

namespace tapestry::lab {

Tensor sample_sheet(const std::filesystem::path& run, std::int64_t count, std::uint64_t seed) {
  const std::filesystem::path file = checkpoint_of(run);
  const Checkpoint checkpoint = load_checkpoint(file);
  const ExperimentSetting setting =
      read_config(parse_json(checkpoint.text("config"), file.string()), ".");
  if (setting.task != "gan")
    throw Error(file.string(), "was made by task \"{}\", which has no generator", setting.task)
        .hint("for style networks there is `tapestry stylize`");
  const auto generator = nn::build_network(setting.gan.generator, {setting.gan.latent},
                                           setting.norm, "/model/generator", Rng(0));
  generator->set_name("generator");
  generator->load_state(checkpoint.below("generator."));
  std::vector<Tensor> parameters = generator->parameters();
  for (const Named<Tensor>& average : checkpoint.below("ema.generator.average.")) {
    Tensor& parameter = parameters.at(static_cast<std::size_t>(std::stoul(average.name)));
    std::copy(average.value.data().begin(), average.value.data().end(),
              parameter.mutable_data().begin());
  }
  generator->eval();
  const PauseRecording pause;
  Rng latents = Rng(seed).split("sample");
  const Tensor images = (*generator)(latents.normal({count, setting.gan.latent}));
  if (images.rank() != 4)
    throw Error(file.string(), "generates points, not pictures")
        .hint("look at the report of the run");
  const Real low = static_cast<Real>(setting.data.range[0]),
             high = static_cast<Real>(setting.data.range[1]);
  const Tensor shown = clamp(affine(images, 1 / (high - low), -low / (high - low)), 0, 1);
  return contact_sheet(shown,
                       static_cast<std::int64_t>(std::ceil(std::sqrt(static_cast<double>(count)))));
}

}  // namespace tapestry::lab
