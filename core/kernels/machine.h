// What this processor can do at most: loops that do nothing but multiply and add, and nothing but
// copy. Benchmarks state their figures as shares of these. No threads here: callers run one on
// each.
#ifndef TAPESTRY_CORE_KERNELS_MACHINE_H_
#define TAPESTRY_CORE_KERNELS_MACHINE_H_

#include <cstdint>

#include "core/real.h"

namespace tapestry::kernels {

/// Multiplies and adds in registers, with enough independent chains that latency does not show.
/// Returns how many floating-point operations that were. `sink` holds 12 starting values; its first
/// gets a number that depends on all of them.
double multiply_add_loop(std::int64_t rounds, Real* sink);

/// to[i] = from[i], through the caches as every kernel's results go.
void copy_loop(const Real* from, Real* to, std::int64_t n);
/// The same past the caches: no line is read only to be overwritten. `to` must be aligned to
/// kAlignment.
void copy_loop_streaming(const Real* from, Real* to, std::int64_t n);

}  // namespace tapestry::kernels

#endif  // TAPESTRY_CORE_KERNELS_MACHINE_H_
