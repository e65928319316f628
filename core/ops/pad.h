// Borders: pad() and the ways to fill what it adds. Its gradient adds up what each number was
// copied to.
#ifndef TAPESTRY_CORE_OPS_PAD_H_
#define TAPESTRY_CORE_OPS_PAD_H_

#include <cstdint>
#include <string_view>
#include <vector>

#include "core/tensor.h"

namespace tapestry {

/// How pad() fills the border: constant takes `value`; reflect mirrors without repeating the edge
/// (pad < extent); replicate repeats the edge; circular wraps around (pad ≤ extent).
enum class PadMode { kConstant, kReflect, kReplicate, kCircular };
/// "constant", "reflect", "replicate", "circular"; Throws Error with the list for anything else.
PadMode pad_mode(std::string_view name);
std::string_view pad_mode_name(PadMode mode);

/// Elements added before and after each of the last axes; `before`/`after` may be negative, which
/// crops.
struct Padding {
  std::int64_t before = 0, after = 0;
};
/// Pads the last pads.size() axes; pads[i] belongs to axis rank − pads.size() + i, so {{top,
/// bottom}, {left, right}} for images.
Tensor pad(const Tensor& x, const std::vector<Padding>& pads, PadMode mode = PadMode::kConstant,
           Real value = 0);

}  // namespace tapestry

#endif  // TAPESTRY_CORE_OPS_PAD_H_
