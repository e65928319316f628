// Checkpoints as safetensors files: 8 bytes of length, a JSON header, raw numbers. PyTorch opens
// them, and the names are PyTorch's.
#ifndef TAPESTRY_CORE_CHECKPOINT_H_
#define TAPESTRY_CORE_CHECKPOINT_H_

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor.h"

namespace tapestry {

/// Named tensors and named texts.
///
/// Tensors are written as F32 (F64 in the double build); those whose name ends in
/// "num_batches_tracked" as I64, which PyTorch's BatchNorm insists on. Read are F64, F32, F16,
/// BF16, I64, I32, U8 and BOOL, converted to Real.
struct Checkpoint {
  std::vector<Named<Tensor>> tensors;
  std::map<std::string, std::string> texts;

  const Tensor* find(std::string_view name) const;
  /// The text called `name`. Throws Error when there is none.
  const std::string& text(const std::string& name) const;
  /// Appends tensors with a prefix before their names.
  void add(const std::string& prefix, const std::vector<Named<Tensor>>& more);
  /// The tensors whose names begin with the prefix, without it.
  std::vector<Named<Tensor>> below(const std::string& prefix) const;
};

/// Writes the file atomically: a crash leaves the old file or the new one. Throws Error when it
/// cannot be written.
void save_checkpoint(const Checkpoint& checkpoint, const std::filesystem::path& file);

/// Reads a file. Everything is checked before memory is taken: header length (at most 100 MB),
/// types, shapes whose product overflows, offsets that leave holes, overlap or end outside the
/// file, names that stand twice. Throws Error naming the file, the tensor and the reason.
Checkpoint load_checkpoint(const std::filesystem::path& file);

/// The same from bytes in memory; `name` stands for the file in errors.
Checkpoint parse_checkpoint(std::string_view bytes, const std::string& name);
std::string checkpoint_bytes(const Checkpoint& checkpoint);

}  // namespace tapestry

#endif  // TAPESTRY_CORE_CHECKPOINT_H_
