// A product of matrices that are used once, as an operation of its own.
#include "gemm.h"

#include "guard.h"
#include "pool.h"
#include "xlstmd_native.h"

namespace xlstmd {
namespace {

int64_t pieces(int64_t size, int64_t piece) { return (size + piece - 1) / piece; }

// The rows and columns of a task: large, unless that leaves threads without work.
struct Tasks {
  int64_t rows = 16 * kTileRows, columns;

  Tasks(int64_t m, int64_t n, int64_t panel, int threads) : columns(4 * panel) {
    const auto few = [&] { return pieces(m, rows) * pieces(n, columns) < 4 * threads; };
    while (few() && columns > panel) columns /= 2;
    while (few() && rows > 4 * kTileRows) rows /= 2;
  }
};

template <class T>
int32_t run(xlstmd_pool *pool, int64_t m, int64_t n, int64_t k, Left<T> a, const T *b, T *c) {
  return guarded([&] {
    const auto lock = pool->enter();
    const Tasks tasks(m, n, kPanel<T>, pool->threads());
    const int64_t tall = pieces(m, tasks.rows), wide = pieces(n, tasks.columns);
    pool->run(tall * wide, [&](int64_t task, int) {
      const int64_t row = task % tall * tasks.rows, column = task / tall * tasks.columns;
      gemm<T>(std::min(tasks.rows, m - row), std::min(tasks.columns, n - column), k,
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
