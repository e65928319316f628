// Samples from a trained generator, from its checkpoint alone.
#ifndef TAPESTRY_EXAMPLES_LAB_SAMPLE_H_
#define TAPESTRY_EXAMPLES_LAB_SAMPLE_H_

#include <cstdint>
#include <filesystem>

#include "core/tensor.h"

namespace tapestry::lab {

/// A sheet of `count` images from latents that `seed` decides, by the averaged weights if the run
/// kept them. `run` is a run folder or a checkpoint of task "gan".
Tensor sample_sheet(const std::filesystem::path& run, std::int64_t count, std::uint64_t seed);

}  // namespace tapestry::lab

#endif  // TAPESTRY_EXAMPLES_LAB_SAMPLE_H_
