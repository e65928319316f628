// The verdict: words chosen by rule from paired 95 % intervals, never by eye.
#include <algorithm>
#include <cmath>

#include "examples/lab/report_parts.h"

namespace tapestry::lab {
namespace report {
namespace {

std::string plural(std::size_t n, std::string_view noun) {
  return std::to_string(n) + " " + std::string(noun) + (n == 1 ? "" : "s");
}

std::string value_text(const Summary& s, const Metric& metric) {
  return mean_text(s) + (metric.unit.empty() ? "" : " " + metric.unit);
}

struct Ranked {
  const Cell* cell = nullptr;
  std::vector<double> values;
  Summary summary;
};

// Best mean first; a cell that lost runs to divergence stands behind those that lost none, because
// its mean is over survivors.
std::vector<Ranked> ranking(const std::vector<const Cell*>& cells, const Metric& metric) {
  std::vector<Ranked> ranked;
  for (const Cell* cell : cells) {
    Ranked r{cell, last_values(*cell, metric), {}};
    r.summary = summarize(r.values);
    if (r.summary.n > 0) ranked.push_back(std::move(r));
  }
  std::stable_sort(ranked.begin(), ranked.end(), [&](const Ranked& a, const Ranked& b) {
    const bool a_lost = a.cell->count(RunStatus::kDiverged) > 0,
               b_lost = b.cell->count(RunStatus::kDiverged) > 0;
    if (a_lost != b_lost) return b_lost;
    return metric.goal == Goal::kMin ? a.summary.mean < b.summary.mean
                                     : a.summary.mean > b.summary.mean;
  });
  return ranked;
}

// Whether cells can be told apart at all. A metric that is the same in every cell (a recall of 0,
// modes that everyone covers) has no winner, whatever the order of the cells.
bool separates(const std::vector<Ranked>& ranked) {
  const Ranked& first = ranked.front();
  return std::any_of(ranked.begin(), ranked.end(), [&](const Ranked& r) {
    const Summary difference = paired_difference(r.values, first.values);
    if (difference.n == 0) return r.summary.mean != first.summary.mean;
    return difference.min != 0 || difference.max != 0;
  });
}

// The cells that share the best mean, "a" or "a and b"; one that lost runs shares nothing.
std::vector<std::string> leaders(const std::vector<Ranked>& ranked) {
  const auto lost = [](const Ranked& r) { return r.cell->count(RunStatus::kDiverged) > 0; };
  std::vector<std::string> names;
  for (const Ranked& r : ranked) {
    if (r.summary.mean != ranked.front().summary.mean || lost(r) != lost(ranked.front())) break;
    names.push_back(r.cell->key);
  }
  return names;
}

// One sentence: who is best in this metric, against whom that is clear, against whom it is not
// decided.
std::string sentence(const std::vector<Ranked>& ranked, const Metric& metric) {
  const std::string name = metric_label(metric);
  const std::string best = metric.goal == Goal::kMin ? "lowest" : "highest";
  const std::string than = metric.goal == Goal::kMin ? "lower than" : "higher than";
  if (ranked.empty()) return "No run has reached its end with a value of " + name + " yet.";
  const Ranked& leader = ranked.front();
  const std::string value = value_text(leader.summary, metric);
  const std::string over = " over " + plural(static_cast<std::size_t>(leader.summary.n), "seed");
  if (ranked.size() == 1) {
    return leader.cell->key + ": " + name + " " + value + over +
           "; nothing to compare it with yet.";
  }
  if (!separates(ranked)) {
    const Summary& all = leader.summary;
    const std::string unit = metric.unit.empty() ? "" : " " + metric.unit;
    return name + " does not separate the cells: it is " +
           (all.min == all.max ? number_text(all.mean, 3) + unit + " in every run."
                               : "the same in all of them, seed by seed.");
  }
  const std::vector<std::string> first = leaders(ranked);
  const std::string who = listed(first);
  const bool alone = first.size() == 1;
  std::vector<std::string> clear, open;
  int most_pairs = 0;
  for (std::size_t i = 1; i < ranked.size(); ++i) {
    const Summary difference = paired_difference(leader.values, ranked[i].values);
    most_pairs = std::max(most_pairs, difference.n);
    (decide(difference, metric.goal) == Decision::kConfirmed ? clear : open)
        .push_back(ranked[i].cell->key);
  }
  if (most_pairs < 2) {
    return who + (alone ? " has the " : " share the ") + best + " " + name + " (" + value +
           "), but one seed per cell says nothing about chance: not decided at this scale.";
  }
  if (open.empty()) {
    const std::string others =
        clear.size() == 1 ? clear[0] : "every other cell (" + listed(clear) + ")";
    return leader.cell->key + " reaches the " + best + " " + name + ", " + value + over +
           ", clearly " + than + " " + others + ".";
  }
  if (clear.empty()) {
    return "No clear difference in " + name + ": " + who +
           (alone ? " is " + best + " on average (" : " have the " + best + " mean (") + value +
           over + "), but no paired 95 % interval against another cell excludes zero.";
  }
  return leader.cell->key + " reaches the " + best + " " + name + " (" + value + over +
         "): clearly " + than + " " + listed(clear) + "; not decided against " + listed(open) + ".";
}

std::string pair_text(const Summary& difference) {
  return difference_text(difference) + ", " +
         plural(static_cast<std::size_t>(difference.n), "paired seed") +
         (difference.sd == 0 ? ", exactly equal in all of them" : "");
}

void compare_with_leader(const std::vector<Ranked>& ranked, const Metric& metric, Verdict& v) {
  for (std::size_t i = 1; i < ranked.size(); ++i) {
    const Ranked &leader = ranked.front(), &other = ranked[i];
    const Summary difference = paired_difference(other.values, leader.values);
    if (difference.n < 2) continue;
    const Goal worse = metric.goal == Goal::kMin ? Goal::kMax : Goal::kMin;
    const bool clear = decide(difference, worse) == Decision::kConfirmed;
    v.findings.push_back({clear ? "clear" : std::string(decision_name(Decision::kUndecided)),
                          other.cell->key + " − " + leader.cell->key + " in " +
                              metric_label(metric) + ": " + pair_text(difference) + "."});
  }
}

// With more than the normalizer varied the question is whether the same one stays best.
std::string headline_over_facets(
    const std::vector<std::pair<std::string, std::vector<const Cell*>>>& facets,
    const Metric& metric) {
  std::vector<std::pair<std::string, std::vector<std::string>>> winners;
  bool measured = false;
  for (const auto& [facet, cells] : facets) {
    const std::vector<Ranked> ranked = ranking(cells, metric);
    measured |= !ranked.empty();
    if (ranked.empty() || (ranked.size() > 1 && !separates(ranked))) continue;
    const std::string name = listed(leaders(ranked));
    auto winner = std::find_if(winners.begin(), winners.end(),
                               [&](const auto& w) { return w.first == name; });
    if (winner == winners.end()) winner = winners.insert(winners.end(), {name, {}});
    winner->second.push_back(facet);
  }
  const std::string best =
      (metric.goal == Goal::kMin ? "lowest mean " : "highest mean ") + metric_label(metric);
  if (!measured)
    return "No run has reached its end with a value of " + metric_label(metric) + " yet.";
  if (winners.empty()) return metric_label(metric) + " does not separate the cells at any setting.";
  if (winners.size() == 1) {
    return winners[0].first + " has the " + best + " at " +
           (winners[0].second.size() == facets.size() ? "every setting"
                                                      : listed(winners[0].second)) +
           "; what is clear at which setting stands below.";
  }
  std::string parts;
  for (const auto& [name, where] : winners) {
    parts += (parts.empty() ? "" : "; ") + name + " at " + listed(where);
  }
  return "Which cell has the " + best + " depends on the setting: " + parts +
         ". What of it is clear stands below.";
}

void decide_claims(const Digest& d, Verdict& v) {
  const auto cell_named = [&](const std::string& name) {
    return std::find_if(d.cells.begin(), d.cells.end(),
                        [&](const Cell& c) { return c.name == name || c.label == name; });
  };
  for (const Claim& claim : d.comparison.claims) {
    const auto better = cell_named(claim.better), worse = cell_named(claim.worse);
    const auto metric = std::find_if(d.comparison.metrics.begin(), d.comparison.metrics.end(),
                                     [&](const Metric& m) { return m.name == claim.metric; });
    const std::string text =
        "“" + claim.text + "”" + (claim.source.empty() ? "" : " (" + claim.source + ")");
    if (better == d.cells.end() || worse == d.cells.end() || metric == d.comparison.metrics.end()) {
      v.findings.push_back({"not tested", text + ": this comparison has no such cells or metric."});
      continue;
    }
    const Summary difference =
        paired_difference(last_values(*better, *metric), last_values(*worse, *metric));
    std::string numbers =
        ": " + better->label + " − " + worse->label + " in " + metric_label(*metric) + " ";
    numbers += difference.n >= 2 ? pair_text(difference) + "."
               : difference.n == 1
                   ? number_text(difference.mean, 3) + " with a single pair, so no interval."
                   : "has no pair of finished runs.";
    v.findings.push_back(
        {std::string(decision_name(decide(difference, metric->goal))), text + numbers});
  }
}

void name_losses(const Digest& d, Verdict& v) {
  for (const Cell& cell : d.cells) {
    std::vector<std::string> where;
    for (const RunRecord* run : cell.runs) {
      if (run == nullptr || run->status != RunStatus::kDiverged) continue;
      where.push_back("seed " + std::to_string(run->seed) + " at step " +
                      std::to_string(run->step));
    }
    if (where.empty()) continue;
    const std::size_t ended = where.size() + static_cast<std::size_t>(cell.count(RunStatus::kDone));
    v.findings.push_back({"diverged", cell.label + " diverged in " + std::to_string(where.size()) +
                                          " of " + plural(ended, "run") + " (" + listed(where) +
                                          "); its mean is over the runs that survived."});
  }
}

void add_remarks(const Digest& d, bool compared, Verdict& v) {
  const std::size_t planned = d.cells.size() * d.seeds.size();
  const auto finished = static_cast<std::size_t>(d.finished());
  if (compared && finished < planned) {
    v.remarks.push_back("Preliminary: " + std::to_string(finished) + " of " +
                        plural(planned, "run") +
                        " have ended; runs that have not are left out of every mean.");
  }
  if (compared && d.seeds.size() == 2) {
    v.remarks.push_back(
        "With 2 seeds a 95 % interval reaches 12.7 standard errors to each side: only differences "
        "that are "
        "large and nearly equal in "
        "both seeds can be decided. More seeds narrow it quickly (3: 4.3, 5: 2.8).");
  }
  if (compared && d.cells.size() > 2 && d.seeds.size() > 1) {
    v.remarks.push_back(
        "Differences are paired by seed; each interval stands for itself. Among many comparisons "
        "about one in twenty "
        "excludes zero by chance, and the best cell was picked after looking.");
  }
  for (const Metric& metric : d.comparison.metrics) {
    std::string text = metric.note;
    if (metric.reference) {
      if (!text.empty()) text += " ";
      text += (metric.reference_label.empty() ? "Real against real" : metric.reference_label) +
              ": " + number_text(*metric.reference, 3) + ".";
    }
    if (metric.samples > 0) {
      if (!text.empty()) text += " ";
      text += "Each value from " + count_text(static_cast<double>(metric.samples)) + " samples.";
    }
    if (!text.empty()) v.remarks.push_back(metric_label(metric) + ": " + text);
  }
  v.remarks.insert(v.remarks.end(), d.comparison.notes.begin(), d.comparison.notes.end());
}

std::string single_headline(const Digest& d) {
  if (d.comparison.runs.empty()) return "No run has begun yet.";
  const RunRecord& run = d.comparison.runs.front();
  std::string text =
      (run.status == RunStatus::kDone ? "Done" : "Status " + std::string(status_name(run.status)));
  text += " at step " + std::to_string(run.step);
  if (run.steps > 0) text += " of " + std::to_string(run.steps);
  if (!run.remark.empty()) text += " (" + run.remark + ")";
  const Metric* metric = d.main_metric();
  const Series* series = metric == nullptr ? nullptr : find_series(run.metrics, metric->name);
  if (series == nullptr || series->points.empty()) return text + ".";
  text += ": " + metric_label(*metric) + " " + number_text(last_value(*series), 4) +
          (metric->unit.empty() ? "" : " " + metric->unit);
  const Point best = best_point(*series, metric->goal);
  if (!std::isnan(best.value)) {
    text += ", best " + number_text(best.value, 4) + " at step " + number_text(best.step, 9);
  }
  return text + ". One run, so nothing is said about chance.";
}

}  // namespace

Verdict verdict(const Digest& d) {
  Verdict v;
  const Metric* metric = d.main_metric();
  if (d.single() || metric == nullptr) {
    v.headline =
        d.single() ? single_headline(d) : "No metric was named, so there is nothing to judge.";
    add_remarks(d, false, v);
    return v;
  }
  decide_claims(d, v);
  const auto facets = d.facets();
  bool first = true;
  for (const Metric& m : d.comparison.metrics) {
    if (m.goal == Goal::kNone) continue;
    if (first && facets.size() > 1) v.headline = headline_over_facets(facets, m);
    for (const auto& [facet, cells] : facets) {
      const std::vector<Ranked> ranked = ranking(cells, m);
      if (first && facets.size() == 1) {
        v.headline = sentence(ranked, m);
        if (!ranked.empty() && separates(ranked)) compare_with_leader(ranked, m, v);
      } else if (!ranked.empty()) {
        v.findings.push_back({facet.empty() ? "also" : facet, sentence(ranked, m)});
      }
    }
    if (first) name_losses(d, v);
    first = false;
  }
  if (first) v.headline = "No metric has a goal, so there is nothing to judge.";
  add_remarks(d, true, v);
  return v;
}

}  // namespace report

std::vector<std::string> verdict_sentences(const Comparison& comparison) {
  const report::Verdict v = report::verdict(report::digest(comparison));
  std::vector<std::string> sentences{v.headline};
  for (const auto& finding : v.findings) {
    sentences.push_back(finding.word == "also" ? finding.text : finding.word + ": " + finding.text);
  }
  sentences.insert(sentences.end(), v.remarks.begin(), v.remarks.end());
  return sentences;
}

}  // namespace tapestry::lab
