// Quantiles of a network brought into order and into the units of a series, and what is asked of them.
#ifndef XLSTMD_QUANTILES_H
#define XLSTMD_QUANTILES_H

#include <cstddef>
#include <vector>

#include "xlstmd_native.h"

namespace xlstmd {

// Where the forecasts of some points go, a row's points one after the other.
struct ForecastPoints {
  double *mean, *median, *quantiles;
};

class Quantiles {
 public:
  explicit Quantiles(const xlstmd_quantile_plan &plan)
      : plan_(plan), rising_(static_cast<size_t>(plan.known)) {}

  // One point, place `at` of `to`, from its known quantiles in any order; says whether all that it
  // gives is finite.
  template <class T>
  bool put(const T *raw, double mean, double deviation, const ForecastPoints &to, int64_t at);

 private:
  template <class T>
  void sort(const T *raw);
  double wanted(int64_t index, double low, double high) const;

  const xlstmd_quantile_plan &plan_;
  std::vector<double> rising_;
};

extern template bool Quantiles::put(const float *, double, double, const ForecastPoints &, int64_t);
extern template bool Quantiles::put(const double *, double, double, const ForecastPoints &, int64_t);

}  // namespace xlstmd
#endif
