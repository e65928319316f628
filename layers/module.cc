#include "layers/module.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "core/parallel.h"
#include "core/tape.h"

namespace tapestry::nn {

/// Calls each(module, prefix) for this module and all below, parents first; prefix is "" or ends in
/// a dot.
template <class F>
void Module::visit(const std::string& prefix, F&& each) const {
  each(*this, prefix);
  for (const auto& [name, module] : children_) module->visit(prefix + name + ".", each);
}

std::vector<Tensor> Module::parameters() const {
  std::vector<Tensor> result;
  visit("", [&](const Module& module, const std::string&) {
    for (const Parameter& p : module.parameters_) result.push_back(p.value);
  });
  return result;
}

std::vector<Named<Tensor>> Module::named_parameters() const {
  std::vector<Named<Tensor>> result;
  visit("", [&](const Module& module, const std::string& prefix) {
    for (const Parameter& p : module.parameters_) result.push_back({prefix + p.name, p.value});
  });
  return result;
}

std::vector<Named<Tensor>> Module::named_buffers() const {
  std::vector<Named<Tensor>> result;
  visit("", [&](const Module& module, const std::string& prefix) {
    for (const Named<Tensor>& b : module.buffers_) result.push_back({prefix + b.name, b.value});
  });
  return result;
}

std::vector<Named<Tensor>> Module::state() const {
  std::vector<Named<Tensor>> result;
  visit("", [&](const Module& module, const std::string& prefix) {
    for (const Parameter& p : module.parameters_) result.push_back({prefix + p.name, p.value});
    for (const Named<Tensor>& b : module.buffers_) result.push_back({prefix + b.name, b.value});
  });
  return result;
}

void Module::load_state(const std::vector<Named<Tensor>>& state) {
  std::map<std::string_view, const Tensor*> given;
  for (const Named<Tensor>& entry : state) given[entry.name] = &entry.value;
  std::vector<std::pair<Tensor, const Tensor*>> copies;
  std::string problems;
  int count = 0;
  const auto problem = [&](const std::string& text) {
    constexpr int kShown = 20;
    if (++count <= kShown) problems += "\n  " + text;
  };
  for (Named<Tensor>& mine : this->state()) {
    const auto found = given.find(mine.name);
    if (found == given.end()) {
      problem("missing     " + mine.name + " " + mine.value.shape().str());
      continue;
    }
    if (found->second->shape() == mine.value.shape()) {
      copies.emplace_back(mine.value, found->second);
    } else {
      problem("mis-shaped  " + mine.name + ": the model has " + mine.value.shape().str() +
              ", the file " + found->second->shape().str());
    }
    given.erase(found);
  }
  for (const auto& [name, tensor] : given)
    problem("unexpected  " + std::string(name) + " " + tensor->shape().str());
  if (count > 0) {
    throw Error("load_state", "{} of the names or shapes do not fit the model{}", count, problems)
        .hint(
            "was the checkpoint made by another config? Compare the two with `tapestry config A "
            "--diff B`");
  }
  for (auto& [mine, value] : copies)
    std::copy(value->data().begin(), value->data().end(), mine.mutable_data().begin());
}

void Module::reset_parameters(const Rng& rng) {
  visit("", [&](const Module& module, const std::string& prefix) {
    for (const Parameter& p : module.parameters_) {
      Rng stream = rng.split(prefix + p.name);
      const Start& s = p.start;
      const Tensor drawn = s.kind == Start::Kind::kConstant ? Tensor::full(p.value.shape(), s.a)
                           : s.kind == Start::Kind::kUniform
                               ? stream.uniform(p.value.shape(), s.a, s.b)
                               : stream.normal(p.value.shape(), s.a, s.b);
      Tensor value = p.value;
      std::copy(drawn.data().begin(), drawn.data().end(), value.mutable_data().begin());
    }
  });
  for (const auto& [name, module] : modules()) module->parameters_drawn();
}

Module& Module::train(bool on) {
  training_ = on;
  for (const auto& [name, module] : children_) module->train(on);
  return *this;
}

Cost Module::cost(const Shape&, const Shape&) const { return {}; }

std::vector<std::pair<std::string, Module*>> Module::children() const {
  std::vector<std::pair<std::string, Module*>> result;
  for (const auto& [name, module] : children_) result.emplace_back(name, module.get());
  return result;
}

std::vector<std::pair<std::string, Module*>> Module::modules() {
  std::vector<std::pair<std::string, Module*>> result;
  visit("", [&](const Module& module, const std::string& prefix) {
    result.emplace_back(prefix.empty() ? prefix : prefix.substr(0, prefix.size() - 1),
                        const_cast<Module*>(&module));
  });
  return result;
}

Module& Module::set_name(std::string name) {
  name_ = std::move(name);
  return *this;
}

Tensor Module::parameter(std::string name, const Shape& shape, Start start) {
  Tensor value = Tensor::full(shape, std::numeric_limits<Real>::quiet_NaN());
  require_new_name(name);
  value.set_requires_grad().set_name(name);
  parameters_.push_back({std::move(name), value, start});
  return value;
}

Tensor Module::buffer(std::string name, Tensor value) {
  require_new_name(name);
  value.set_name(name);
  buffers_.push_back({std::move(name), value});
  return value;
}

void Module::require_values() const {
  for (const Parameter& p : parameters_) {
    if (p.value.version() == 0 && p.value.size() > 0) {
      throw Error(kind(), "its parameters have no values yet: {} was never initialized",
                  p.value.name())
          .hint("call reset_parameters(rng) or load_state(…) on the model first");
    }
  }
}

void Module::require_new_name(const std::string& name) const {
  const auto taken = [&](const auto& entry) { return entry.name == name; };
  if (std::any_of(parameters_.begin(), parameters_.end(), taken) ||
      std::any_of(buffers_.begin(), buffers_.end(), taken) ||
      std::any_of(children_.begin(), children_.end(),
                  [&](const auto& child) { return child.first == name; })) {
    // Not kind(): constructors register, and a base class's has none yet.
    throw Error("module", "there is a part named \"{}\" already", name)
        .hint("names make the saved state and the random streams; give each part its own");
  }
}

void Module::adopt_module(std::string name, std::shared_ptr<Module> module) {
  require_new_name(name);
  module->name_ = name;
  // Tensors are called by their full path below the outermost module adopted so far.
  for (Named<Tensor>& entry : module->state()) entry.value.set_name(name + "." + entry.name);
  children_.emplace_back(std::move(name), std::move(module));
}

// Calling
// --------------------------------------------------------------------------------------------------------------

namespace {

thread_local Probe* innermost_probe = nullptr;

}  // namespace

Probe::Probe() : outer_(innermost_probe) { innermost_probe = this; }
Probe::~Probe() { innermost_probe = outer_; }
bool Probe::watching() { return innermost_probe != nullptr; }

Tensor UnaryModule::operator()(const Tensor& x) {
  const Context context(local_name(), kind());
  require_values();
  Tensor y = forward(x);
  for (Probe* probe = innermost_probe; probe != nullptr; probe = probe->outer_)
    probe->called(*this, x, y);
  return y;
}

Tensor BinaryModule::operator()(const Tensor& x, const Tensor& condition) {
  const Context context(local_name(), kind());
  require_values();
  return forward(x, condition);
}

// Summary
// --------------------------------------------------------------------------------------------------------------

namespace {

struct Row {
  std::string name, layer, output, parameters, multiply_adds, memory, remark;
};

/// 12345678 → "12.3 M"
std::string short_number(double value) {
  const char* const units[] = {"", " k", " M", " G", " T"};
  int unit = 0;
  while (value >= 1000 && unit < 4) {
    value /= 1000;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof text, unit == 0 || value >= 100 ? "%.0f%s" : "%.1f%s", value,
                units[unit]);
  return text;
}

class SummaryProbe final : public Probe {
 public:
  explicit SummaryProbe(Module& top) {
    for (const auto& [name, module] : top.modules()) names_[module] = name;
  }
  void called(Module& module, const Tensor& input, const Tensor& output) override {
    if (!module.children().empty()) return;  // containers repeat what their children say
    std::int64_t parameters = 0;
    for (const Tensor& parameter : module.parameters()) parameters += parameter.size();
    const Cost cost = module.cost(input.shape(), output.shape());
    total_multiply_adds += cost.multiply_adds;
    total_numbers += output.size();
    rows.push_back(
        {names_[&module], module.describe(), output.shape().str(),
         parameters == 0 ? "" : std::to_string(parameters),
         cost.multiply_adds == 0 ? "" : short_number(static_cast<double>(cost.multiply_adds)),
         short_number(static_cast<double>(output.size()) * sizeof(Real)) + "B",
         cost.averages_over.empty() ? "" : "averages " + cost.averages_over});
  }
  std::vector<Row> rows;
  std::int64_t total_multiply_adds = 0, total_numbers = 0;

 private:
  std::map<const Module*, std::string> names_;
};

/// Columns as wide as their widest cell; UTF-8 continuation bytes take no room on the screen.
std::size_t screen_width(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

}  // namespace

std::string summary(UnaryModule& module, const Shape& input) {
  const bool was_training = module.is_training();
  const PauseRecording pause;
  module.eval();
  SummaryProbe probe(module);
  Tensor output;
  try {
    output = module(Tensor::zeros(input));
  } catch (...) {
    module.train(was_training);
    throw;
  }
  module.train(was_training);
  std::vector<Row> rows{{"name", "layer", "output", "parameters", "mult-adds", "memory", ""}};
  rows.insert(rows.end(), probe.rows.begin(), probe.rows.end());
  const auto cells = [](const Row& row) {
    return std::vector<std::string>{row.name,          row.layer,  row.output, row.parameters,
                                    row.multiply_adds, row.memory, row.remark};
  };
  std::vector<std::size_t> widths(7, 0);
  for (const Row& row : rows) {
    const auto texts = cells(row);
    for (std::size_t i = 0; i < texts.size(); ++i)
      widths[i] = std::max(widths[i], screen_width(texts[i]));
  }
  std::string text;
  for (const Row& row : rows) {
    const auto texts = cells(row);
    std::string line;
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const std::string room(widths[i] - screen_width(texts[i]), ' ');
      line += (i > 0 ? "  " : "") + (i >= 3 && i <= 5 ? room + texts[i] : texts[i] + room);
    }
    text += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  std::int64_t parameters = 0;
  for (const Tensor& parameter : module.parameters()) parameters += parameter.size();
  return text + format("input {}: {} parameters, {} multiply-adds, {}B of activations\n",
                       input.str(), parameters,
                       short_number(static_cast<double>(probe.total_multiply_adds)),
                       short_number(static_cast<double>(probe.total_numbers) * sizeof(Real)));
}

}  // namespace tapestry::nn
