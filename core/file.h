// Files as Tapestry reads and writes them: whole, with a limit, and never half written under the
// final name.
#ifndef TAPESTRY_CORE_FILE_H_
#define TAPESTRY_CORE_FILE_H_

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

namespace tapestry {

/// A path as messages show it: control characters made visible.
std::string path_text(const std::filesystem::path& file);

/// The bytes of a regular file. Throws Error naming the path and the reason when it is missing, a
/// directory, unreadable, or longer than `limit` bytes; with Fault::kEnvironment when memory does
/// not suffice.
std::string read_file(const std::filesystem::path& file, std::size_t limit);

/// Writes a file so that a reader, a crash or a power cut sees the old contents or the new, never a
/// part: a temporary file beside it, fsync, rename. Makes missing folders. Throws Error with
/// Fault::kEnvironment, path and reason; then the old file is untouched.
void write_file(const std::filesystem::path& file, std::string_view contents);

}  // namespace tapestry

#endif  // TAPESTRY_CORE_FILE_H_
