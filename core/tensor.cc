#include "core/tensor.h"

#include <algorithm>
#include <cstring>
#include <ostream>

#include "core/error.h"
#include "core/memory.h"

namespace tapestry {

namespace detail {

Storage::Storage(std::int64_t n)
    // Of 2⁶² elements the bytes would wrap around to none; no machine has more than 2⁵⁶.
    : data(static_cast<Real*>(allocate_bytes(
          static_cast<std::size_t>(std::min(n, std::int64_t{1} << 56)) * sizeof(Real)))),
      count(n) {}
Storage::~Storage() { release_bytes(data, static_cast<std::size_t>(count) * sizeof(Real)); }

}  // namespace detail

void Tensor::throw_undefined() {
  throw Error("tensor", "an undefined Tensor has no shape and no numbers")
      .hint(
          "was it default-constructed, moved from, or is it an optional argument that was left "
          "out?");
}

Tensor Tensor::empty(const Shape& shape) {
  auto body = std::make_shared<detail::TensorBody>();
  body->shape = shape;
  body->storage = std::make_shared<detail::Storage>(shape.size());
  return Tensor(std::move(body));
}

Tensor Tensor::full(const Shape& shape, Real value) {
  Tensor result = empty(shape);
  std::fill_n(result.body_->storage->data, result.size(), value);
  return result;
}

Tensor Tensor::from(std::span<const Real> values, const Shape& shape) {
  if (static_cast<std::int64_t>(values.size()) != shape.size()) {
    throw Error("Tensor::from", "{} numbers do not fill {}, which has {}", values.size(), shape,
                shape.size());
  }
  Tensor result = empty(shape);
  std::copy(values.begin(), values.end(), result.body_->storage->data);
  return result;
}

std::span<Real> Tensor::mutable_data() {
  ++body().storage->version;
  body_->storage->origin.reset();
  return {body_->storage->data + body_->offset, static_cast<std::size_t>(size())};
}

Real Tensor::item() const {
  if (size() != 1) {
    throw Error("item", "only a tensor with one element is a number, this one has {}", size())
        .shape("tensor", shape())
        .hint("reduce it first, for example with sum() or mean()");
  }
  return data()[0];
}

Tensor Tensor::view(const Shape& shape, std::int64_t offset) const {
  if (offset < 0 || offset + shape.size() > size()) {
    throw Error("view", "{} elements from position {} do not fit", shape.size(), offset)
        .shape("tensor", *this);
  }
  auto copy = std::make_shared<detail::TensorBody>();
  copy->shape = shape;
  copy->storage = body().storage;
  copy->offset = body().offset + offset;
  return Tensor(std::move(copy));
}

Tensor Tensor::detach() const { return view(shape()); }

Tensor Tensor::clone() const { return from(data(), shape()); }

Tensor& Tensor::set_requires_grad(bool on) {
  body().requires_grad = on;
  return *this;
}

Tensor& Tensor::set_name(std::string name) {
  body().name = std::make_shared<const std::string>(std::move(name));
  return *this;
}

namespace {

void print_axis(std::ostream& out, const Tensor& tensor, int axis, std::int64_t offset,
                int indent) {
  constexpr std::int64_t kShown =
      6;  // per axis; the rest is elided, so that printing a batch stays readable
  const std::int64_t extent = tensor.dim(axis);
  const std::int64_t stride = tensor.shape().product(axis + 1, tensor.rank());
  const bool last = axis == tensor.rank() - 1;
  out << '[';
  for (std::int64_t i = 0; i < extent; ++i) {
    if (i > 0)
      out << (last ? ", " : ",\n" + std::string(static_cast<std::size_t>(indent + 1), ' '));
    if (extent > kShown && i == kShown / 2) {
      out << "…";
      i = extent - kShown / 2 - 1;
    } else if (last) {
      out << tensor.data()[static_cast<std::size_t>(offset + i)];
    } else {
      print_axis(out, tensor, axis + 1, offset + i * stride, indent + 1);
    }
  }
  out << ']';
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const Tensor& tensor) {
  if (!tensor.defined()) return out << "Tensor(undefined)";
  out << "Tensor" << tensor.shape().str() << ' ';
  if (tensor.rank() == 0) return out << tensor.item();
  if (tensor.rank() > 1) out << '\n';
  print_axis(out, tensor, 0, 0, 0);
  return out;
}

std::uint64_t hash(std::span<const Tensor> tensors) {
  std::uint64_t value = 0xcbf29ce484222325;
  for (const Tensor& tensor : tensors) {
    for (const Real number : tensor.data()) {
      unsigned char bytes[sizeof(Real)];
      std::memcpy(bytes, &number, sizeof(Real));
      for (const unsigned char byte : bytes) value = (value ^ byte) * 0x100000001b3;
    }
  }
  return value;
}

}  // namespace tapestry
