#include "core/ops/pad.h"

#include <doctest/doctest.h>

#include "core/tape.h"
#include "tests/support/gradcheck.h"
#include "tests/support/positions.h"

namespace tapestry::testing {
namespace {

using T = const Tensor&;
using Numbers = std::vector<Real>;

const CheckOptions kLinear{.linear = true};

}  // namespace

TEST_CASE("pad: gradient in every mode, and values by definition") {
  for (const PadMode mode :
       {PadMode::kConstant, PadMode::kReflect, PadMode::kReplicate, PadMode::kCircular}) {
    for (const std::vector<Padding>& pads : {std::vector<Padding>{{1, 2}},
                                             {{1, 0}, {2, 1}},
                                             {{0, 0}, {0, 3}},
                                             {{1, -1}, {-1, 2}},
                                             {{-1, -1}, {0, 0}},
                                             {{2, 2}, {3, 3}},
                                             {{1, 1}, {0, 1}, {2, 0}}}) {
      check_op(
          "pad", {{2, 3, 4}}, [&](T x) { return pad(x, pads, mode); }, kLinear);
      const Tensor x = counting({2, 3, 4});
      if (pads.size() == 3 && mode == PadMode::kReflect) {
        CHECK(error_text([&] { pad(x, {{2, 0}, {0, 0}, {0, 0}}, mode); }) != "");
      }
      const Tensor y = pad(x, pads, mode, Real(-7));
      for_positions(y.shape(), [&](const std::vector<std::int64_t>& position) {
        std::vector<std::int64_t> source = position;
        bool outside = false;
        for (std::size_t i = 0; i < pads.size(); ++i) {
          const std::size_t axis = 3 - pads.size() + i;
          const std::int64_t n = x.dim(static_cast<int>(axis));
          std::int64_t& p = source[axis];
          p -= pads[i].before;
          if (p >= 0 && p < n) continue;
          if (mode == PadMode::kConstant) outside = true;
          if (mode == PadMode::kReplicate) p = p < 0 ? 0 : n - 1;
          if (mode == PadMode::kCircular) p = (p % n + n) % n;
          if (mode == PadMode::kReflect) p = p < 0 ? -p : 2 * (n - 1) - p;
        }
        REQUIRE(at(y, position) == (outside ? Real(-7) : at(x, source)));
      });
    }
    check_op_threads("pad", {{40, 31, 65}}, [&](T x) { return pad(x, {{3, 2}, {1, 4}}, mode); });
  }
  check_op(
      "pad of a vector", {{5}},
      [](T x) {
        return pad(x, {{2, 1}}, PadMode::kReflect);
      },
      kLinear);
  CHECK(pad(Tensor::empty({2, 0}), {{1, 1}}).to_vector() == Numbers(4, 0));
  CHECK(pad_mode("zeros") == PadMode::kConstant);
  CHECK(pad_mode("circular") == PadMode::kCircular);

  const Tensor x = counting({2, 3});
  CHECK(error_text([&] {
          pad(x, {{3, 0}}, PadMode::kReflect);
        }) ==
        "pad: reflection needs pad < extent, got 3 for extent 3\n  input  [2, 3]\n"
        "  hint   a mirror image holds extent - 1 new elements; use a smaller pad or mode "
        "replicate");
  CHECK(error_text([&] {
          pad(x, {{4, 0}}, PadMode::kCircular);
        }).find("wrapping around needs pad ≤ extent, got 4 for extent 3") != std::string::npos);
  CHECK(error_text([&] { pad(x, {{-2, -2}}); }).find("leaves nothing") != std::string::npos);
  CHECK(error_text([&] {
          pad(x, {{0, 0}, {0, 0}, {0, 0}});
        }) == "pad: 3 pads for 2 axes\n  input  [2, 3]");
  CHECK(error_text([&] {
          pad(Tensor::empty({2, 0}), {{1, 1}}, PadMode::kReplicate);
        }).find("no edge to replicate") != std::string::npos);
  CHECK(error_text([] { pad_mode("mirror"); }) ==
        "pad: there is no padding mode \"mirror\"\n"
        "  hint  use constant, reflect, replicate or circular");
}

}  // namespace tapestry::testing
