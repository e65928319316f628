// The tape: what was computed, in order, and the reverse sweep over it that gives gradients of any
// order.
#ifndef TAPESTRY_CORE_TAPE_H_
#define TAPESTRY_CORE_TAPE_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <initializer_list>
#include <iosfwd>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/tensor.h"

namespace tapestry {

// Note [Why indices, not pointers]
// ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
// R. Wengert (1964) wrote a computation as a list v_i = op(v_j, v_k, …) with j, k < i. We store
// just that. A tensor knows the position it holds on the tape; the tape owns what a gradient needs.
// Ownership runs one way (tape → saved tensors), so an op may save its own output (tanh does)
// without a cycle, and "reverse topological order" is counting down.

// Note [Closed under differentiation]
// ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
// A Backward calls ordinary ops only. While a gradient with create_graph runs, these are recorded
// like any other, so the gradient can be differentiated again, to any order. Fused kernels may
// stand in for the composition only where nothing records: `if (!Tape::recording()) return
// fused(…);`.

/// Position on a tape.
using Index = std::int32_t;
inline constexpr Index kNoEntry = -1;  // a constant: not on the tape

/// One gradient per input of an op; an undefined Tensor means "none".
using Grads = std::vector<Tensor>;

/// Which inputs' gradients anyone asked for; expensive ops look before computing.
class Needs {
 public:
  explicit Needs(std::uint64_t bits, Tensor* first_sum = nullptr, bool is_last = false)
      : bits_(bits), first_sum_(first_sum), is_last_(is_last) {}
  bool operator[](std::size_t input) const { return input >= 64 || ((bits_ >> input) & 1U) != 0; }
  /// What other ops have contributed to the adjoint of the first input, when nobody else holds it
  /// and nothing records: a Backward may add to its numbers and return no gradient. Else nullptr.
  /// So the gradients of a tensor's many slices need no tensor of full size each.
  Tensor* first_sum() const { return first_sum_; }
  /// Nobody will call this Backward again: it may overwrite what it alone keeps.
  bool is_last() const { return is_last_; }

 private:
  std::uint64_t bits_;
  Tensor* first_sum_;
  bool is_last_;
};

/// Maps the adjoint of an op's output to the adjoints of its inputs; see Note [Closed under
/// differentiation].
using Backward = std::function<Grads(const Tensor& upstream, const Needs& need)>;

/// One line of the list: v_i = op(v_j, …).
struct Entry {
  std::string_view op;
  std::vector<Index> inputs;  // kNoEntry for inputs that are not on the tape
  Shape shape;
  Backward backward;      // empty for leaves and for consumed entries
  int place = 0;          // where in the model it was recorded, see Context
  bool consumed = false;  // its saved tensors were given back by an earlier gradient()
};

struct GradientOptions {
  bool create_graph =
      false;          // record the reverse sweep too, so that its result can be differentiated
  bool keep = false;  // keep the saved tensors of the walked entries for another call (PyTorch:
                      // retain_graph)
  bool allow_unused = false;  // a tensor without influence on y gets zeros instead of an Error
};

/// Records the ops executed on this thread during its lifetime. At most one tape per thread at a
/// time.
///
///     Tape tape;
///     Tensor loss = cross_entropy(model(images), labels);
///     optimizer.step(tape.gradient(loss, optimizer.parameters()));
class Tape {
 public:
  /// Throws Error if a tape is already recording on this thread.
  Tape();
  /// Frees every saved tensor. Tensors recorded here become constants.
  ~Tape();
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  /// Enters x on the list as an input, so that gradients with respect to it can be asked for.
  /// Returns x.
  Tensor watch(const Tensor& x);

  /// dy/dx for each x of `wrt`: parameters, watched inputs, or any value recorded on this tape. y
  /// must have one element.
  ///
  /// Consumes the entries that it walks unless options.keep or options.create_graph: their saved
  /// tensors go back to the pool. Nothing is accumulated anywhere. Throws Error when y is not on
  /// this tape, when an x has no influence on y (unless allow_unused), when a walked entry was
  /// consumed before, and when a saved tensor has been overwritten since.
  std::vector<Tensor> gradient(const Tensor& y, std::span<const Tensor> wrt,
                               const GradientOptions& options = {});
  std::vector<Tensor> gradient(const Tensor& y, std::initializer_list<Tensor> wrt,
                               const GradientOptions& options = {}) {
    return gradient(y, std::span<const Tensor>(wrt.begin(), wrt.size()), options);
  }

  /// Like gradient(), but starts from the adjoint `seed` of y (y's shape) instead of 1: the
  /// vector-Jacobian product.
  std::vector<Tensor> vjp(const Tensor& y, const Tensor& seed, std::span<const Tensor> wrt,
                          const GradientOptions& options = {});

  /// The list so far. A deque: references stay valid while a recorded reverse sweep appends.
  const std::deque<Entry>& entries() const { return entries_; }

  /// This thread's tape, or nullptr: also inside PauseRecording and during a gradient() without
  /// create_graph.
  static Tape* recording();
  /// Whether an op on x would be recorded now.
  static bool tracks(const Tensor& x);

 private:
  friend Tensor record(std::string_view, std::span<const Tensor>, Tensor, Backward);
  friend class PauseRecording;
  Index find(const Tensor& x) const;
  Index find_or_enter(const Tensor& x);
  Index enter(Entry entry);

  std::uint64_t id_;  // never reused, so a tensor of a dead tape is seen to be a constant
  std::deque<Entry> entries_;
  struct Leaf {
    Tensor tensor;
    Index index;
  };
  std::unordered_map<const void*, Leaf>
      leaves_;  // by body; holds the tensor so that its address stays taken
};

/// Prints the list: v7 = mul(v4, v6) : [64, 128]
std::ostream& operator<<(std::ostream& out, const Tape& tape);
/// The tape as a Graphviz program: `dot -Tsvg`.
std::string graphviz(const Tape& tape);

/// Stops recording in a scope: sampling or metrics in the middle of a step.
class PauseRecording {
 public:
  PauseRecording();
  ~PauseRecording();
  PauseRecording(const PauseRecording&) = delete;
  PauseRecording& operator=(const PauseRecording&) = delete;
};

/// Finishes an op: places `output` on the recording tape if any input is on it or requires_grad,
/// and returns it.
///
/// `op` must outlive the tape (a string literal). In anomaly mode checks `output` first.
Tensor record(std::string_view op, std::span<const Tensor> inputs, Tensor output,
              Backward backward);
inline Tensor record(std::string_view op, std::initializer_list<Tensor> inputs, Tensor output,
                     Backward backward) {
  return record(op, std::span<const Tensor>(inputs.begin(), inputs.size()), std::move(output),
                std::move(backward));
}

// Note [Computing again]
// ~~~~~~~~~~~~~~~~~~~~~~
// What fills the memory of a training step is what ops keep for the reverse sweep. A norm keeps its
// input, and the convolution that follows keeps the norm's output, of the same size, though one
// walk through memory could make it again. So an op whose output follows from what it keeps anyway
// may say how; others' Saved then do not keep that output's numbers alive, and compute them again
// should they be gone (T. Chen, B. Xu, C. Zhang, C. Guestrin 2016 chose whole segments of a network
// for this). Only of large tensors: the others' memory does not count, but their time may.

/// Lets Saved compute `output`, and views of it, again instead of keeping its numbers. Its op's
/// Backward should hold `origin`, or it is gone, and nobody may overwrite what it reads. Returns
/// output.
Tensor computed_again(Tensor output, const std::shared_ptr<const detail::Origin>& origin);

/// A tensor kept for the reverse sweep; reading it later throws Error if someone has overwritten it
/// meanwhile. Hold what you have read while you use its data(): the numbers may be yours alone.
class Saved {
 public:
  Saved() = default;
  explicit Saved(const Tensor& tensor);
  Tensor operator()() const;
  bool defined() const { return tensor_.defined(); }
  const Shape& shape() const { return tensor_.shape(); }

 private:
  /// What there is instead of the numbers.
  struct Again {
    std::weak_ptr<detail::Storage> storage;  // while others hold it
    std::int64_t count;
    std::shared_ptr<const detail::Origin> origin;
  };
  [[noreturn]] void throw_overwritten() const;
  Tensor tensor_;  // without numbers if again_
  std::uint64_t version_ = 0;
  std::shared_ptr<const Again> again_;
};

/// What the gradient of `other` needs of x: x, or nothing if ops on `other` are not recorded. A
/// network whose weights are constants need not keep what they are multiplied by.
inline Saved saved_for(const Tensor& other, const Tensor& x) {
  return other.defined() && Tape::tracks(other) ? Saved(x) : Saved();
}

/// Anomaly mode: every op's result, and every gradient of the reverse sweep, is checked; the first
/// NaN or Inf throws an Error that names the op, the layer and the step. Off by default; it reads
/// every result once more.
void set_anomaly_mode(bool on);
bool anomaly_mode();
/// The training step that anomaly errors name; the trainer sets it.
void set_anomaly_step(std::int64_t step);

}  // namespace tapestry

#endif  // TAPESTRY_CORE_TAPE_H_
