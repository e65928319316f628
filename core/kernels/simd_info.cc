#include "core/kernels/simd_info.h"

#include <bit>
#include <cstdint>
#include <cstdlib>
#include <stdexcept>

#include <hwy/highway.h>
#include <hwy/targets.h>

namespace tapestry::kernels {
namespace {

std::vector<std::int64_t> available() {
  // What the processor has, whatever has been forced since the first call.
  static const std::vector<std::int64_t> targets = hwy::SupportedAndGeneratedTargets();
  return targets;
}

void use(std::int64_t target) {
  hwy::SetSupportedTargetsForTest(target);
  hwy::GetChosenTarget().Update(target);
}

std::string unknown(std::string_view name, std::string_view source) {
  std::string text = "simd: " + std::string(source) + " asks for the target \"" +
                     std::string(name) + "\", but this build on this processor has";
  const char* separator = " ";
  for (const std::string& target : simd_targets()) {
    text += separator + target;
    separator = ", ";
  }
  return text;
}

bool force(std::string_view name) {
  for (const std::int64_t target : available()) {
    if (name == hwy::TargetName(target)) {
      use(target);
      return true;
    }
  }
  return false;
}

// Applied while the program starts, before any kernel runs; a wrong name is kept until
// simd_target() can report it.
const char* apply_environment() {
  const char* name = std::getenv("TAPESTRY_SIMD");
  return name == nullptr || *name == '\0' || force(name) ? nullptr : name;
}
const char* rejected = apply_environment();

}  // namespace

std::string_view simd_target() {
  if (rejected != nullptr) throw std::invalid_argument(unknown(rejected, "TAPESTRY_SIMD"));
  // A smaller bit is a better target.
  const auto usable = static_cast<std::uint64_t>(hwy::SupportedTargets() & HWY_TARGETS);
  return hwy::TargetName(std::int64_t{1} << std::countr_zero(usable));
}

std::vector<std::string> simd_targets() {
  std::vector<std::string> names;
  for (const std::int64_t target : available()) names.emplace_back(hwy::TargetName(target));
  return names;
}

void force_simd_target(std::string_view target) {
  if (!force(target)) throw std::invalid_argument(unknown(target, "force_simd_target"));
  rejected = nullptr;
}

}  // namespace tapestry::kernels
