#include "core/file.h"

#include <filesystem>
#include <string>

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/errors.h"
#include "tests/support/temp_folder.h"

using namespace tapestry;
using testing::contains;
using testing::error_of;
using testing::exit_code_of;

namespace {

std::size_t entries(const std::filesystem::path& folder) {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder)) ++count;
  return count;
}

}  // namespace

TEST_CASE("file: what is written is read back, every byte") {
  const testing::TempFolder folder;
  std::string all;
  for (int i = 0; i < 70'000; ++i) all += static_cast<char>(i * 31 + i / 256);
  const auto file = folder.path() / "deep" / "er" / "x.bin";
  write_file(file, all);
  CHECK(read_file(file, 1 << 20) == all);
  write_file(file, "");
  CHECK(read_file(file, 0).empty());
  CHECK(entries(file.parent_path()) == 1);  // no temporary is left
}

TEST_CASE("file: what cannot be read is refused with path and reason, and nothing hangs") {
  const testing::TempFolder folder;
  const auto read = [&](const std::filesystem::path& file) {
    return error_of([&] { read_file(file, 10); });
  };
  CHECK(contains(read(folder.path() / "no"), "/no: cannot be read: No such file or directory"));
  CHECK(contains(read(folder.path()), ": cannot be read: Is a directory"));
  CHECK(contains(read(folder.write("long", "elf letters")),
                 "/long: is 11 bytes long, more than the 10 allowed"));
  const auto fifo = folder.path() / "fifo";
  REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
  CHECK(contains(read(fifo), "is not a regular file"));
  CHECK(contains(read("/dev/zero"), "is not a regular file"));
  CHECK(exit_code_of([&] { read_file("/no/such/file", 1); }) == 2);
  // A file name is somebody else's text: it must not reach the terminal as it is.
  CHECK(contains(read(folder.path() / "\x1b[31m"), "\\x1b[31m: cannot be read"));
}

TEST_CASE("file: when writing fails the old file stays, and nothing else does") {
  const testing::TempFolder folder;
  const auto plain = folder.write("plain", "old");
  // A file where a folder should be.
  CHECK(exit_code_of([&] { write_file(plain / "below", "new"); }) == 3);
  CHECK(read_file(plain, 10) == "old");
  // A folder where the file should be: the rename fails after everything was written.
  folder.write("taken/file", "");
  const std::string error = error_of([&] { write_file(folder.path() / "taken", "new"); });
  CHECK(contains(error, "/taken: cannot be written: Is a directory"));
  CHECK(entries(folder.path()) == 2);
}

TEST_CASE("file: a killed writer leaves the old contents or the new") {
  const testing::TempFolder folder;
  const auto file = folder.path() / "state";
  const std::string a(300'000, 'a'), b(500'000, 'b');
  write_file(file, a);
  int seen_a = 0, seen_b = 0;
  // More rounds, with more time each, on a disk that is slow to sync.
  for (int round = 0; round < 40 || (round < 300 && (seen_a == 0 || seen_b == 0)); ++round) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      for (int i = 0;; ++i) write_file(file, i % 2 == 0 ? b : a);
    }
    ::usleep(static_cast<useconds_t>(500 + 373 * round));
    ::kill(child, SIGKILL);
    int status = 0;
    ::waitpid(child, &status, 0);
    const std::string now = read_file(file, 1 << 20);
    REQUIRE((now == a || now == b));
    (now == a ? seen_a : seen_b) += 1;
  }
  // Else the writer was never killed at work, and the test would show nothing.
  CHECK(seen_a > 0);
  CHECK(seen_b > 0);
}
