#include "tests/conformance/run.h"

#include <algorithm>
#include <cctype>
#include <exception>
#include <map>
#include <optional>

#include "core/error.h"
#include "core/ops/arithmetic.h"
#include "core/ops/reduce.h"
#include "core/tape.h"
#include "tests/conformance/compare.h"
#include "tests/conformance/table.h"

namespace tapestry::conformance {
namespace {

using Tensors = std::map<std::string, Tensor>;

/// What is asked of a case, by the names in the file.
class Run {
 public:
  Run(const Case& c, const Function& function) : case_(c), function_(function) {}

  Tensors forward() {
    call(nullptr);
    return found_;
  }

  /// Gradients up to `order`; see the table in tests/goldens/README.md.
  Tensors differentiate(int order) {
    Tape tape;
    const Result result = call(&tape);
    Tensors targets;
    for (const Input& input : case_.inputs) {
      if (!input.differentiable()) continue;
      const auto leaf = result.leaves.find(input.name);
      targets[input.name] = leaf == result.leaves.end() ? inputs_.at(input.name) : leaf->second;
    }
    Tensors values, cotangents;
    for (const Named<Tensor>& output : result.outputs) {
      const Tensor* cotangent = case_.file.find("cot." + output.name);
      if (cotangent == nullptr) continue;
      values["cot." + output.name] = output.value;
      cotangents["cot." + output.name] = order > 1 ? tape.watch(*cotangent) : *cotangent;
    }
    const Tensors inputs = targets;
    for (int level = 1; level <= order; ++level) {
      const std::string number = level == 1 ? "" : std::to_string(level);
      if (level > 1) {
        if (level == 2) targets.insert(cotangents.begin(), cotangents.end());
        cotangents = stored_for(values, "cot" + number + ".", level < order ? &tape : nullptr);
      }
      const Tensors& wrt = level == 3 ? inputs : targets;
      const Tensors gradients = derive(tape, values, cotangents, wrt, level < order);
      values.clear();
      for (const auto& [name, gradient] : gradients) {
        found_["grad" + number + "." + name] = gradient;
        values["cot" + std::to_string(level + 1) + "." + name] = gradient;
      }
    }
    return found_;
  }

 private:
  Result call(Tape* tape) {
    for (const Input& input : case_.inputs) {
      Tensor value = case_.stored("in." + input.name);
      if (tape != nullptr && input.differentiable()) value = tape->watch(value);
      inputs_[input.name] = value;
    }
    const Result result = function_(Call(case_, inputs_));
    for (const Named<Tensor>& output : result.outputs) {
      const bool plain = output.name.starts_with("aux.");
      found_[plain ? output.name : "out." + output.name] = output.value;
    }
    return result;
  }

  /// The cotangents that the file holds for these values.
  Tensors stored_for(const Tensors& values, const std::string& prefix, Tape* tape) {
    Tensors stored;
    for (const auto& [name, value] : values) {
      if (!name.starts_with(prefix)) continue;
      const Tensor& cotangent = case_.stored(name);
      stored[name] = tape != nullptr ? tape->watch(cotangent) : cotangent;
    }
    return stored;
  }

  /// The gradients of Σ⟨cotangent, value⟩.
  static Tensors derive(Tape& tape, const Tensors& values, const Tensors& cotangents,
                        const Tensors& wrt, bool create_graph) {
    Tensor total;
    for (const auto& [name, value] : values) {
      const Tensor& cotangent = cotangents.at(name);
      if (cotangent.shape() != value.shape()) {
        throw Error("conformance", "{} has shape {}, the file expects {}", name.substr(4),
                    value.shape(), cotangent.shape());
      }
      const Tensor term = sum(cotangent * value);
      total = total.defined() ? total + term : term;
    }
    if (!total.defined()) throw BadCase("no cotangent for any output");
    std::vector<Tensor> list;
    for (const auto& [name, tensor] : wrt) list.push_back(tensor);
    const std::vector<Tensor> gradients = tape.gradient(
        total, list, {.create_graph = create_graph, .keep = true, .allow_unused = true});
    Tensors named;
    std::size_t i = 0;
    for (const auto& [name, tensor] : wrt) named[name] = gradients[i++];
    return named;
  }

  const Case& case_;
  const Function& function_;
  Tensors inputs_, found_;
};

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

Outcome failure(std::string tensor, std::string text) {
  Outcome outcome;
  outcome.state = Outcome::State::kFailed;
  outcome.tight = false;
  outcome.problems.push_back({std::move(tensor), std::move(text)});
  return outcome;
}

Outcome refused(const Case& c, const Function& function) {
  Outcome outcome;
  try {
    Run(c, function).forward();
  } catch (const Error& error) {
    outcome.refusal = error.what();
    const std::string message = lower(outcome.refusal);
    for (const std::string& word : c.should_mention) {
      if (message.find(lower(word)) == std::string::npos) outcome.unmentioned.push_back(word);
    }
    return outcome;
  }
  return failure("", "was not refused");
}

Outcome judged(const Case& c, const Tensors& found) {
  Outcome outcome;
  for (const std::string& name : c.outputs) {
    const auto got = found.find(name);
    if (got == found.end() || !got->second.defined()) {
      outcome = failure(name, "not among the results");
      continue;
    }
    const auto bounds = c.tolerances.find(name);
    std::vector<std::int64_t> skip;
    for (const std::string& key : {std::string(), name}) {
      const auto listed = c.dont_care.find(key);
      if (listed != c.dont_care.end()) {
        skip.insert(skip.end(), listed->second.begin(), listed->second.end());
      }
    }
    const Comparison comparison =
        compare(got->second, c.stored(name),
                bounds == c.tolerances.end() ? Tolerance{} : bounds->second, skip);
    outcome.tight = outcome.tight && comparison.tight;
    outcome.error = std::max(outcome.error, comparison.error);
    if (!comparison.loose) {
      outcome.state = Outcome::State::kFailed;
      outcome.problems.push_back({name, comparison.problem});
    }
  }
  return outcome;
}

std::optional<int> order_of(const std::string& kind) {
  if (kind == "forward" || kind == "optimizer") return 0;
  if (kind == "grad") return 1;
  if (kind == "gradgrad") return 2;
  if (kind == "gradgradgrad") return 3;
  return std::nullopt;
}

Outcome attempt(const Case& c) {
  if (c.kind == "double_backward") {
    Tensors found;
    std::map<std::string, Tensor> inputs;
    for (const Input& input : c.inputs) inputs[input.name] = c.stored("in." + input.name);
    for (const Named<Tensor>& output : run_gradient_penalty(Call(c, inputs)).outputs) {
      found[output.name] = output.value;
    }
    return judged(c, found);
  }
  const auto function = table().find(c.op);
  if (function == table().end()) {
    Outcome outcome;
    outcome.state = Outcome::State::kSkipped;
    outcome.problems.push_back({"", "there is no op '" + c.op + "' in the table"});
    return outcome;
  }
  if (c.kind == "expect_error") return refused(c, function->second);
  const std::optional<int> order = order_of(c.kind);
  if (!order) throw BadCase("unknown kind '" + c.kind + "'");
  Run run(c, function->second);
  return judged(c, *order == 0 ? run.forward() : run.differentiate(*order));
}

}  // namespace

Outcome run(const Case& c) {
  try {
    return attempt(c);
  } catch (const BadCase& problem) {
    return failure("", std::string("malformed case: ") + problem.what());
  } catch (const std::exception& error) {
    return failure("", std::string("threw: ") + error.what());
  }
}

}  // namespace tapestry::conformance
