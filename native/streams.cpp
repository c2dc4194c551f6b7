// Built without contraction of products and sums, as `scaling.h` asks.
#include "streams.h"

#include <limits>

#include "guard.h"
#include "scaling.h"

namespace xlstmd {
namespace {

constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();
constexpr double kFarthestScaled = 1e4;
constexpr double kGapScale = 4.0, kCountScale = 8.0;

// Takes points into one stream; says whether the scale was renewed.
bool extend(const xlstmd_streams &all, int64_t slot, const double *values, int64_t count,
            std::vector<double> &line) {
  double *const own = all.points + slot * all.capacity;
  int64_t &known = all.known[slot];
  // Missing points before the first observed one of the stream do not count.
  while (known == 0 && count > 0 && *values != *values) values++, count--;
  const int64_t seen = known, whole = seen + count;
  double *points = own;
  if (whole > all.capacity) {
    line.assign(own, own + seen);
    line.insert(line.end(), values, values + count);
    points = line.data();
  } else {
    std::copy_n(values, count, own + seen);
  }
  bool renewed = false;
  const int64_t start = Scaling(all.scales[slot], points, whole, all.context).advance(seen, renewed);
  // More than a slot holds is left only by a scale that no stream of ours has.
  const int64_t kept = std::min(whole - start, all.capacity);
  if (points + start != own) std::copy_n(points + start, kept, own);
  const int64_t written = points == own ? whole : seen;
  std::fill(own + kept, own + std::max(kept, written), kMissing);
  known = kept;
  all.observed[slot] += count;
  return renewed;
}

}  // namespace

void extend_streams(const xlstmd_streams &streams, int64_t rows, const int64_t *slots,
                    const double *values, const int64_t *counts, uint8_t *renewed) {
  std::vector<double> line;
  for (int64_t row = 0; row < rows; row++) {
    renewed[row] = extend(streams, slots[row], values, counts[row], line);
    values += counts[row];
  }
}

TokenFeatures::TokenFeatures(const xlstmd_streams &streams, int64_t slot)
    : window_(streams.window),
      known_(streams.known[slot]),
      points_(streams.points + slot * streams.capacity),
      scale_(streams.scales[slot]) {}

float TokenFeatures::scaled(int64_t place) const {
  if (scale_.deviation == 0.0) return 0.0f;
  const double away = (points_[place] - scale_.mean) / scale_.deviation;
  return static_cast<float>(std::min(std::max(away, -kFarthestScaled), kFarthestScaled));
}

void TokenFeatures::count_up_to(int64_t place) {
  if (place < seen_) seen_ = counted_ = 0, last_ = -1;
  int64_t counted = 0;
  for (int64_t each = seen_; each < place; each++) counted += is_known(each);
  int64_t latest = place - 1;
  while (latest >= seen_ && !is_known(latest)) latest--;
  if (latest >= seen_) last_ = latest;
  counted_ += counted;
  seen_ = place;
}

void TokenFeatures::put(int64_t end, double fresh, float *to) {
  const int64_t first = end - window_;
  for (int64_t i = 0; i < window_; i++) {
    const int64_t place = first + i;
    const bool there = place >= 0 && place < known_ && is_known(place);
    to[i] = there ? scaled(place) : 0.0f;
    to[window_ + i] = there ? 1.0f : 0.0f;
  }
  count_up_to(std::max<int64_t>(std::min(end, known_), 0));
  float *more = to + 2 * window_;
  more[0] = last_ >= 0 ? scaled(last_) : 0.0f;
  const auto gap = static_cast<double>(last_ >= 0 ? end - 1 - last_ : 0);
  more[1] = static_cast<float>(std::log1p(gap) / kGapScale);
  more[2] = static_cast<float>(std::log1p(static_cast<double>(counted_)) / kCountScale);
  more[3] = static_cast<float>(fresh);
}

}  // namespace xlstmd

extern "C" int32_t xlstmd_streams_extend(const xlstmd_streams *streams, int64_t rows,
                                         const int64_t *slots, const double *values,
                                         const int64_t *counts, uint8_t *renewed) {
  return xlstmd::guarded(
      [&] { xlstmd::extend_streams(*streams, rows, slots, values, counts, renewed); });
}

extern "C" void xlstmd_streams_features(const xlstmd_streams *streams, int64_t rows,
                                        const int64_t *slots, int64_t tokens, const int64_t *ends,
                                        const double *fresh, float *features) {
  const int64_t width = 2 * streams->window + 4;
  for (int64_t row = 0; row < rows; row++) {
    xlstmd::TokenFeatures stream(*streams, slots[row]);
    for (int64_t token = row * tokens; token < (row + 1) * tokens; token++)
      stream.put(ends[token], fresh[token], features + token * width);
  }
}
