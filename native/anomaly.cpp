// Built without contraction of products and sums, to stay near the Python form.
#include "anomaly.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "guard.h"

namespace xlstmd {
namespace {

constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();
// Depth in slopes at which an exponential tail becomes a power law.
constexpr double kDeep = 32.0;

double fallen(double distance, double slope) {
  const double depth = distance / slope;
  if (depth <= kDeep) return depth;
  return kDeep * (1.0 + std::log(distance) - std::log(slope) - std::log(kDeep));
}

}  // namespace

Level Levels::outside(double value, const double *quantiles, bool under) const {
  using Limits = std::numeric_limits<double>;
  const int64_t last = plan_.known - 1;
  double largest = 0.0;
  for (int64_t i = 0; i <= last; i++) largest = std::max(largest, std::fabs(quantiles[i]));
  const double finest = std::max(largest * Limits::epsilon(), Limits::min());
  if (under) {
    const double slope = (quantiles[1] - quantiles[0]) / plan_.low_log;
    const double tail =
        std::log(plan_.low) - fallen(quantiles[0] - value, std::max(slope, finest));
    return {std::exp(tail), tail};
  }
  const double slope = (quantiles[last] - quantiles[last - 1]) / plan_.high_log;
  const double tail =
      std::log(plan_.high) - fallen(value - quantiles[last], std::max(slope, finest));
  return {-std::expm1(tail), tail};
}

Level Levels::of(double value, const double *quantiles) const {
  if (value != value) return {kMissing, kMissing};
  const int64_t last = plan_.known - 1;
  int64_t below = 0, upto = 0;
  for (int64_t i = 0; i <= last; i++) {
    below += quantiles[i] < value;
    upto += quantiles[i] <= value;
  }
  if (upto == 0 || below > last) return outside(value, quantiles, upto == 0);
  double level;
  if (upto > below) {
    level = 0.5 * (levels_[below] + levels_[upto - 1]);
  } else {
    const double lower = quantiles[below - 1], upper = quantiles[below];
    const double share = (value - lower) / (upper - lower);
    level = levels_[below - 1] + share * (levels_[below] - levels_[below - 1]);
  }
  return {level, std::log(std::min(level, 1.0 - level))};
}

Surprises::Surprises(float *newest, int64_t remembered)
    : newest_(newest), remembered_(remembered) {
  for (int64_t i = 0; i < remembered; i++) count_ += std::isfinite(newest[i]);
}

bool Surprises::flags(float surprise, double rate, float least) {
  int64_t larger = 0;
  for (int64_t i = 0; i < remembered_; i++) larger += newest_[i] >= surprise;
  const double allowed = rate * static_cast<double>(count_ + 1);
  const bool flagged = allowed >= 1.0 ? static_cast<double>(larger + 1) <= allowed
                                      : larger == 0 && surprise >= least;
  std::copy(newest_ + 1, newest_ + remembered_, newest_);
  newest_[remembered_ - 1] = surprise;
  count_ = std::min(count_ + 1, remembered_);
  return flagged;
}

}  // namespace xlstmd

extern "C" void xlstmd_streams_score(const xlstmd_scores *scores, int64_t rows,
                                     const int64_t *slots, const double *values,
                                     const int64_t *counts, const double *rates, double *quantile,
                                     double *surprise, uint8_t *flag) {
  const xlstmd::Levels levels(*scores);
  for (int64_t row = 0; row < rows; row++) {
    const int64_t slot = slots[row], observed = scores->observed[slot];
    xlstmd::Surprises newest(scores->surprises + slot * scores->remembered, scores->remembered);
    const auto least = static_cast<float>(-std::log(rates[row] / 2.0));
    const int64_t first = slot * scores->patch + observed - scores->made_at[slot];
    for (int64_t i = 0; i < counts[row]; i++) {
      xlstmd::Level at{xlstmd::kMissing, xlstmd::kMissing};
      if (observed >= scores->patch)
        at = levels.of(*values, scores->quantiles + (first + i) * scores->plan->known);
      *quantile++ = at.level;
      *surprise++ = -at.log_tail;
      const bool there = at.log_tail == at.log_tail;
      *flag++ = there && newest.flags(static_cast<float>(-at.log_tail), rates[row], least);
      values++;
    }
  }
}
