#include "core/checkpoint.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "core/file.h"
#include "core/json.h"
#include "core/random.h"
#include "tests/support/errors.h"
#include "tests/support/temp_folder.h"

using namespace tapestry;
using testing::contains;
using testing::error_of;

namespace {

/// A safetensors file with the given header and data, whatever they hold.
std::string raw(const std::string& header, const std::string& data = "") {
  const std::uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), 8) + header + data;
}

template <class T>
std::string bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

std::vector<Real> one(const std::string& type, const std::string& data, std::size_t count) {
  const std::string header = R"({"x":{"dtype":")" + type + R"(","shape":[)" +
                             std::to_string(count) + R"(],"data_offsets":[0,)" +
                             std::to_string(data.size()) + "]}}";
  const Checkpoint checkpoint = parse_checkpoint(raw(header, data), "t");
  REQUIRE(checkpoint.tensors.size() == 1);
  CHECK(checkpoint.tensors[0].name == "x");
  const auto values = checkpoint.tensors[0].value.data();
  return {values.begin(), values.end()};
}

Checkpoint sample() {
  Rng rng(5);
  Checkpoint checkpoint;
  checkpoint.tensors = {{"0.weight", rng.normal({3, 2, 4, 4})},
                        {"1.running_var", rng.uniform({3})},
                        {"1.num_batches_tracked", Tensor::scalar(12345)},
                        {"empty", Tensor::zeros({0, 7})},
                        {"scalar", Tensor::scalar(Real(-0.5))}};
  checkpoint.texts = {{"config", "{\"a\": \"\\n\"}"}, {"note", "Größe \t\"x\""}};
  return checkpoint;
}

bool equal(const Checkpoint& a, const Checkpoint& b) {
  if (a.texts != b.texts || a.tensors.size() != b.tensors.size()) return false;
  for (std::size_t i = 0; i < a.tensors.size(); ++i) {
    const Tensor &x = a.tensors[i].value, &y = b.tensors[i].value;
    if (a.tensors[i].name != b.tensors[i].name || !(x.shape() == y.shape())) return false;
    if (std::memcmp(x.data().data(), y.data().data(), x.data().size_bytes()) != 0) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("checkpoint: tensors and texts come back bit by bit") {
  const testing::TempFolder folder;
  const Checkpoint before = sample();
  save_checkpoint(before, folder.path() / "runs" / "a.safetensors");
  const Checkpoint after = load_checkpoint(folder.path() / "runs" / "a.safetensors");
  CHECK(equal(before, after));
  CHECK(after.find("scalar")->item() == Real(-0.5));
  CHECK(after.find("nothing") == nullptr);
  CHECK(after.text("note") == "Größe \t\"x\"");
  CHECK(contains(error_of([&] { after.text("x"); }), "there is no text \"x\""));
  Checkpoint combined;
  combined.add("ema.", after.tensors);
  CHECK(combined.below("ema.").size() == 5);
  CHECK(combined.below("ema.0.")[0].name == "weight");
}

// The layout as the format's description has it, read without our reader.
TEST_CASE("checkpoint: the file is what safetensors says it is") {
  const std::string bytes = checkpoint_bytes(sample());
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  CHECK(length % 8 == 0);
  const Json header = parse_json(bytes.substr(8, length), "header");
  CHECK(header.find("__metadata__")->find("note")->text() == "Größe \t\"x\"");
  const Json& counter = *header.find("1.num_batches_tracked");
  CHECK(counter.find("dtype")->text() == "I64");
  CHECK(counter.find("shape")->items().empty());
  std::int64_t value = 0;
  const auto begin = static_cast<std::size_t>(counter.find("data_offsets")->items()[0].integer());
  std::memcpy(&value, bytes.data() + 8 + length + begin, 8);
  CHECK(value == 12345);
  const Json& weight = *header.find("0.weight");
  CHECK(weight.find("dtype")->text() == (sizeof(Real) == 4 ? "F32" : "F64"));
  CHECK(weight.find("data_offsets")->items()[0].integer() == 0);
  Real first = 0;
  std::memcpy(&first, bytes.data() + 8 + length, sizeof first);
  CHECK(first == sample().tensors[0].value.data()[0]);
  const Json& last = *header.find("scalar");
  CHECK(8 + length + static_cast<std::size_t>(last.find("data_offsets")->items()[1].integer()) ==
        bytes.size());
}

TEST_CASE("checkpoint: every number type is converted") {
  CHECK(one("F64", bytes_of<double>({0.5, -3}), 2) == std::vector<Real>{0.5, -3});
  CHECK(one("F32", bytes_of<float>({0.25F, -7}), 2) == std::vector<Real>{0.25, -7});
  CHECK(one("I64", bytes_of<std::int64_t>({-9, 1 << 20}), 2) == std::vector<Real>{-9, 1 << 20});
  CHECK(one("I32", bytes_of<std::int32_t>({-9, 65536}), 2) == std::vector<Real>{-9, 65536});
  CHECK(one("U8", "\x7F\xFF", 2) == std::vector<Real>{127, 255});
  CHECK(one("BOOL", std::string("\0\1", 2), 2) == std::vector<Real>{0, 1});
  CHECK(one("BF16", bytes_of<std::uint16_t>({0x3F80, 0xC040}), 2) == std::vector<Real>{1, -3});
  // Half precision: 1, −2, the largest, the least normal, the least subnormal, both zeros.
  const std::vector<Real> half = one(
      "F16", bytes_of<std::uint16_t>({0x3C00, 0xC000, 0x7BFF, 0x0400, 0x0001, 0x8001, 0x8000}), 7);
  CHECK(half == std::vector<Real>{1, -2, 65504, Real(0x1p-14), Real(0x1p-24), Real(-0x1p-24), 0});
  CHECK(std::signbit(half[6]));
  const std::vector<Real> odd = one("F16", bytes_of<std::uint16_t>({0x7C00, 0xFC00, 0x7E00}), 3);
  CHECK(odd[0] == std::numeric_limits<Real>::infinity());
  CHECK(odd[1] == -std::numeric_limits<Real>::infinity());
  CHECK(std::isnan(odd[2]));
}

TEST_CASE("checkpoint: whatever is wrong with a file is told, before memory is taken") {
  const auto entry = [](const std::string& shape, const std::string& offsets,
                        const std::string& type = "F32") {
    return R"({"w":{"dtype":")" + type + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets +
           "}}";
  };
  const std::string four(4, 'x'), eight(8, 'x');
  const struct {
    std::string bytes, message;
  } cases[] = {
      {"", "is no safetensors file: 0 bytes"},
      {"1234567", "7 bytes, at least 8 are needed"},
      {std::string(8, '\xFF'), "its header would be 18446744073709551615 bytes long"},
      {bytes_of<std::uint64_t>({100'000'001}), "at most 100 MB"},
      {bytes_of<std::uint64_t>({50}) + "{}",
       "is truncated: the header ends at byte 58, the file at 10"},
      {raw("[]"), "does not begin with '{'"},
      {raw(""), "does not begin with '{'"},
      {raw("{"), "the header is not JSON at byte"},
      {raw("{} x"), "the header is not JSON"},
      {raw(entry("[1]", "[0,4]")), "the file is truncated: its numbers end at byte"},
      {raw(entry("[1]", "[0,4]"), eight), "has 4 bytes behind the last tensor"},
      {raw(entry("[1]", "[4,8]"), eight), "begin at 4, where 0 was expected"},
      {raw(entry("[2]", "[0,4]"), four), "span 4 bytes, its shape and type need 8"},
      {raw(entry("[1]", "[4,0]"), four), "begin at 4, where 0"},
      {raw(entry("[1]", "[0]"), four), "two data_offsets"},
      {raw(entry("[1]", "[0,4,8]"), four), "two data_offsets"},
      {raw(entry("[-1]", "[0,4]"), four), "has a negative number"},
      {raw(entry("[1.5]", "[0,4]"), four), "has a fraction"},
      {raw(entry("[18446744073709551615]", "[0,4]"), four), "a number where none belongs"},
      // 4194305² · 211106198978564 is 4 in 64 bits.
      {raw(entry("[4194305,4194305,211106198978564]", "[0,16]"), eight + eight),
       "its shape overflows 64 bits"},
      {raw(entry("[1073741824,1073741824]", "[0,4611686018427387904]"), four),
       "the file is truncated"},
      {raw(entry("[1,1,1,1,1,1,1]", "[0,4]"), four), "it has 7 axes, at most 6 are supported"},
      {raw(entry("[[1]]", "[0,4]"), four), "a list where none belongs"},
      {raw(entry("{}", "[0,4]"), four), "nested too deeply"},
      {raw(entry("null", "[0,4]"), four), "has a null"},
      {raw(entry("[1]", "[0,4]", "F8"), four), "has the type F8; known are F64, F32"},
      {raw(R"({"w":{"dtype":"F32","shape":[1]}})", four), "needs dtype, shape"},
      {raw(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":[]}})", four),
       "the unknown field \"x\""},
      {raw(R"({"w":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}})", four),
       "the field \"dtype\" twice"},
      {raw(R"({"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"w":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
           "ab"),
       "tensor \"w\": the name stands twice"},
      {raw(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
           "abc"),
       "begin at 1, where 2 was expected"},
      {raw(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}})",
           "abc"),
       "holes and overlaps are not allowed"},
      {raw(R"({"__metadata__":{"a":1}})"), "a number where none belongs"},
      {raw(R"({"__metadata__":{"a":"1","a":"2"}})"), "the text \"a\" stands twice"},
      {raw(R"({"__metadata__":"a"})"), "a text where none belongs"},
      {raw("{\"a\\u001b[2J\":5}"), "tensor \"a\\x1b[2J\""},
      {raw("{\"a\":" + std::string(100'000, '[')), "a list where none belongs"},
  };
  for (const auto& item : cases) {
    const std::string error = error_of([&] { parse_checkpoint(item.bytes, "f.st"); });
    INFO("wanted: " << item.message << "\n   got: " << error);
    CHECK(contains(error, item.message));
    CHECK(error.starts_with("f.st: "));
  }
}

TEST_CASE(
    "checkpoint: no truncation and no flipped bit of the header gets through as something else") {
  const Checkpoint before = sample();
  const std::string good = checkpoint_bytes(before);
  for (std::size_t length = 0; length < good.size(); ++length) {
    REQUIRE(!error_of([&] { parse_checkpoint(good.substr(0, length), "t"); }).empty());
  }
  CHECK(!error_of([&] { parse_checkpoint(good + "x", "t"); }).empty());
  std::uint64_t header = 0;
  std::memcpy(&header, good.data(), 8);
  int refused = 0;
  for (std::size_t at = 0; at < 8 + header; ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string bad = good;
      bad[at] = static_cast<char>(bad[at] ^ (1 << bit));
      // Names, texts and blanks may change; sizes must still add up, which the reader checks.
      refused += !error_of([&] { parse_checkpoint(bad, "t"); }).empty();
    }
  }
  CHECK(refused > static_cast<int>(header) * 4);
}

TEST_CASE("checkpoint: what could not be read again is not written") {
  const testing::TempFolder folder;
  const auto file = folder.path() / "x.safetensors";
  save_checkpoint(sample(), file);
  const std::string good = read_file(file, 1 << 20);
  const auto fails = [&](const Checkpoint& bad, const std::string& message) {
    CHECK(contains(error_of([&] { save_checkpoint(bad, file); }), message));
    CHECK(read_file(file, 1 << 20) == good);
  };
  fails({{{"a", Tensor::zeros({1})}, {"a", Tensor::zeros({1})}}, {}},
        "two tensors are called \"a\"");
  fails({{}, {{"path", "caf\xE9"}}}, "is not UTF-8");
  const Real nan = std::numeric_limits<Real>::quiet_NaN();
  fails({{{"bn.num_batches_tracked", Tensor::scalar(nan)}}, {}},
        "the counter \"bn.num_batches_tracked\" is nan");
}
