// A product of matrices that are used once, as an operation of its own.
#include "guard.h"
#include "products.h"
#include "xlstmd_native.h"

namespace xlstmd {
namespace {

template <class T>
int32_t run(xlstmd_pool *pool, int64_t m, int64_t n, int64_t k, Left<T> a, const T *b, T *c) {
  return guarded([&] {
    const auto lock = pool->enter();
    product<T>(*pool, m, n, k, a, b, c);
  });
}

}  // namespace
}  // namespace xlstmd

extern "C" int32_t xlstmd_gemm_f32(xlstmd_pool *pool, int64_t m, int64_t n, int64_t k,
                                   const float *a, int64_t a_row, int64_t a_column, const float *b,
                                   float *c) {
  return xlstmd::run<float>(pool, m, n, k, {a, a_row, a_column}, b, c);
}

extern "C" int32_t xlstmd_gemm_f64(xlstmd_pool *pool, int64_t m, int64_t n, int64_t k,
                                   const double *a, int64_t a_row, int64_t a_column,
                                   const double *b, double *c) {
  return xlstmd::run<double>(pool, m, n, k, {a, a_row, a_column}, b, c);
}
