#include "core/error.h"

#include <thread>

#include <doctest/doctest.h>

#include "core/tensor.h"

namespace tapestry {

TEST_CASE("error: sentence, shapes, place and hint, aligned") {
  const Tensor x = Tensor::ones({64, 1, 32, 32});
  const Context model("discriminator", "Sequential"), block("main", "Sequential");
  const Context layer("0", "Conv2d");
  const Error error =
      Error("conv2d", "the weight expects {} input channels, the input has {}", 3, 1)
          .shape("input", x, "(N, C, H, W)")
          .shape("weight", Shape{8, 3, 3, 3}, "(O, C, kH, kW)")
          .hint("build the layer as Conv2d({}, …)", 1);
  CHECK(std::string(error.what()) ==
        "conv2d: the weight expects 3 input channels, the input has 1\n"
        "  input   [64, 1, 32, 32]   (N, C, H, W)\n"
        "  weight  [8, 3, 3, 3]      (O, C, kH, kW)\n"
        "  in      discriminator.main.0 (Conv2d)\n"
        "  hint    build the layer as Conv2d(1, …)");
  CHECK(error.problem() == "the weight expects 3 input channels, the input has 1");
}

TEST_CASE("error: what is left out leaves no trace") {
  CHECK(std::string(Error("op", "nothing else").what()) == "op: nothing else");
  CHECK(std::string(Error("", "no op").what()) == "no op");
  CHECK(std::string(Error("op", "x").shape("bias", Tensor()).what()) == "op: x\n  bias  undefined");
  CHECK(std::string(Error("op", "x").fact("file", "a.png").what()) == "op: x\n  file  a.png");
}

TEST_CASE("error: values as text") {
  CHECK(format("{} {} {} {}", 3, 0.1, true, "text") == "3 0.1 true text");
  CHECK(format("{}", Shape{2, 3}) == "[2, 3]");
  CHECK(format("{}", 1e-20) == "1e-20");
  CHECK(format("{}", 0.5F) == "0.5");
  CHECK(format("no value for {}") == "no value for {}");
  CHECK(format("{}", "{}") == "{}");  // a value is not a pattern
  CHECK(format("{} {}", "{}", 1) == "{} 1");
  CHECK(format("{", 1) == "{");
}

TEST_CASE("error: exit codes") {
  CHECK(Error("op", "x").exit_code() == 2);
  CHECK(Error("op", "x").fault(Fault::kEnvironment).exit_code() == 3);
  CHECK(Error("op", "x").fault(Fault::kDiverged).exit_code() == 4);
  CHECK(Error("op", "x").fault(Fault::kInternal).exit_code() == 5);
}

TEST_CASE("context: paths nest, unnamed steps are skipped, threads do not see each other") {
  CHECK(Context::path() == "");
  CHECK(Context::place() == 0);
  {
    const Context outer("generator", "Generator");
    CHECK(Context::path() == "generator (Generator)");
    const Context unnamed("", "Sequential"), inner("3", "BatchNorm2d");
    CHECK(Context::path() == "generator.3 (BatchNorm2d)");
    std::string other = "?";
    std::thread([&] { other = Context::path(); }).join();
    CHECK(other == "");
    const int place = Context::place();
    CHECK(Context::place() == place);
    CHECK(Context::place_name(place) == "generator.3 (BatchNorm2d)");
    const Context back(place);
    CHECK(Context::path() == "gradient of generator.3 (BatchNorm2d)");
  }
  CHECK(Context::path() == "");
  const Context back(0);
  CHECK(Context::path() == "gradient of an op outside any module");
}

}  // namespace tapestry
