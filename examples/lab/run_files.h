// The files of a run folder: what is written while training, and read again for reports.
#ifndef TAPESTRY_EXAMPLES_LAB_RUN_FILES_H_
#define TAPESTRY_EXAMPLES_LAB_RUN_FILES_H_

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "examples/lab/report.h"
#include "examples/lab/task.h"

namespace tapestry::lab {

/// One layer at one step.
struct LayerFigures {
  std::string path, kind;          // "generator.0.conv", "ConvTranspose2d"
  double mean = 0, deviation = 0;  // of what the layer puts out
  double dead = 0;                 // share of channels that are 0 for the whole batch
  double gradient = kMissing;      // norm of the gradient of its parameters in the last step
};

class RunFiles {
 public:
  explicit RunFiles(std::filesystem::path run_folder) : folder(std::move(run_folder)) {}
  const std::filesystem::path folder;

  void write(const std::string& name, std::string_view contents) const;
  void add_losses(std::int64_t step, double seconds, const Figures& losses) const;
  void add_evaluation(std::int64_t step, const Figures& figures) const;
  void add_layers(std::int64_t step, const std::vector<LayerFigures>& layers) const;
  /// Picture number `place` of a sheet; the label is kept in the file's name.
  void write_picture(const std::string& folder_name, std::size_t place, const std::string& label,
                     const std::string& png) const;
  void write_environment(const Facts& facts) const;
  void write_figures(const std::vector<FigureInfo>& figures, const std::string& data) const;
  /// Removes what belongs to later steps, before a resumed run writes them again.
  void truncate(std::int64_t step) const;
  /// Removes the files of an earlier run; leaves others alone.
  void clear() const;
};

}  // namespace tapestry::lab

#endif  // TAPESTRY_EXAMPLES_LAB_RUN_FILES_H_
