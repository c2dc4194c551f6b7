// How unusual points are under the forecasts that stand for them, and which of them are flagged.
#ifndef XLSTMD_ANOMALY_H
#define XLSTMD_ANOMALY_H

#include "xlstmd_native.h"

namespace xlstmd {

// A level, and the logarithm of the smaller tail.
struct Level {
  double level, log_tail;
};

// At which level a value lies, as `xlstmd.models.quantiles.levels_of` says.
class Levels {
 public:
  explicit Levels(const xlstmd_scores &scores) : levels_(scores.levels), plan_(*scores.plan) {}
  Level of(double value, const double *quantiles) const;

 private:
  Level outside(double value, const double *quantiles, bool under) const;

  const double *levels_;
  const xlstmd_quantile_plan &plan_;
};

// The newest surprises of one stream, as `xlstmd.models.calibration` keeps them.
class Surprises {
 public:
  Surprises(float *newest, int64_t remembered);
  // Says whether a surprise is flagged, and remembers it.
  bool flags(float surprise, double rate, float least);

 private:
  float *newest_;
  int64_t remembered_, count_ = 0;
};

}  // namespace xlstmd
#endif
