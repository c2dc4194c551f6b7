// When the scale of a series is renewed: `xlstmd.models.renewal`, number for number.
//
// To be built without contraction of products and sums, so that the renewals, and with them the
// forecasts, are those of the Python form to the last bit.
#ifndef XLSTMD_SCALING_H
#define XLSTMD_SCALING_H

#include <algorithm>
#include <cmath>
#include <vector>

#include "xlstmd_native.h"

namespace xlstmd {

inline constexpr int64_t kDense = 32;
inline constexpr double kRenewShare = 1.0 / 16.0;
inline constexpr double kMeanDrift = 0.05, kDeviationDrift = 0.05;
inline constexpr double kJump = 100.0;
inline constexpr double kRounding = 8.0 * 0x1p-52;
inline constexpr double kFarthest = 1e9;

class Scaling {
 public:
  Scaling(xlstmd_scale &scale, const double *points, int64_t count, int64_t context_length)
      : s_(scale), points_(points), count_(count), context_(context_length) {}

  // Takes in the points after `seen`; gives how many of the first ones are forgotten, and whether
  // the scale was renewed.
  int64_t advance(int64_t seen, bool &renewed) {
    renewed = false;
    while (seen < count_) {
      const int64_t moment = next_renewal(seen);
      if (moment > count_) break;
      const int64_t dropped = std::max<int64_t>(moment - context_, 0);
      points_ += dropped;
      count_ -= dropped;
      start_ += dropped;
      seen = std::min(moment, context_);
      renew(seen);
      renewed = true;
    }
    return start_;
  }

 private:
  // How many points there are at the next renewal; more than there are when it lies beyond.
  int64_t next_renewal(int64_t seen) {
    const int64_t anchor = s_.anchor;
    if (anchor < kDense) return std::min(count_, kDense);
    const int64_t forced = anchor + std::min(anchor, context_ / 2);
    const int64_t share = static_cast<int64_t>(static_cast<double>(anchor) * kRenewShare);
    const int64_t earliest = anchor + std::max<int64_t>(1, share);
    const double farthest = std::max(kJump * std::pow(10.0, static_cast<double>(s_.jumps)) *
                                         s_.deviation,
                                     kRounding * std::fabs(s_.mean));
    for (int64_t place = seen + 1; place <= std::min(forced, count_); place++) {
      const double point = points_[place - 1];
      const bool due = drifted(point) && place >= earliest;
      const bool jumped = !due && std::fabs(point - s_.mean) > farthest;
      if (!due && !jumped) continue;
      s_.jumps = place == forced ? 0 : s_.jumps + (jumped ? 1 : 0);
      return place;
    }
    if (forced <= count_) s_.jumps = 0;
    return forced;
  }

  // Adds a point to the sums; says whether the scale has drifted by then.
  bool drifted(double point) {
    if (s_.deviation == 0.0) return false;
    const bool known = point == point;
    double away = known ? (point - s_.mean) / s_.deviation : 0.0;
    away = std::min(std::max(away, -kFarthest), kFarthest);
    s_.count += known ? 1.0 : 0.0;
    s_.sum = away + s_.sum;
    s_.squares = away * away + s_.squares;
    const double count = std::max(s_.count, 1.0), mean = s_.sum / count;
    const double spread = s_.squares / count - mean * mean;
    constexpr double kHigh = (1.0 + kDeviationDrift) * (1.0 + kDeviationDrift);
    constexpr double kLow = (1.0 - kDeviationDrift) * (1.0 - kDeviationDrift);
    return std::fabs(mean) > kMeanDrift || spread > kHigh || spread < kLow;
  }

  void renew(int64_t length) {
    known_.clear();
    for (int64_t i = 0; i < length; i++)
      if (points_[i] == points_[i]) known_.push_back(points_[i]);
    const auto count = static_cast<double>(known_.size());
    s_.anchor = length;
    s_.count = count;
    s_.sum = 0.0;
    s_.squares = count;
    if (!known_.empty()) moments(count);
  }

  void moments(double count) {
    const double around = known_.front();
    double high = 0.0, low = 0.0;
    for (double &point : known_) {
      point -= around;
      high = std::max(high, point);
      low = std::min(low, point);
    }
    const double size = std::max(high, -low);
    s_.mean = around;
    s_.deviation = 0.0;
    if (size <= kRounding * std::fabs(around)) return;
    double sum = 0.0;
    for (double &point : known_) sum += point /= size;
    const double middle = sum / count;
    double squares = 0.0;
    for (double &point : known_) {
      point -= middle;
      squares += point * point;
    }
    s_.mean = around + size * middle;
    s_.deviation = size * std::sqrt(squares / count);
  }

  xlstmd_scale &s_;
  const double *points_;
  int64_t count_, context_, start_ = 0;
  std::vector<double> known_;
};

}  // namespace xlstmd
#endif
