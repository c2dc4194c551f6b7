// Streams of a forecaster: points taken into their contexts, and what the network sees of them.
//
// Built without contraction of products and sums, as `scaling.h` asks.
#include <limits>

#include "guard.h"
#include "scaling.h"

namespace xlstmd {
namespace {

constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();
constexpr double kFarthestScaled = 1e4;
constexpr double kGapScale = 4.0, kCountScale = 8.0;

// One stream's context in the arena.
struct Context {
  double *points;
  int64_t &known;
  xlstmd_scale &scale;

  Context(const xlstmd_streams &all, int64_t slot)
      : points(all.points + slot * all.capacity), known(all.known[slot]), scale(all.scales[slot]) {}

  bool is_known(int64_t place) const { return points[place] == points[place]; }

  double scaled(int64_t place) const {
    if (scale.deviation == 0.0) return 0.0;
    const double away = (points[place] - scale.mean) / scale.deviation;
    return std::min(std::max(away, -kFarthestScaled), kFarthestScaled);
  }
};

// Takes points in; says whether the scale was renewed.
bool extend(const xlstmd_streams &all, int64_t slot, const double *values, int64_t count,
            std::vector<double> &line) {
  Context context(all, slot);
  // Missing points before the first observed one of the stream do not count.
  while (context.known == 0 && count > 0 && *values != *values) values++, count--;
  const int64_t seen = context.known, whole = seen + count;
  double *points = context.points;
  if (whole > all.capacity) {
    line.assign(points, points + seen);
    line.insert(line.end(), values, values + count);
    points = line.data();
  } else {
    std::copy_n(values, count, points + seen);
  }
  bool renewed = false;
  const int64_t start = Scaling(context.scale, points, whole, all.context).advance(seen, renewed);
  // More than a slot holds is left only by a scale that no stream of ours has.
  const int64_t kept = std::min(whole - start, all.capacity);
  if (points + start != context.points) std::copy_n(points + start, kept, context.points);
  std::fill(context.points + kept, context.points + all.capacity, kMissing);
  context.known = kept;
  all.observed[slot] += count;
  return renewed;
}

// The features of one token, as `xlstmd.models.patching.make_features` gives them.
void features_of(const xlstmd_streams &all, const Context &context, int64_t end, double fresh,
                 float *to) {
  const int64_t window = all.window;
  for (int64_t i = 0; i < window; i++) {
    const int64_t place = end - window + i;
    const bool there = place >= 0 && place < context.known && context.is_known(place);
    to[i] = there ? static_cast<float>(context.scaled(place)) : 0.0f;
    to[window + i] = there ? 1.0f : 0.0f;
  }
  const int64_t length = std::min(end, context.known);
  int64_t last = length - 1, counted = 0;
  while (last >= 0 && !context.is_known(last)) last--;
  for (int64_t place = 0; place < length; place++) counted += context.is_known(place);
  float *more = to + 2 * window;
  more[0] = last >= 0 ? static_cast<float>(context.scaled(last)) : 0.0f;
  const auto gap = static_cast<double>(last >= 0 ? end - 1 - last : 0);
  more[1] = static_cast<float>(std::log1p(gap) / kGapScale);
  more[2] = static_cast<float>(std::log1p(static_cast<double>(counted)) / kCountScale);
  more[3] = static_cast<float>(fresh);
}

}  // namespace
}  // namespace xlstmd

extern "C" int32_t xlstmd_streams_extend(const xlstmd_streams *streams, int64_t rows,
                                         const int64_t *slots, const double *values,
                                         const int64_t *counts, uint8_t *renewed) {
  return xlstmd::guarded([&] {
    std::vector<double> line;
    for (int64_t row = 0; row < rows; row++) {
      renewed[row] = xlstmd::extend(*streams, slots[row], values, counts[row], line);
      values += counts[row];
    }
  });
}

extern "C" void xlstmd_streams_features(const xlstmd_streams *streams, int64_t rows,
                                        const int64_t *slots, int64_t tokens, const int64_t *ends,
                                        const double *fresh, float *features) {
  const int64_t width = 2 * streams->window + 4;
  for (int64_t token = 0; token < rows * tokens; token++) {
    const xlstmd::Context context(*streams, slots[token / tokens]);
    xlstmd::features_of(*streams, context, ends[token], fresh[token], features + token * width);
  }
}
