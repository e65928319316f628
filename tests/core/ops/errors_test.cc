// What a user reads after a mistake: every op says its own name, and shows the shapes that it got.
#include "tests/support/errors.h"

#include <doctest/doctest.h>

#include "core/core.h"

namespace tapestry::testing {
namespace {

using Labels = std::vector<std::int32_t>;

struct Mistake {
  const char* op;
  std::function<Tensor()> call;
  const char* shown = "[2, 3]";  // what the message must hold besides the op's name
};

}  // namespace

TEST_CASE("errors: each op names itself and shows a shape") {
  const Tensor x = Tensor::zeros({2, 3}), other = Tensor::zeros({4, 5}), scalar = Tensor::zeros({}),
               images = Tensor::zeros({2, 3, 8, 8}), empty = Tensor::zeros({0, 3}),
               weight = Tensor::zeros({4, 3, 3, 3}), sequence = Tensor::zeros({2, 3, 8}),
               rows = Tensor::zeros({4, 2, 3});
  const Labels outside{0, 9};
  const std::vector<Mistake> mistakes = {
      {"add", [&] { return x + other; }},
      {"div", [&] { return x / other; }},
      {"pow", [&] { return pow(x, other); }},
      {"maximum", [&] { return maximum(x, other); }},
      {"where", [&] { return where(x, other, x); }},
      {"prelu", [&] { return prelu(images, x); }, "[2, 3, 8, 8]"},
      {"clamp", [&] { return clamp(x, 2, 1); }, "2"},
      {"hardtanh", [&] { return hardtanh(x, 2, 1); }, "2"},
      {"softplus", [&] { return softplus(x, 0); }, "beta"},
      {"sum", [&] { return sum(x, {2}); }},
      {"sum",
       [&] {
         return sum(x, {0, -2});
       }},
      {"mean", [&] { return mean(empty); }, "[0, 3]"},
      {"var", [&] { return var(scalar); }, "2 elements"},
      {"max", [&] { return max(x, {2}); }},
      {"min", [&] { return min(empty); }, "[0, 3]"},
      {"prod", [&] { return prod(x, {2}); }},
      {"norm", [&] { return norm(x, {2}); }},
      {"logsumexp", [&] { return logsumexp(x, {2}); }},
      {"center", [&] { return center(x, {2}); }},
      {"argmax", [&] { return argmax(x, 2), x; }},
      {"cumsum", [&] { return cumsum(x, 2); }},
      {"sum_to", [&] { return sum_to(x, Shape{4}); }},
      {"broadcast_to",
       [&] {
         return broadcast_to(x, Shape{2, 4});
       }},
      {"softmax", [&] { return softmax(x, 2); }},
      {"softmax", [&] { return softmax(scalar, 0); }, "[]"},
      {"log_softmax", [&] { return log_softmax(x, -3); }},
      {"reshape", [&] { return reshape(x, Shape{7}); }},
      {"reshape",
       [&] {
         return reshape(x, {4, -1});
       }},
      {"reshape",
       [&] {
         return reshape(x, {-1, -1});
       }},
      {"reshape",
       [&] {
         return reshape(x, {-2, 3});
       }},
      {"unsqueeze", [&] { return unsqueeze(x, {7}); }},
      {"squeeze", [&] { return squeeze(x, {0}); }},
      {"squeeze", [&] { return squeeze(x, {2}); }},
      {"flatten", [&] { return flatten(x, 3); }},
      {"flatten", [&] { return flatten(x, 1, 0); }},
      {"permute", [&] { return permute(x, {0}); }},
      {"permute",
       [&] {
         return permute(x, {0, 0});
       }},
      {"transpose", [&] { return transpose(x, 0, 2); }},
      {"transpose", [&] { return transpose(scalar); }, "[]"},
      {"slice", [&] { return slice(x, 2, {}); }},
      {"slice", [&] { return slice(x, 0, {.step = 0}); }, "step"},
      {"unslice", [&] { return unslice(x, 2, {.end = 1}, 5); }},
      {"unslice", [&] { return unslice(x, 0, {.end = 1}, 5); }},
      {"select", [&] { return select(x, 2, 0); }},
      {"select", [&] { return select(x, 0, 7); }},
      {"concat",
       [&] {
         return concat({x, other}, 0);
       }},
      {"concat",
       [&] {
         return concat({x, x}, 2);
       }},
      {"stack",
       [&] {
         return stack(std::vector<Tensor>{x, other}, 0);
       }},
      {"stack",
       [&] {
         return stack(std::vector<Tensor>{x, x}, 4);
       }},
      {"split",
       [&] {
         return split(x, {1, 1, 1}, 0)[0];
       }},
      {"split", [&] { return split(x, {1}, 2)[0]; }},
      {"chunk", [&] { return chunk(x, 2, 1)[0]; }},
      {"chunk", [&] { return chunk(x, 2, 2)[0]; }},
      {"flip", [&] { return flip(x, {2}); }},
      {"repeat", [&] { return repeat(x, {2}); }},
      {"roll", [&] { return roll(x, 1, 2); }},
      {"tril", [&] { return tril(scalar); }, "[]"},
      {"pad",
       [&] {
         return pad(x, {{3, 3}}, PadMode::kReflect);
       }},
      {"pad",
       [&] {
         return pad(scalar, {{1, 1}});
       },
       "[]"},
      {"pixel_shuffle", [&] { return pixel_shuffle(images, 2); }, "[2, 3, 8, 8]"},
      {"pixel_unshuffle", [&] { return pixel_unshuffle(images, 3); }, "[2, 3, 8, 8]"},
      {"gather_rows", [&] { return gather_rows(x, outside); }},
      {"gather_rows", [&] { return gather_rows(scalar, outside); }, "[]"},
      {"scatter_add_rows", [&] { return scatter_add_rows(x, outside, 3); }},
      {"index_select", [&] { return index_select(x, 1, outside); }},
      {"index_select", [&] { return index_select(x, 2, outside); }},
      {"gather",
       [&] {
         return gather(x, 0, outside, Shape{2, 1});
       }},
      {"gather",
       [&] {
         return gather(x, 2, outside, Shape{2, 1});
       }},
      {"scatter_add",
       [&] {
         return scatter_add(x, 0, outside, Shape{2, 3});
       }},
      {"one_hot", [&] { return one_hot(outside, 5); }, "9"},
      {"one_hot", [&] { return one_hot(outside, 0); }, "0"},
      {"matmul", [&] { return matmul(x, x); }},
      {"matmul",
       [&] {
         return matmul(rows, Tensor::zeros({3, 3, 5}));
       },
       "[4, 2, 3]"},
      {"linear", [&] { return linear(x, other); }},
      {"conv2d", [&] { return conv2d(x, weight); }},
      {"conv2d", [&] { return conv2d(images, weight, {}, {.groups = 2}); }, "[2, 3, 8, 8]"},
      {"conv_transpose2d", [&] { return conv_transpose2d(images, weight); }, "[2, 3, 8, 8]"},
      {"conv1d", [&] { return conv1d(sequence, rows); }, "[2, 3, 8]"},
      {"max_pool2d", [&] { return max_pool2d(images, {.kernel = 9}); }, "[2, 3, 8, 8]"},
      {"avg_pool2d", [&] { return avg_pool2d(images, {.kernel = 0}); }, "[2, 3, 8, 8]"},
      {"upsample", [&] { return upsample(images, 0); }, "[2, 3, 8, 8]"},
      {"normalize", [&] { return normalize(images, per_channel(x.shape())); }, "[2, 3, 8, 8]"},
      {"modulate", [&] { return modulate(images, other, {}); }, "[2, 3, 8, 8]"},
  };
  for (const Mistake& mistake : mistakes) {
    const std::string text = error_of([&] { mistake.call(); });
    CAPTURE(text);
    CHECK(text.rfind(std::string(mistake.op) + ": ", 0) == 0);
    CHECK(text.find(mistake.shown) != std::string::npos);
  }
}

TEST_CASE("errors: a missing axis comes with those that there are") {
  CHECK(error_of([] {
          softmax(Tensor::zeros({2, 3}), 2);
        }) ==
        "softmax: axis 2 does not exist, there are 2\n  input  [2, 3]\n"
        "  hint   axes count from 0 to 1, or from the end from -1 to -2");
}

}  // namespace tapestry::testing
