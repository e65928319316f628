#include "core/tensor.h"

#include <sstream>

#include <doctest/doctest.h>

#include "core/ops/arithmetic.h"
#include "tests/support/gradcheck.h"

namespace tapestry::testing {

TEST_CASE("tensor: making and reading") {
  const Tensor x = Tensor::from({1, 2, 3, 4, 5, 6}, {2, 3});
  CHECK(x.shape() == Shape{2, 3});
  CHECK(x.rank() == 2);
  CHECK(x.dim(-1) == 3);
  CHECK(x.size() == 6);
  CHECK(x.to_vector() == std::vector<Real>{1, 2, 3, 4, 5, 6});
  CHECK(Tensor::zeros({2}).to_vector() == std::vector<Real>{0, 0});
  CHECK(Tensor::ones({}).item() == 1);
  CHECK(Tensor::scalar(3).rank() == 0);
  CHECK(Tensor::full({1, 1}, 7).item() == 7);
  CHECK(Tensor::empty({0, 3}).size() == 0);
  CHECK(Tensor::from({}, {0}).to_vector().empty());
}

TEST_CASE("tensor: handles share, clones do not, detached ones share numbers only") {
  Tensor x = Tensor::from({1, 2}, {2});
  x.set_requires_grad().set_name("x");
  const Tensor handle = x, copy = x.clone(), plain = x.detach(), tail = x.view({1}, 1);
  CHECK(handle.is(x));
  CHECK(!plain.is(x));
  CHECK(plain.name() == "");
  CHECK(!plain.requires_grad());
  CHECK(!copy.requires_grad());
  CHECK(handle.requires_grad());
  x.mutable_data()[1] = 9;
  CHECK(handle.data()[1] == 9);
  CHECK(plain.data()[1] == 9);
  CHECK(tail.item() == 9);
  CHECK(copy.data()[1] == 2);
}

TEST_CASE("tensor: every request to write is counted, by all views") {
  Tensor x = Tensor::zeros({4});
  const Tensor view = x.view({2, 2});
  const std::uint64_t before = view.version();
  x.mutable_data();
  CHECK(view.version() == before + 1);
  CHECK(x.version() == view.version());
  CHECK(x.clone().version() != before + 1);
}

TEST_CASE("tensor: misuse is explained") {
  CHECK(error_text([] { (void)Tensor().shape(); }) ==
        "tensor: an undefined Tensor has no shape and no numbers\n"
        "  hint  was it default-constructed, moved from, or is it an optional argument that was "
        "left out?");
  CHECK(!Tensor().defined());
  CHECK(error_text([] {
          Tensor::from({1, 2, 3}, {2, 2});
        }) == "Tensor::from: 3 numbers do not fill [2, 2], which has 4");
  CHECK(error_text([] {
          (void)Tensor::ones({2, 3}).item();
        }) ==
        "item: only a tensor with one element is a number, this one has 6\n"
        "  tensor  [2, 3]\n"
        "  hint    reduce it first, for example with sum() or mean()");
  CHECK(error_text([] { (void)Tensor::ones({4}).view({3}, 2); }) ==
        "view: 3 elements from position 2 do not fit\n  tensor  [4]");
  CHECK(error_text([] { (void)Tensor::ones({4}).view({3}, -1); }) != "");
  CHECK(error_text([] { Tensor() + Tensor::ones({2}); }).find("undefined") != std::string::npos);
}

TEST_CASE("tensor: more memory than there is, is an error and not a crash") {
  for (const int bits : {47, 60, 62}) {
    const std::string text = error_text([&] { Tensor::ones({std::int64_t{1} << bits}); });
    CHECK(text.find("memory: the system has no ") == 0);
  }
}

TEST_CASE("tensor: printing") {
  const auto text = [](const Tensor& x) {
    std::ostringstream out;
    out << x;
    return out.str();
  };
  CHECK(text(Tensor()) == "Tensor(undefined)");
  CHECK(text(Tensor::scalar(2.5)) == "Tensor[] 2.5");
  CHECK(text(Tensor::from({1, 2}, {2})) == "Tensor[2] [1, 2]");
  CHECK(text(Tensor::from({1, 2, 3, 4}, {2, 2})) == "Tensor[2, 2] \n[[1, 2],\n [3, 4]]");
  CHECK(text(Tensor::empty({0})) == "Tensor[0] []");
  CHECK(text(Tensor::from({0, 1, 2, 3, 4, 5, 6, 7}, {8})) == "Tensor[8] [0, 1, 2, …, 5, 6, 7]");
}

TEST_CASE("tensor: equal bits have equal hashes") {
  const Tensor a = Tensor::from({1, 2}, {2}), b = Tensor::from({1, 2}, {2}),
               c = Tensor::from({2, 1}, {2});
  const auto of = [](const std::vector<Tensor>& tensors) { return hash(tensors); };
  CHECK(of({a}) == of({b}));
  CHECK(of({a}) != of({c}));
  CHECK(of({a, c}) != of({c, a}));
  CHECK(of({Tensor::from({0}, {1})}) != of({Tensor::from({Real(-0.0)}, {1})}));
}

}  // namespace tapestry::testing
