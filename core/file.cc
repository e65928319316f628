#include "core/file.h"

#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.h"
#include "core/text.h"

namespace tapestry {
namespace {

/// A file descriptor that closes itself.
class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return number_; }
  /// Closes it now, so that an error (a full network disk) is seen.
  bool close() { return ::close(std::exchange(number_, -1)) == 0; }

 private:
  int number_;
};

[[noreturn]] void fail(const std::filesystem::path& file, std::string_view doing, int code,
                       Fault fault) {
  throw Error(path_text(file), "cannot be {}: {}", doing, std::strerror(code)).fault(fault);
}

}  // namespace

std::string path_text(const std::filesystem::path& file) {
  constexpr std::size_t kLongestPath = 4096;
  return printable(file.string(), kLongestPath);
}

std::string read_file(const std::filesystem::path& file, std::size_t limit) {
  // O_NONBLOCK: opening a FIFO must not hang.
  const Descriptor input(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (input.get() < 0) fail(file, "read", errno, Fault::kInput);
  struct stat info {};
  if (::fstat(input.get(), &info) != 0) fail(file, "read", errno, Fault::kInput);
  if (S_ISDIR(info.st_mode)) fail(file, "read", EISDIR, Fault::kInput);
  if (!S_ISREG(info.st_mode)) throw Error(path_text(file), "is not a regular file");
  if (static_cast<std::size_t>(info.st_size) > limit) {
    throw Error(path_text(file), "is {} bytes long, more than the {} allowed for this kind of file",
                info.st_size, limit);
  }
  std::string contents;
  try {
    contents.resize(static_cast<std::size_t>(info.st_size));
  } catch (const std::bad_alloc&) {
    throw Error(path_text(file), "cannot be read: its {} bytes do not fit into memory",
                info.st_size)
        .fault(Fault::kEnvironment);
  }
  std::size_t done = 0;
  while (done < contents.size()) {
    const ssize_t count = ::read(input.get(), contents.data() + done, contents.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail(file, "read", errno, Fault::kInput);
    if (count == 0) break;  // it shrank meanwhile
    done += static_cast<std::size_t>(count);
  }
  contents.resize(done);
  return contents;
}

void write_file(const std::filesystem::path& file, std::string_view contents) {
  const std::filesystem::path folder = file.has_parent_path() ? file.parent_path() : ".";
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) fail(folder, "made", error.value(), Fault::kEnvironment);
  const std::filesystem::path temporary = file.string() + ".tmp." + std::to_string(::getpid());
  const auto give_up = [&](int code) {
    ::unlink(temporary.c_str());
    fail(file, "written", code, Fault::kEnvironment);
  };
  ::unlink(temporary.c_str());  // left by a process of the same number that was killed
  Descriptor output(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (output.get() < 0) fail(file, "written", errno, Fault::kEnvironment);
  std::size_t done = 0;
  while (done < contents.size()) {
    const ssize_t count = ::write(output.get(), contents.data() + done, contents.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) give_up(errno);
    done += static_cast<std::size_t>(count);
  }
  if (::fsync(output.get()) != 0) give_up(errno);
  if (!output.close()) give_up(errno);
  if (::rename(temporary.c_str(), file.c_str()) != 0) give_up(errno);
  const Descriptor parent(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (parent.get() >= 0)
    ::fsync(parent.get());  // makes the rename itself durable; some file systems refuse, and that
                            // is all right
}

}  // namespace tapestry
