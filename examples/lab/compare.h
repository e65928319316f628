// A grid of runs with everything shared that can be shared, and the page that sets them side by
// side.
#ifndef TAPESTRY_EXAMPLES_LAB_COMPARE_H_
#define TAPESTRY_EXAMPLES_LAB_COMPARE_H_

#include <filesystem>
#include <string>
#include <vector>

#include "core/json.h"
#include "examples/lab/report.h"
#include "examples/lab/settings.h"

namespace tapestry::lab {

/// One combination of grid values.
struct Cell {
  std::string name;  // its differences: "norm=batch" or "norm=batch,batch=16"
  std::vector<std::pair<std::string, Json>> values;  // path and value
};
/// The cells of a grid in order: the last axis varies fastest.
std::vector<Cell> cells_of(const CompareSetting& setting);

struct CompareOptions {
  std::string command = {};
  bool quiet = false, overwrite = false;
};

/// Trains every cell with every seed, the seed outermost: after one pass every cell has a curve,
/// and an interrupted comparison is already a fair one. Writes report.html, table.csv and
/// compare.json into `folder` after each run. Finished runs of the same config are kept,
/// interrupted ones go on, diverged ones count as results. `json` is the config before reading, so
/// that grid paths can be set in it. Throws Error, before anything runs, when a cell's config is
/// wrong.
RunStatus run_comparison(const Json& json, const std::filesystem::path& config_folder,
                         const std::filesystem::path& folder, const CompareOptions& options);

/// The page of a comparison's folder, from its runs.
Comparison load_comparison(const std::filesystem::path& folder);

}  // namespace tapestry::lab

#endif  // TAPESTRY_EXAMPLES_LAB_COMPARE_H_
