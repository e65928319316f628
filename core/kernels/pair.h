// What a pass over numbers adds up, where one sum comes with another.
#ifndef TAPESTRY_CORE_KERNELS_PAIR_H_
#define TAPESTRY_CORE_KERNELS_PAIR_H_

namespace tapestry::kernels {

/// Two sums that are taken together.
struct Pair {
  double a, b;
};

}  // namespace tapestry::kernels

#endif  // TAPESTRY_CORE_KERNELS_PAIR_H_
