// The scale of a single series.
#include "scaling.h"

#include "guard.h"

extern "C" int32_t xlstmd_scale_advance(xlstmd_scale *scale, const double *points, int64_t count,
                                        int64_t seen, int64_t context_length, int64_t *dropped,
                                        int32_t *renewed) {
  return xlstmd::guarded([&] {
    xlstmd_scale now = *scale;
    bool any = false;
    *dropped = xlstmd::Scaling(now, points, count, context_length).advance(seen, any);
    *renewed = any ? 1 : 0;
    *scale = now;
  });
}
