// Streams of a forecaster: points taken into their contexts, and what the network sees of them.
#ifndef XLSTMD_STREAMS_H
#define XLSTMD_STREAMS_H

#include "xlstmd_native.h"

namespace xlstmd {

// As `xlstmd_streams_extend`.
void extend_streams(const xlstmd_streams &streams, int64_t rows, const int64_t *slots,
                    const double *values, const int64_t *counts, uint8_t *renewed);

// The features of one stream's tokens, as `xlstmd.models.patching.make_features` gives them. Each
// point is looked at once where tokens stand in rising order.
class TokenFeatures {
 public:
  TokenFeatures(const xlstmd_streams &streams, int64_t slot);

  // Of the token that stands before the point `end`; `to` takes 2 window + 4 numbers.
  void put(int64_t end, double fresh, float *to);

 private:
  bool is_known(int64_t place) const { return points_[place] == points_[place]; }
  float scaled(int64_t place) const;
  void count_up_to(int64_t place);

  int64_t window_, known_;
  const double *points_;
  const xlstmd_scale &scale_;
  int64_t seen_ = 0, counted_ = 0, last_ = -1;  // points looked at; of them observed; the last of these
};

}  // namespace xlstmd
#endif
