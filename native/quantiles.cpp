// Built without contraction of products and sums: number for number `xlstmd.models.quantiles`.
#include "quantiles.h"

#include <cmath>

#include "guard.h"

namespace xlstmd {

template <class T>
void Quantiles::sort(const T *raw) {
  // They are nearly in order.
  for (size_t i = 0; i < rising_.size(); i++) {
    const auto level = static_cast<double>(raw[i]);
    size_t place = i;
    for (; place > 0 && rising_[place - 1] > level; place--) rising_[place] = rising_[place - 1];
    rising_[place] = level;
  }
}

double Quantiles::wanted(int64_t index, double low, double high) const {
  const int64_t place = plan_.places[index];
  const double share = plan_.shares[index], *rising = rising_.data();
  if (place < 0) return rising[0] + low * share;
  if (place >= plan_.known) return rising[plan_.known - 1] - high * share;
  if (share == 1.0) return rising[place];
  return rising[place - 1] + share * (rising[place] - rising[place - 1]);
}

template <class T>
bool Quantiles::put(const T *raw, double mean, double deviation, const ForecastPoints &to,
                    int64_t at) {
  sort(raw);
  const int64_t last = plan_.known - 1;
  const double *rising = rising_.data();
  const double low = (rising[1] - rising[0]) / plan_.low_log;
  const double high = (rising[last] - rising[last - 1]) / plan_.high_log;
  double total = 0.0;
  for (int64_t i = 0; i < last; i++) total += 0.5 * (rising[i + 1] + rising[i]) * plan_.widths[i];
  total = total + plan_.low * (rising[0] - low);
  total = total + plan_.high * (rising[last] + high);
  bool finite = std::isfinite(to.mean[at] = total * deviation + mean);
  const int64_t more = plan_.wanted - 1;
  for (int64_t i = 0; i <= more; i++) {
    double &value = i < more ? to.quantiles[at * more + i] : to.median[at];
    value = wanted(i, low, high) * deviation + mean;
    finite = finite && std::isfinite(value);
  }
  return finite;
}

template bool Quantiles::put(const float *, double, double, const ForecastPoints &, int64_t);
template bool Quantiles::put(const double *, double, double, const ForecastPoints &, int64_t);

}  // namespace xlstmd

extern "C" int32_t xlstmd_quantiles_in_units(const xlstmd_quantile_plan *plan, int64_t rows,
                                             int64_t points, const double *raw, int64_t scales,
                                             const double *means, const double *deviations,
                                             double *mean, double *median, double *quantiles,
                                             uint8_t *finite) {
  return xlstmd::guarded([&] {
    xlstmd::Quantiles quantile(*plan);
    for (int64_t row = 0; row < rows; row++) {
      finite[row] = 1;
      for (int64_t point = 0; point < points; point++) {
        const int64_t at = row * points + point, scale = row * scales + (scales > 1 ? point : 0);
        if (!quantile.put(raw + at * plan->known, means[scale], deviations[scale],
                          {mean, median, quantiles}, at))
          finite[row] = 0;
      }
    }
  });
}
