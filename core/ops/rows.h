// How ops that move numbers visit a tensor row by row. Not for users.
#ifndef TAPESTRY_CORE_OPS_ROWS_H_
#define TAPESTRY_CORE_OPS_ROWS_H_

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "core/parallel.h"
#include "core/real.h"

namespace tapestry::detail {

/// Numbers per chunk of work: about 10 µs of copying.
inline constexpr std::int64_t kCopyGrain = 1 << 15;

/// Calls body(row) for each of [0, rows), in parallel; `size` numbers are done for each.
template <class F>
void for_rows(std::int64_t rows, std::int64_t size, F body, std::int64_t grain = kCopyGrain) {
  parallel_for(rows, std::max<std::int64_t>(1, grain / std::max<std::int64_t>(size, 1)),
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t row = begin; row < end; ++row) body(row);
               });
}

inline void copy_row(const Real* from, Real* to, std::int64_t n) {
  if (n > 0) std::memcpy(to, from, static_cast<std::size_t>(n) * sizeof(Real));
}

}  // namespace tapestry::detail

#endif  // TAPESTRY_CORE_OPS_ROWS_H_
