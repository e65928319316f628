#include "tests/conformance/table.h"

namespace tapestry::conformance {

const Table& table() {
  static const Table all = [] {
    Table made;
    add_elementwise(made);
    add_reductions(made);
    add_movement(made);
    add_linear(made);
    add_norms(made);
    add_conditional_norms(made);
    add_losses(made);
    add_optimizers(made);
    add_recurrent(made);
    return made;
  }();
  return all;
}

}  // namespace tapestry::conformance
