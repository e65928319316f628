// Which SIMD instruction set the kernels run on. Every kernel is compiled once per target, and the
// best one that the processor has is chosen when the program runs.
#ifndef TAPESTRY_CORE_KERNELS_SIMD_INFO_H_
#define TAPESTRY_CORE_KERNELS_SIMD_INFO_H_

#include <string>
#include <string_view>
#include <vector>

namespace tapestry::kernels {

/// The target in use, for example "AVX2". Default: the best available one, unless the environment
/// variable TAPESTRY_SIMD names another. Throws std::invalid_argument when that names none of
/// simd_targets(); programs call this first, to say so.
std::string_view simd_target();

/// The targets that are compiled in and that this processor has, best first.
std::vector<std::string> simd_targets();

/// Makes every kernel use `target` from now on. Throws std::invalid_argument, naming the available
/// ones, when it is none of simd_targets(). Not to be called while kernels run.
void force_simd_target(std::string_view target);

}  // namespace tapestry::kernels

#endif  // TAPESTRY_CORE_KERNELS_SIMD_INFO_H_
