// Work split over threads in fixed chunks, so that results do not depend on how many threads there
// are.
#ifndef TAPESTRY_CORE_PARALLEL_H_
#define TAPESTRY_CORE_PARALLEL_H_

#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>

namespace tapestry {

/// A reference to a callable: what std::function is without owning, so passing a lambda costs
/// nothing. The callable must outlive the call it is passed to.
template <class Signature>
class FunctionRef;

template <class R, class... Args>
class FunctionRef<R(Args...)> {
 public:
  template <class F, class = std::enable_if_t<!std::is_same_v<std::decay_t<F>, FunctionRef>>>
  FunctionRef(F&& f)  // NOLINT: implicit, so that a lambda can be passed directly
      : object_(const_cast<void*>(static_cast<const void*>(std::addressof(f)))),
        call_([](void* object, Args... args) -> R {
          return (*static_cast<std::remove_reference_t<F>*>(object))(std::forward<Args>(args)...);
        }) {}
  R operator()(Args... args) const { return call_(object_, std::forward<Args>(args)...); }

 private:
  void* object_;
  R (*call_)(void*, Args...);
};

/// Calls body(begin, end) for consecutive chunks of `grain` elements covering [0, n), on all
/// threads.
///
/// Chunk bounds depend on n and grain only: a body that writes its own range, or returns partial
/// sums per chunk, gives the same bits at any thread count. Nested calls run inline. If bodies
/// throw, the exception of the first chunk is rethrown. `grain` ≥ 1; choose it so that a chunk
/// takes ≥ 5 µs, about 10 times the cost of waking a thread.
void parallel_for(std::int64_t n, std::int64_t grain,
                  FunctionRef<void(std::int64_t begin, std::int64_t end)> body);

/// Adds body(begin, end) over the same chunks, in chunk order; the result has the same bits at any
/// thread count.
double parallel_sum(std::int64_t n, std::int64_t grain,
                    FunctionRef<double(std::int64_t begin, std::int64_t end)> body);

/// Sets how many threads work, the calling one included (1 ≤ n ≤ 256). Not to be called from inside
/// a parallel_for.
void set_threads(int n);

/// How many threads work. Default: the environment variable TAPESTRY_THREADS, else the number of
/// cores.
int threads();

}  // namespace tapestry

#endif  // TAPESTRY_CORE_PARALLEL_H_
