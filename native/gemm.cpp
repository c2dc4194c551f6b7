#include "gemm.h"

#include "guard.h"
#include "pool.h"
#include "xlstmd_native.h"

namespace xlstmd {
namespace {

// Rows by columns of one task; the columns' part of b stays in the second cache.
constexpr int64_t kTaskRows = 96, kTaskColumns = 256;

template <class T>
int32_t run(xlstmd_pool *pool, int64_t m, int64_t n, int64_t k, Left<T> a, const T *b, T *c) {
  return guarded([&] {
    const auto lock = pool->enter();
    const int64_t tall = (m + kTaskRows - 1) / kTaskRows;
    const int64_t wide = (n + kTaskColumns - 1) / kTaskColumns;
    pool->run(tall * wide, [&](int64_t task, int) {
      const int64_t row = task % tall * kTaskRows, column = task / tall * kTaskColumns;
      gemm<T>(std::min(kTaskRows, m - row), std::min(kTaskColumns, n - column), k,
              {a.at + row * a.row, a.row, a.step}, b + column, n, c + row * n + column, n, false);
    });
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
