// JSON values that know where they stand in a file: a small tree of our own, so that errors can
// name file, line and path.
#ifndef TAPESTRY_CORE_JSON_H_
#define TAPESTRY_CORE_JSON_H_

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tapestry {

/// A JSON value. Objects keep the order of their keys. Whole numbers are those written without
/// point and exponent.
class Json {
 public:
  enum class Kind { kNull, kBool, kInteger, kNumber, kString, kArray, kObject };
  using Member = std::pair<std::string, Json>;

  Json() = default;
  Json(bool value) : kind_(Kind::kBool), integer_(value) {}    // NOLINT: literals read well
  Json(int value) : kind_(Kind::kInteger), integer_(value) {}  // NOLINT
  Json(std::int64_t value) : kind_(Kind::kInteger), integer_(value) {}  // NOLINT
  Json(double value) : kind_(Kind::kNumber), number_(value) {}          // NOLINT
  Json(float value);                                                    // NOLINT: 0.1f becomes 0.1
  Json(std::string value) : kind_(Kind::kString), text_(std::move(value)) {}  // NOLINT
  Json(const char* value) : kind_(Kind::kString), text_(value) {}             // NOLINT
  static Json array(std::vector<Json> items = {});
  static Json object(std::vector<Member> members = {});

  Kind kind() const { return kind_; }
  bool is_null() const { return kind_ == Kind::kNull; }
  bool is_bool() const { return kind_ == Kind::kBool; }
  bool is_integer() const { return kind_ == Kind::kInteger; }
  bool is_number() const { return kind_ == Kind::kInteger || kind_ == Kind::kNumber; }
  bool is_string() const { return kind_ == Kind::kString; }
  bool is_array() const { return kind_ == Kind::kArray; }
  bool is_object() const { return kind_ == Kind::kObject; }

  bool boolean() const { return integer_ != 0; }
  std::int64_t integer() const { return integer_; }
  double number() const {
    return kind_ == Kind::kInteger ? static_cast<double>(integer_) : number_;
  }
  const std::string& text() const { return text_; }
  const std::vector<Json>& items() const { return items_; }
  std::vector<Json>& items() { return items_; }
  const std::vector<Member>& members() const { return members_; }
  std::vector<Member>& members() { return members_; }
  /// The member called `key`, or nullptr.
  const Json* find(std::string_view key) const;
  Json* find(std::string_view key);
  /// Appends or replaces a member.
  Json& set(std::string_view key, Json value);
  void push(Json value) { items_.push_back(std::move(value)); }

  /// Where it was read: "file.json:31", "--set model.norm=x", or "" when made by the program.
  const std::string& origin() const { return origin_; }
  void set_origin(std::string origin) { origin_ = std::move(origin); }

  /// Same kind and contents; whole numbers equal other numbers of the same value; order of keys and
  /// origin do not count.
  bool operator==(const Json& other) const;

  /// JSON text. `indent` ≥ 0 breaks lines, short arrays and objects of plain values stay on one.
  /// Numbers are written in their shortest exact form.
  std::string dump(int indent = 2) const;

 private:
  void dump_to(std::string& out, int indent, int depth) const;
  bool fits_on_a_line() const;

  Kind kind_ = Kind::kNull;
  std::int64_t integer_ = 0;
  double number_ = 0;
  std::string text_;
  std::vector<Json> items_;
  std::vector<Member> members_;
  std::string origin_;
};

/// Parses text. Allowed beyond the standard: // and /* */ comments. Refused: duplicate keys, more
/// than 64 levels, more than 1 MiB, numbers beyond a double. Throws Error with "name:line: …".
Json parse_json(std::string_view text, const std::string& name);
/// Reads and parses a file.
Json load_json(const std::filesystem::path& file);

/// `changes` laid over `base`: objects merge key by key, everything else replaces.
void merge(Json& base, const Json& changes);
/// Paths whose values differ, each with both values in JSON ("–" for absent): what `tapestry config
/// A --diff B` prints.
struct Difference {
  std::string path, before, after;
};
std::vector<Difference> differences(const Json& before, const Json& after);

/// The value at a dotted path like "model.generator.blocks[2].width"; nullptr when there is none.
const Json* find_path(const Json& root, std::string_view path);
/// Sets it, making missing objects on the way. Throws Error when the path leads through a value
/// that is not an object or past the end of an array.
void set_path(Json& root, std::string_view path, Json value);
/// `text` as JSON if it is JSON, else as a string: how values on the command line are meant.
Json parse_loosely(std::string_view text);

}  // namespace tapestry

#endif  // TAPESTRY_CORE_JSON_H_
