// A product of matrices that are used once, over a pool.
#ifndef XLSTMD_PRODUCTS_H
#define XLSTMD_PRODUCTS_H

#include "gemm.h"
#include "pool.h"

namespace xlstmd {

// The rows and columns of a task: large, unless that leaves threads without work.
struct ProductTasks {
  int64_t rows = 16 * kTileRows, columns;

  ProductTasks(int64_t m, int64_t n, int64_t panel, int threads) : columns(4 * panel) {
    const auto few = [&] { return pieces(m, rows) * pieces(n, columns) < 4 * threads; };
    while (few() && columns > panel) columns /= 2;
    while (few() && rows > 4 * kTileRows) rows /= 2;
  }
  static int64_t pieces(int64_t size, int64_t piece) { return (size + piece - 1) / piece; }
};

// c[m, n] = (add ? c : 0) + a[m, k] b[k, n]; rows of b lie n apart, those of c too.
template <class E>
void product(xlstmd_pool &pool, int64_t m, int64_t n, int64_t k, Left<E> a, const E *b, SumOf<E> *c,
             bool add = false) {
  const ProductTasks tasks(m, n, kPanel<SumOf<E>>, pool.threads());
  const int64_t tall = tasks.pieces(m, tasks.rows), wide = tasks.pieces(n, tasks.columns);
  pool.run(tall * wide, [&](int64_t task, int) {
    const int64_t row = task % tall * tasks.rows, column = task / tall * tasks.columns;
    gemm<E>(std::min(tasks.rows, m - row), std::min(tasks.columns, n - column), k,
            {a.at + row * a.row, a.row, a.step}, b + column, n, c + row * n + column, n, add);
  });
}

}  // namespace xlstmd
#endif
