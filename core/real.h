// The number type of every tensor. Choose it when configuring: -DTAPESTRY_REAL=double gives a build
// in which gradient checks reach 1e-9 instead of 1e-3; everything else uses float.
#ifndef TAPESTRY_CORE_REAL_H_
#define TAPESTRY_CORE_REAL_H_

namespace tapestry {

#ifdef TAPESTRY_DOUBLE
using Real = double;
inline constexpr bool kDouble = true;
#else
using Real = float;
inline constexpr bool kDouble = false;
#endif

}  // namespace tapestry

#endif  // TAPESTRY_CORE_REAL_H_
