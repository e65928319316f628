// Tensor: shape and numbers, and possibly a place on a tape. Mathematics on tensors is free
// functions, in core/ops.
#ifndef TAPESTRY_CORE_TENSOR_H_
#define TAPESTRY_CORE_TENSOR_H_

#include <cstdint>
#include <iosfwd>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/real.h"
#include "core/shape.h"

namespace tapestry {

namespace detail {

/// What a block of numbers follows from: see Note [Computing again].
struct Origin {
  virtual ~Origin() = default;
  /// Writes the numbers, the same bits each time.
  virtual void compute(Real* to) const = 0;
};

/// A block of numbers from the pool, shared by the views of it. `version` counts the times someone
/// asked to write.
struct Storage {
  explicit Storage(std::int64_t count);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;
  Real* data;
  std::int64_t count;
  std::uint64_t version = 0;
  std::weak_ptr<const Origin> origin;  // until someone writes
};

struct TensorBody {
  Shape shape;
  std::shared_ptr<Storage> storage;
  std::int64_t offset = 0;
  std::uint64_t tape = 0;   // the tape this is a value of, 0 for none; see Tape::id_
  std::int32_t index = -1;  // its position there
  bool requires_grad = false;
  std::shared_ptr<const std::string> name;
};

}  // namespace detail

/// A handle to an n-dimensional array of Real, contiguous and row-major. Copying copies the handle,
/// not the numbers.
///
/// Values are immutable once an op has made them: no op writes to its inputs, so reshapes and
/// leading slices share storage without surprises. The only writers are initializers, loaders and
/// optimizers, through mutable_data(), which advances version() so that a tape can tell when a
/// saved value has been overwritten.
class Tensor {
 public:
  /// "No tensor": defined() is false, everything else throws Error.
  Tensor() = default;
  /// Contents unspecified.
  static Tensor empty(const Shape& shape);
  static Tensor full(const Shape& shape, Real value);
  static Tensor zeros(const Shape& shape) { return full(shape, 0); }
  static Tensor ones(const Shape& shape) { return full(shape, 1); }
  /// Copies `values`, row-major. Throws Error when their number is not shape.size().
  static Tensor from(std::span<const Real> values, const Shape& shape);
  static Tensor from(std::initializer_list<Real> values, const Shape& shape) {
    return from(std::span<const Real>(values.begin(), values.size()), shape);
  }
  static Tensor scalar(Real value) { return full({}, value); }

  bool defined() const { return body_ != nullptr; }
  const Shape& shape() const { return body().shape; }
  int rank() const { return body().shape.rank(); }
  /// Extent of an axis; negative axes count from the end.
  std::int64_t dim(int axis) const { return body().shape[axis]; }
  /// Number of elements.
  std::int64_t size() const { return body().shape.size(); }

  std::span<const Real> data() const {
    return {body().storage->data + body().offset, static_cast<std::size_t>(size())};
  }
  /// The numbers, to be written; advances version().
  std::span<Real> mutable_data();
  /// The only number of a tensor of size 1. Throws Error for other sizes.
  Real item() const;
  std::vector<Real> to_vector() const { return {data().begin(), data().end()}; }

  /// The same numbers (shared), with no place on any tape.
  Tensor detach() const;
  /// A copy of the numbers, with no place on any tape.
  Tensor clone() const;
  /// The same numbers under another shape of equal size, with no place on any tape; reshape() is
  /// the differentiable form.
  Tensor view(const Shape& shape, std::int64_t offset = 0) const;

  /// Whether ops on it are recorded by the thread's tape without watch(). True for parameters.
  bool requires_grad() const { return body().requires_grad; }
  Tensor& set_requires_grad(bool on = true);
  /// Counts the writes to the storage, which views share.
  std::uint64_t version() const { return body().storage->version; }
  /// Whether both handles mean the same tensor, not merely equal numbers.
  bool is(const Tensor& other) const { return body_ == other.body_; }
  /// What error messages call it, for example "main.0.weight"; "" when nobody named it.
  std::string_view name() const {
    return body().name ? std::string_view(*body().name) : std::string_view();
  }
  Tensor& set_name(std::string name);

 private:
  friend class Tape;
  friend struct TensorAccess;
  detail::TensorBody& body() const {
    if (!body_) throw_undefined();
    return *body_;
  }
  [[noreturn]] static void throw_undefined();
  explicit Tensor(std::shared_ptr<detail::TensorBody> body) : body_(std::move(body)) {}

  std::shared_ptr<detail::TensorBody> body_;
};

/// A value and what it is called, as in a state dictionary.
template <class T>
struct Named {
  std::string name;
  T value;
};

/// Prints shape and numbers, at most a few per axis.
std::ostream& operator<<(std::ostream& out, const Tensor& tensor);

/// 64-bit FNV-1a over the bytes of the tensors' numbers: equal hashes mean equal bits, in practice.
std::uint64_t hash(std::span<const Tensor> tensors);

}  // namespace tapestry

#endif  // TAPESTRY_CORE_TENSOR_H_
