// Functions of single numbers over an array.
#include <algorithm>

#include "vecmath.h"
#include "xlstmd_native.h"

namespace xlstmd {
namespace {

template <class Function>
void map(int64_t count, const float *x, float *y, const Function &function) {
  for (int64_t i = 0; i < count; i += kLanes<float>) {
    const int lanes = static_cast<int>(std::min<int64_t>(kLanes<float>, count - i));
    store_some<float>(y + i, function(load_some<float>(x + i, lanes)), lanes);
  }
}

}  // namespace
}  // namespace xlstmd

extern "C" void xlstmd_map_f32(int32_t function, int64_t count, const float *x, float *y) {
  using xlstmd::VecF;
  switch (function) {
    case XLSTMD_EXP: return xlstmd::map(count, x, y, [](VecF v) { return xlstmd::vexp(v); });
    case XLSTMD_LOG: return xlstmd::map(count, x, y, [](VecF v) { return xlstmd::vlog(v); });
    case XLSTMD_SIGMOID: return xlstmd::map(count, x, y, [](VecF v) { return xlstmd::vsigmoid(v); });
    case XLSTMD_TANH: return xlstmd::map(count, x, y, [](VecF v) { return xlstmd::vtanh(v); });
    case XLSTMD_LOGSIGMOID:
      return xlstmd::map(count, x, y, [](VecF v) { return xlstmd::vlogsigmoid(v); });
    case XLSTMD_SILU: return xlstmd::map(count, x, y, [](VecF v) { return xlstmd::vsilu(v); });
    case XLSTMD_GELU: return xlstmd::map(count, x, y, [](VecF v) { return xlstmd::vgelu(v); });
  }
}
