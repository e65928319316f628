#include "core/kernels/machine.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/machine.cc"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>  // must come before highway.h

#include "core/kernels/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tapestry::kernels::HWY_NAMESPACE {

// Two units of latency 4 need 8 chains; 12 leave room for a longer latency and still fit, with the
// two factors, into the 16 registers of AVX2.
double MultiplyAddLoop(std::int64_t rounds, Real* sink) {
  const RealTag d;
  // A sum that stays near 1: numbers that grow or vanish would be slower on some processors.
  const auto a = hn::Set(d, Real(0.5)), b = hn::Set(d, sink[0] + Real(0.5));
  // Read from memory, so that the compiler must take the chains for different ones.
  const auto start = [&](int chain) HWY_ATTR { return hn::Set(d, sink[chain]); };
  auto s0 = start(0), s1 = start(1), s2 = start(2), s3 = start(3), s4 = start(4), s5 = start(5),
       s6 = start(6), s7 = start(7), s8 = start(8), s9 = start(9), s10 = start(10), s11 = start(11);
  for (std::int64_t i = 0; i < rounds; ++i) {
    s0 = hn::MulAdd(s0, a, b), s1 = hn::MulAdd(s1, a, b), s2 = hn::MulAdd(s2, a, b);
    s3 = hn::MulAdd(s3, a, b), s4 = hn::MulAdd(s4, a, b), s5 = hn::MulAdd(s5, a, b);
    s6 = hn::MulAdd(s6, a, b), s7 = hn::MulAdd(s7, a, b), s8 = hn::MulAdd(s8, a, b);
    s9 = hn::MulAdd(s9, a, b), s10 = hn::MulAdd(s10, a, b), s11 = hn::MulAdd(s11, a, b);
  }
  const auto sum = hn::Add(hn::Add(hn::Add(s0, s1), hn::Add(s2, s3)),
                           hn::Add(hn::Add(hn::Add(s4, s5), hn::Add(s6, s7)),
                                   hn::Add(hn::Add(s8, s9), hn::Add(s10, s11))));
  sink[0] = hn::GetLane(sum);
  return 2.0 * 12.0 * static_cast<double>(rounds) * static_cast<double>(LaneCount(d));
}

void CopyLoop(const Real* from, Real* to, std::int64_t n) {
  Map([](auto, auto v) HWY_ATTR { return v; }, to, n, from);
}

void CopyLoopStreaming(const Real* from, Real* to, std::int64_t n) {
  const RealTag d;
  const std::int64_t lanes = LaneCount(d);
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::Stream(hn::LoadU(d, from + i), d, to + i);
  if (i < n) StorePart(d, LoadPart(d, from + i, n - i), to + i, n - i);
  hwy::FlushStream();
}

}  // namespace tapestry::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tapestry::kernels {

HWY_EXPORT(MultiplyAddLoop);
double multiply_add_loop(std::int64_t rounds, Real* sink) {
  return HWY_DYNAMIC_DISPATCH(MultiplyAddLoop)(rounds, sink);
}
HWY_EXPORT(CopyLoop);
void copy_loop(const Real* from, Real* to, std::int64_t n) {
  HWY_DYNAMIC_DISPATCH(CopyLoop)(from, to, n);
}
HWY_EXPORT(CopyLoopStreaming);
void copy_loop_streaming(const Real* from, Real* to, std::int64_t n) {
  HWY_DYNAMIC_DISPATCH(CopyLoopStreaming)(from, to, n);
}

}  // namespace tapestry::kernels
#endif  // HWY_ONCE
