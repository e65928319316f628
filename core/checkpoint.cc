#include "core/checkpoint.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <set>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "core/text.h"

namespace tapestry {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

constexpr std::uint64_t kMaxHeader = 100'000'000;  // the reference implementation's limit
constexpr std::size_t kMaxFile = std::size_t{16} << 30;

struct Type {
  std::string_view name;
  std::size_t bytes;
};
constexpr Type kTypes[] = {{"F64", 8}, {"F32", 4}, {"F16", 2}, {"BF16", 2},
                           {"I64", 8}, {"I32", 4}, {"U8", 1},  {"BOOL", 1}};

template <class T>
T load(const char* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

/// IEEE half precision: 1 sign, 5 exponent and 10 fraction bits.
float half(std::uint16_t bits) {
  const std::uint32_t sign = std::uint32_t{bits & 0x8000U} << 16, exponent = (bits >> 10) & 31U,
                      fraction = bits & 1023U;
  if (exponent == 0)
    return std::bit_cast<float>(sign) +
           (sign ? -1.0F : 1.0F) * static_cast<float>(fraction) * 0x1p-24F;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7F800000U | fraction << 13);
  return std::bit_cast<float>(sign | (exponent + 112) << 23 | fraction << 13);
}

double number_at(std::string_view type, const char* at) {
  if (type == "F64") return load<double>(at);
  if (type == "F32") return load<float>(at);
  if (type == "F16") return half(load<std::uint16_t>(at));
  if (type == "BF16") return std::bit_cast<float>(std::uint32_t{load<std::uint16_t>(at)} << 16);
  if (type == "I64") return static_cast<double>(load<std::int64_t>(at));
  if (type == "I32") return load<std::int32_t>(at);
  return load<std::uint8_t>(at);
}

struct Entry {
  std::string name;
  const Type* type = nullptr;
  std::vector<std::int64_t> extents;
  std::uint64_t begin = 0, end = 0;
};

/// Walks the header without building a tree: depth is at most four, so hostile nesting goes
/// nowhere.
class HeaderReader final : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit HeaderReader(std::string file) : file_(std::move(file)) {}
  std::vector<Entry> entries;
  std::map<std::string, std::string> texts;

  bool key(string_t& value) override {
    if (depth_ == 1) {
      if (!names_.insert(value).second) fail("the name stands twice", value);
      name_ = value;
      in_texts_ = value == "__metadata__";
    } else if (in_texts_) {
      if (texts.count(value) != 0) fail("the text \"" + printable(value) + "\" stands twice");
      field_ = value;
    } else {
      if (value != "dtype" && value != "shape" && value != "data_offsets")
        fail("has the unknown field \"" + printable(value) + "\"");
      if (!fields_.insert(value).second) fail("has the field \"" + value + "\" twice");
      field_ = value;
    }
    return true;
  }
  bool start_object(std::size_t) override {
    if (depth_ >= 2 || in_list_) fail("is nested too deeply");
    if (++depth_ == 2) {
      fields_.clear();
      offsets_.clear();
      current_ = Entry();
      current_.name = name_;
    }
    return true;
  }
  bool end_object() override {
    if (depth_-- == 2 && !in_texts_) {
      if (fields_.size() != 3 || offsets_.size() != 2)
        fail("needs dtype, shape and two data_offsets");
      current_.begin = offsets_[0];
      current_.end = offsets_[1];
      entries.push_back(std::move(current_));
    }
    return true;
  }
  bool start_array(std::size_t) override {
    if (depth_ != 2 || in_texts_ || in_list_ || field_ == "dtype")
      fail("has a list where none belongs");
    in_list_ = true;
    return true;
  }
  bool end_array() override {
    in_list_ = false;
    return true;
  }
  bool number_unsigned(number_unsigned_t value) override {
    if (!in_list_ || value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
      fail("has a number where none belongs");
    if (field_ == "shape") {
      current_.extents.push_back(static_cast<std::int64_t>(value));
    } else {
      offsets_.push_back(value);
    }
    return true;
  }
  bool string(string_t& value) override {
    if (depth_ == 2 && in_texts_) {
      texts[field_] = value;
      return true;
    }
    if (depth_ != 2 || in_list_ || field_ != "dtype") fail("has a text where none belongs");
    const auto type = std::find_if(std::begin(kTypes), std::end(kTypes),
                                   [&](const Type& t) { return t.name == value; });
    if (type == std::end(kTypes))
      fail("has the type " + printable(value) +
           "; known are F64, F32, F16, BF16, I64, I32, U8, BOOL");
    current_.type = type;
    return true;
  }
  bool number_integer(number_integer_t) override { fail("has a negative number"); }
  bool number_float(number_float_t, const string_t&) override {
    fail("has a fraction where a whole number belongs");
  }
  bool null() override { fail("has a null"); }
  bool boolean(bool) override { fail("has a true or false"); }
  bool binary(binary_t&) override { fail("has binary data"); }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    throw Error(file_, "the header is not JSON at byte {}", position + 8);
  }

 private:
  [[noreturn]] void fail(const std::string& problem, const std::string& name) const {
    throw Error(file_, "tensor \"{}\": {}", printable(name), problem);
  }
  [[noreturn]] void fail(const std::string& problem) const { fail(problem, name_); }

  std::string file_, name_, field_;
  std::set<std::string> names_, fields_;
  std::vector<std::uint64_t> offsets_;
  Entry current_;
  int depth_ = 0;
  bool in_texts_ = false, in_list_ = false;
};

bool is_counter(std::string_view name) { return name.ends_with("num_batches_tracked"); }

}  // namespace

const Tensor* Checkpoint::find(std::string_view name) const {
  for (const Named<Tensor>& entry : tensors) {
    if (entry.name == name) return &entry.value;
  }
  return nullptr;
}

const std::string& Checkpoint::text(const std::string& name) const {
  const auto found = texts.find(name);
  if (found == texts.end()) throw Error("checkpoint", "there is no text \"{}\" in it", name);
  return found->second;
}

void Checkpoint::add(const std::string& prefix, const std::vector<Named<Tensor>>& more) {
  for (const Named<Tensor>& entry : more) tensors.push_back({prefix + entry.name, entry.value});
}

std::vector<Named<Tensor>> Checkpoint::below(const std::string& prefix) const {
  std::vector<Named<Tensor>> result;
  for (const Named<Tensor>& entry : tensors) {
    if (entry.name.starts_with(prefix))
      result.push_back({entry.name.substr(prefix.size()), entry.value});
  }
  return result;
}

std::string checkpoint_bytes(const Checkpoint& checkpoint) {
  Json header = Json::object();
  if (!checkpoint.texts.empty()) {
    Json texts = Json::object();
    for (const auto& [name, text] : checkpoint.texts) texts.set(name, text);
    header.set("__metadata__", std::move(texts));
  }
  std::int64_t offset = 0;
  for (const Named<Tensor>& entry : checkpoint.tensors) {
    if (header.find(entry.name) != nullptr)
      throw Error("checkpoint", "two tensors are called \"{}\"", entry.name);
    Json shape = Json::array();
    for (const std::int64_t extent : entry.value.shape()) shape.push(extent);
    const std::int64_t bytes =
        entry.value.size() * static_cast<std::int64_t>(is_counter(entry.name) ? 8 : sizeof(Real));
    header.set(entry.name, Json::object({{"dtype", is_counter(entry.name) ? "I64"
                                                   : kDouble              ? "F64"
                                                                          : "F32"},
                                         {"shape", std::move(shape)},
                                         {"data_offsets", Json::array({offset, offset + bytes})}}));
    offset += bytes;
  }
  std::string text = header.dump(-1);
  if (!is_utf8(text)) throw Error("checkpoint", "a name or text in it is not UTF-8");
  if (text.size() > kMaxHeader - 8)
    throw Error("checkpoint", "its names and texts take {} bytes; at most 100 MB can be read again",
                text.size());
  text.resize((text.size() + 7) / 8 * 8,
              ' ');  // keeps the numbers aligned, as the reference writer does
  const std::uint64_t length = text.size();
  std::string bytes(reinterpret_cast<const char*>(&length), sizeof length);
  bytes += text;
  bytes.reserve(bytes.size() + static_cast<std::size_t>(offset));
  for (const Named<Tensor>& entry : checkpoint.tensors) {
    if (is_counter(entry.name)) {
      for (const Real value : entry.value.data()) {
        if (!(std::abs(value) < 0x1p63))
          throw Error("checkpoint", "the counter \"{}\" is {}", entry.name, value);
        const std::int64_t whole = static_cast<std::int64_t>(value);
        bytes.append(reinterpret_cast<const char*>(&whole), sizeof whole);
      }
    } else {
      bytes.append(reinterpret_cast<const char*>(entry.value.data().data()),
                   entry.value.data().size_bytes());
    }
  }
  return bytes;
}

void save_checkpoint(const Checkpoint& checkpoint, const std::filesystem::path& file) {
  write_file(file, checkpoint_bytes(checkpoint));
}

Checkpoint parse_checkpoint(std::string_view bytes, const std::string& name) {
  if (bytes.size() < 8)
    throw Error(name, "is no safetensors file: {} bytes, at least 8 are needed", bytes.size());
  const std::uint64_t length = load<std::uint64_t>(bytes.data());
  if (length > kMaxHeader)
    throw Error(
        name,
        "is no safetensors file: its header would be {} bytes long, at most 100 MB are allowed",
        length);
  if (length > bytes.size() - 8) {
    throw Error(name, "is truncated: the header ends at byte {}, the file at {}", length + 8,
                bytes.size());
  }
  const std::string_view header = bytes.substr(8, length), data = bytes.substr(8 + length);
  if (header.empty() || header[0] != '{')
    throw Error(name, "is no safetensors file: the header at byte 8 does not begin with '{'");
  HeaderReader reader(name);
  nlohmann::json::sax_parse(header.begin(), header.end(), &reader);
  std::vector<const Entry*> by_offset;
  for (const Entry& entry : reader.entries) by_offset.push_back(&entry);
  std::sort(by_offset.begin(), by_offset.end(), [](const Entry* a, const Entry* b) {
    return std::pair(a->begin, a->end) < std::pair(b->begin, b->end);
  });
  std::uint64_t expected = 0;
  for (const Entry* entry : by_offset) {
    const auto fail = [&](const std::string& problem) {
      return Error(name, "tensor \"{}\": {}", printable(entry->name), problem);
    };
    std::uint64_t size = entry->type->bytes;
    for (const std::int64_t extent : entry->extents) {
      if (__builtin_mul_overflow(size, static_cast<std::uint64_t>(extent), &size))
        throw fail("its shape overflows 64 bits");
    }
    if (entry->begin != expected)
      throw fail(format(
          "its numbers begin at {}, where {} was expected: holes and overlaps are not allowed",
          entry->begin, expected));
    if (entry->end < entry->begin || entry->end - entry->begin != size) {
      throw fail(format("its offsets span {} bytes, its shape and type need {}",
                        static_cast<std::int64_t>(entry->end - entry->begin), size));
    }
    if (entry->end > data.size()) {
      throw fail(format("the file is truncated: its numbers end at byte {}, the file at {}",
                        entry->end + 8 + length, bytes.size()));
    }
    if (entry->extents.size() > static_cast<std::size_t>(Shape::kMaxRank)) {
      throw fail(format("it has {} axes, at most {} are supported", entry->extents.size(),
                        Shape::kMaxRank));
    }
    expected = entry->end;
  }
  if (expected != data.size())
    throw Error(name, "has {} bytes behind the last tensor", data.size() - expected);

  Checkpoint checkpoint;
  checkpoint.texts = std::move(reader.texts);
  for (const Entry& entry : reader.entries) {
    Tensor tensor = Tensor::empty(Shape(entry.extents));
    const char* from = data.data() + entry.begin;
    std::span<Real> to = tensor.mutable_data();
    if (entry.type->name == (kDouble ? "F64" : "F32")) {
      if (!to.empty()) std::memcpy(to.data(), from, to.size_bytes());
    } else {
      for (std::size_t i = 0; i < to.size(); ++i)
        to[i] = static_cast<Real>(number_at(entry.type->name, from + i * entry.type->bytes));
    }
    checkpoint.tensors.push_back({entry.name, tensor});
  }
  return checkpoint;
}

Checkpoint load_checkpoint(const std::filesystem::path& file) {
  return parse_checkpoint(read_file(file, kMaxFile), path_text(file));
}

}  // namespace tapestry
