#include "core/kernels/simd_info.h"

#include <stdexcept>
#include <string>

#include <doctest/doctest.h>

namespace kernels = tapestry::kernels;

TEST_CASE("the best target is in use, and each can be forced") {
  const auto targets = kernels::simd_targets();
  REQUIRE(!targets.empty());
  for (const std::string& target : targets) {
    kernels::force_simd_target(target);
    CHECK(kernels::simd_target() == target);
  }
  kernels::force_simd_target(targets.front());
  CHECK(kernels::simd_targets() == targets);  // forcing hides nothing
}

TEST_CASE("an unknown target is refused with the list of those there are") {
  const std::string before(kernels::simd_target());
  std::string message;
  try {
    kernels::force_simd_target("MMX");
  } catch (const std::invalid_argument& error) {
    message = error.what();
  }
  CHECK(message.find("\"MMX\"") != std::string::npos);
  for (const std::string& target : kernels::simd_targets())
    CHECK(message.find(target) != std::string::npos);
  CHECK(kernels::simd_target() == before);
}
