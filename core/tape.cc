#include "core/tape.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <ostream>

#include "core/error.h"
#include "core/kernels/elementwise.h"
#include "core/ops/arithmetic.h"
#include "core/parallel.h"

namespace tapestry {

// What the tape may see of a tensor's body.
struct TensorAccess {
  static detail::TensorBody& body(const Tensor& tensor) { return tensor.body(); }
  // Whether this handle is the only one, and no view shares the numbers: they may be overwritten.
  static bool is_only_handle(const Tensor& tensor) {
    return tensor.body_.use_count() == 1 && tensor.body_->storage.use_count() == 1;
  }
  // The same value of the same tape with other numbers, or none.
  static Tensor with_storage(const Tensor& tensor, std::shared_ptr<detail::Storage> storage) {
    auto body = std::make_shared<detail::TensorBody>(tensor.body());
    body->storage = std::move(storage);
    return Tensor(std::move(body));
  }
};

namespace {

thread_local Tape* current = nullptr;
thread_local int pauses = 0;
std::atomic<std::uint64_t> next_id{1};
std::atomic<bool> anomaly{false};
std::atomic<std::int64_t> anomaly_step{-1};

[[noreturn]] void throw_anomaly(std::string_view what, std::string_view op, const Tensor& bad,
                                int place) {
  std::int64_t position = 0;
  while (std::isfinite(bad.data()[static_cast<std::size_t>(position)])) ++position;
  const Real value = bad.data()[static_cast<std::size_t>(position)];
  Error error("anomaly", "the {} of {} is the first to hold {}, at element {}", what, op,
              std::isnan(value) ? "NaN" : "Inf", position);
  error.shape("tensor", bad);
  if (const std::string where = Context::place_name(place); !where.empty())
    error.fact("layer", where);
  if (anomaly_step >= 0) error.fact("step", to_text(anomaly_step.load()));
  throw error
      .hint(
          "try a smaller learning rate or gradient clipping; a log, a division or a square root "
          "near 0 is the usual source")
      .fault(Fault::kDiverged);
}

void add_in_place(Tensor& sum, const Tensor& more) {
  constexpr std::int64_t kGrain = 1 << 14;  // numbers per chunk, as in elementwise ops
  Real* to = sum.mutable_data().data();
  const Real* from = more.data().data();
  parallel_for(sum.size(), kGrain, [&](std::int64_t begin, std::int64_t end) {
    kernels::add({to + begin, 0, 1}, {from + begin, 0, 1}, to + begin, 1, end - begin);
  });
}

bool all_finite(const Tensor& tensor) {
  for (const Real value : tensor.data()) {
    if (!std::isfinite(value)) return false;
  }
  return true;
}

std::string called(const Tensor& tensor) {
  return tensor.name().empty() ? "a tensor of shape " + tensor.shape().str()
                               : std::string(tensor.name());
}

}  // namespace

void set_anomaly_mode(bool on) { anomaly = on; }
bool anomaly_mode() { return anomaly; }
void set_anomaly_step(std::int64_t step) { anomaly_step = step; }

Tape::Tape() : id_(next_id++) {
  if (current != nullptr) {
    throw Error("Tape", "a tape is already recording on this thread")
        .hint(
            "one tape answers many gradient() calls; end the scope of the first before starting "
            "another");
  }
  current = this;
}

Tape::~Tape() { current = nullptr; }

Tape* Tape::recording() { return pauses == 0 ? current : nullptr; }

bool Tape::tracks(const Tensor& x) {
  const Tape* tape = recording();
  return tape != nullptr && (x.requires_grad() || tape->find(x) != kNoEntry);
}

PauseRecording::PauseRecording() { ++pauses; }
PauseRecording::~PauseRecording() { --pauses; }

Index Tape::enter(Entry entry) {
  entries_.push_back(std::move(entry));
  return static_cast<Index>(entries_.size()) - 1;
}

Index Tape::find(const Tensor& x) const {
  const detail::TensorBody& body = TensorAccess::body(x);
  if (body.tape == id_) return body.index;
  if (leaves_.empty()) return kNoEntry;
  const auto leaf = leaves_.find(&body);
  return leaf == leaves_.end() ? kNoEntry : leaf->second.index;
}

Index Tape::find_or_enter(const Tensor& x) {
  const Index index = find(x);
  if (index != kNoEntry || !TensorAccess::body(x).requires_grad) return index;
  watch(x);
  return find(x);
}

Tensor Tape::watch(const Tensor& x) {
  if (find(x) == kNoEntry) {
    const Index index = enter({.op = "leaf",
                               .inputs = {},
                               .shape = x.shape(),
                               .backward = {},
                               .place = Context::place()});
    leaves_.emplace(&TensorAccess::body(x), Leaf{x, index});
  }
  return x;
}

Tensor record(std::string_view op, std::span<const Tensor> inputs, Tensor output,
              Backward backward) {
  if (anomaly && !all_finite(output)) throw_anomaly("result", op, output, Context::place());
  Tape* tape = Tape::recording();
  if (tape == nullptr) return output;
  std::vector<Index> indices(inputs.size(), kNoEntry);
  bool any = false;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].defined()) indices[i] = tape->find_or_enter(inputs[i]);
    any = any || indices[i] != kNoEntry;
  }
  if (!any) return output;
  detail::TensorBody& body = TensorAccess::body(output);
  body.tape = tape->id_;
  body.index = tape->enter({.op = op,
                            .inputs = std::move(indices),
                            .shape = output.shape(),
                            .backward = std::move(backward),
                            .place = Context::place()});
  return output;
}

std::vector<Tensor> Tape::gradient(const Tensor& y, std::span<const Tensor> wrt,
                                   const GradientOptions& options) {
  if (y.size() != 1) {
    throw Error("tape.gradient", "y must be a single number, it has {} elements", y.size())
        .shape("y", y)
        .hint("reduce the loss with mean() or sum(), or give its adjoint to vjp()");
  }
  return vjp(y, Tensor::ones(y.shape()), wrt, options);
}

std::vector<Tensor> Tape::vjp(const Tensor& y, const Tensor& seed, std::span<const Tensor> wrt,
                              const GradientOptions& options) {
  if (!(seed.shape() == y.shape())) {
    throw Error("tape.vjp", "the seed must have y's shape").shape("y", y).shape("seed", seed);
  }
  const Index last = find(y);
  if (last == kNoEntry && !options.allow_unused) {
    throw Error("tape.gradient", "y was not computed from anything on this tape")
        .shape("y", y)
        .hint(
            "compute it while the Tape is alive, from parameters or watched inputs, and not under "
            "detach() or PauseRecording");
  }

  // 1. Sweep up: which entries lead from a wanted tensor to y? Everything else is never computed.
  const std::size_t count = static_cast<std::size_t>(last + 1);
  std::vector<char> wanted(count, 0);
  std::vector<Index> targets;
  for (const Tensor& x : wrt) {
    targets.push_back(find(x));
    if (targets.back() != kNoEntry && targets.back() <= last)
      wanted[static_cast<std::size_t>(targets.back())] = 1;
  }
  for (std::size_t i = 0; i < count; ++i) {
    for (const Index input : entries_[i].inputs) {
      if (input != kNoEntry && wanted[static_cast<std::size_t>(input)]) wanted[i] = 1;
    }
  }

  // 2. Sweep down: adjoint of each entry, from y to the inputs.
  std::vector<Tensor> adjoint(count);
  std::vector<char> is_target(count, 0);
  for (const Index target : targets) {
    if (target != kNoEntry && target <= last) is_target[static_cast<std::size_t>(target)] = 1;
  }
  if (last != kNoEntry) adjoint.back() = seed;
  {
    struct PauseIf {
      explicit PauseIf(bool on) : on_(on) { pauses += on_; }
      ~PauseIf() { pauses -= on_; }
      const bool on_;
    } pause(!options.create_graph);
    for (std::size_t i = count; i-- > 0;) {
      if (!adjoint[i].defined()) continue;  // only what is wanted gets one, and y
      Entry& entry = entries_[i];
      std::uint64_t needed = 0;
      for (std::size_t k = 0; k < entry.inputs.size() && k < 64; ++k) {
        const Index input = entry.inputs[k];
        if (input != kNoEntry && wanted[static_cast<std::size_t>(input)])
          needed |= std::uint64_t{1} << k;
      }
      if (needed == 0) continue;
      if (entry.consumed) {
        throw Error("tape.gradient",
                    "the saved tensors of v{} = {} were given back by an earlier gradient()", i,
                    entry.op)
            .hint("pass {.keep = true} to the earlier call, or ask for all gradients in one call");
      }
      const auto may_overwrite = [&](const Tensor& sum) {
        return !options.create_graph && sum.defined() && TensorAccess::is_only_handle(sum);
      };
      Tensor* first_sum = nullptr;
      if ((needed & 1U) != 0) {
        Tensor& sum = adjoint[static_cast<std::size_t>(entry.inputs[0])];
        if (may_overwrite(sum)) first_sum = &sum;
      }
      const Context context(entry.place);
      const bool is_last = !options.keep && !options.create_graph;
      Grads grads = entry.backward(adjoint[i], Needs(needed, first_sum, is_last));
      // linear without a bias returns three gradients, the last one undefined, for two inputs.
      for (std::size_t k = 0; k < std::min(grads.size(), entry.inputs.size()); ++k) {
        const Index input = entry.inputs[k];
        if (!grads[k].defined() || input == kNoEntry || !wanted[static_cast<std::size_t>(input)])
          continue;
        if (anomaly && !all_finite(grads[k]))
          throw_anomaly("gradient", entry.op, grads[k], entry.place);
        Tensor& sum = adjoint[static_cast<std::size_t>(input)];
        if (may_overwrite(sum)) {
          add_in_place(sum, grads[k]);
        } else {
          sum = sum.defined() ? add(sum, grads[k]) : grads[k];
        }
      }
      if (is_last) {
        entry.backward = nullptr;
        entry.consumed = true;
      }
      if (!is_target[i]) adjoint[i] = Tensor();
    }
  }

  // 3. Collect.
  std::vector<Tensor> result;
  for (std::size_t k = 0; k < wrt.size(); ++k) {
    const Index target = targets[k];
    const bool reached =
        target != kNoEntry && target <= last && adjoint[static_cast<std::size_t>(target)].defined();
    if (!reached && !options.allow_unused) {
      throw Error("tape.gradient", "{} has no influence on y", called(wrt[k]))
          .hint(
              "was it used before the Tape was made, or under detach() or PauseRecording? Pass "
              "{.allow_unused = true} for zeros");
    }
    result.push_back(reached ? adjoint[static_cast<std::size_t>(target)]
                             : Tensor::zeros(wrt[k].shape()));
  }
  return result;
}

namespace {
// Of smaller tensors the numbers are kept; about what passes through memory in 0.1 ms.
constexpr std::int64_t kLargeBytes = 1 << 20;
}  // namespace

Tensor computed_again(Tensor output, const std::shared_ptr<const detail::Origin>& origin) {
  TensorAccess::body(output).storage->origin = origin;
  return output;
}

Saved::Saved(const Tensor& tensor) : tensor_(tensor) {
  if (!tensor.defined()) return;
  version_ = tensor.version();
  const std::shared_ptr<detail::Storage>& storage = TensorAccess::body(tensor).storage;
  if (storage->count * static_cast<std::int64_t>(sizeof(Real)) < kLargeBytes) return;
  if (auto origin = storage->origin.lock()) {
    again_ = std::make_shared<const Again>(Again{storage, storage->count, std::move(origin)});
    tensor_ = TensorAccess::with_storage(tensor, nullptr);
  }
}

Tensor Saved::operator()() const {
  if (!again_) {
    if (tensor_.defined() && tensor_.version() != version_) throw_overwritten();
    return tensor_;
  }
  std::shared_ptr<detail::Storage> storage = again_->storage.lock();
  if (storage == nullptr || storage->version != version_) {
    storage = std::make_shared<detail::Storage>(again_->count);
    again_->origin->compute(storage->data);
    storage->version = version_;
    storage->origin = again_->origin;
  }
  return TensorAccess::with_storage(tensor_, std::move(storage));
}

void Saved::throw_overwritten() const {
  throw Error("tape.gradient",
              "{}, saved for the gradient, has been overwritten since: it was at version {} and is "
              "now at {}",
              called(tensor_), version_, tensor_.version())
      .hint("take all gradients of a step before the optimizer changes the parameters");
}

namespace {

std::string value_name(Index index) {
  return index == kNoEntry ? "–" : "v" + std::to_string(index);
}

std::string line(const Entry& entry) {
  std::string text = std::string(entry.op) + "(";
  for (std::size_t i = 0; i < entry.inputs.size(); ++i)
    text += (i > 0 ? ", " : "") + value_name(entry.inputs[i]);
  return text + ") : " + entry.shape.str();
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const Tape& tape) {
  Index index = 0;
  for (const Entry& entry : tape.entries()) {
    out << value_name(index++) << " = " << line(entry);
    if (entry.place != 0) out << "   in " << Context::place_name(entry.place);
    if (entry.consumed) out << "   (consumed)";
    out << '\n';
  }
  return out;
}

std::string graphviz(const Tape& tape) {
  std::string text = "digraph tape {\n  rankdir=TB; node [shape=box, fontname=\"sans-serif\"];\n";
  Index index = 0;
  for (const Entry& entry : tape.entries()) {
    const std::string name = value_name(index++);
    text += "  " + name + " [label=\"" + name + " = " + std::string(entry.op) + "\\n" +
            entry.shape.str() + "\"" +
            (entry.inputs.empty() ? ", style=filled, fillcolor=lightgray" : "") + "];\n";
    for (const Index input : entry.inputs) {
      if (input != kNoEntry) text += "  " + value_name(input) + " -> " + name + ";\n";
    }
  }
  return text + "}\n";
}

}  // namespace tapestry
