// A product of matrices that are used once: no packing ahead, any strides of the left one.
#ifndef XLSTMD_GEMM_H
#define XLSTMD_GEMM_H

#include <algorithm>

#include "tile.h"

namespace xlstmd {

// Depth of one pass: this much of the right matrix's columns stays in the nearest cache.
inline constexpr int64_t kDepthBlock = 256;

template <class E>
struct Left {
  const E *at;
  int64_t row;   // distance between rows
  int64_t step;  // distance along the depth
};

namespace detail {

template <class E, int ROWS, int VECTORS>
inline void block(int64_t depth, Left<E> a, const E *b, int64_t pitch, SumOf<E> *c, int64_t c_row,
                  bool add) {
  using T = SumOf<E>;
  Vec<T> sums[ROWS][VECTORS];
  for (int r = 0; r < ROWS; r++)
    for (int v = 0; v < VECTORS; v++)
      sums[r][v] = add ? load<T>(c + r * c_row + v * kLanes<T>) : Vec<T>{};
  const E *rows[ROWS];
  for (int r = 0; r < ROWS; r++) rows[r] = a.at + r * a.row;
  accumulate<T, ROWS, VECTORS>(sums, depth, rows, a.step, Columns<E>{b, pitch});
  for (int r = 0; r < ROWS; r++)
    for (int v = 0; v < VECTORS; v++) store<T>(c + r * c_row + v * kLanes<T>, sums[r][v]);
}

// The last columns, fewer than a vector: nothing beyond them is read or written.
template <class E>
void edge(int64_t rows, int64_t depth, Left<E> a, const E *b, int64_t pitch, SumOf<E> *c,
          int64_t c_row, int64_t columns, bool add) {
  using T = SumOf<E>;
  alignas(64) E packed[kDepthBlock * kLanes<T>];
  alignas(64) T tile[kTileRows * kLanes<T>] = {};
  std::fill_n(packed, depth * kLanes<T>, E{});
  for (int64_t k = 0; k < depth; k++) std::copy_n(b + k * pitch, columns, packed + k * kLanes<T>);
  for (int64_t r = 0; r < rows; r += kTileRows) {
    const int64_t count = std::min<int64_t>(kTileRows, rows - r);
    for (int64_t i = 0; add && i < count; i++)
      std::copy_n(c + (r + i) * c_row, columns, tile + i * kLanes<T>);
    with_rows<kTileRows>(count, [&](auto tall) {
      block<E, decltype(tall)::value, 1>(depth, {a.at + r * a.row, a.row, a.step}, packed, kLanes<T>,
                                         tile, kLanes<T>, add);
    });
    for (int64_t i = 0; i < count; i++)
      std::copy_n(tile + i * kLanes<T>, columns, c + (r + i) * c_row);
  }
}

template <class E, int VECTORS>
inline void rows_of_panel(int64_t rows, int64_t depth, Left<E> a, const E *b, int64_t pitch,
                          SumOf<E> *c, int64_t c_row, bool add) {
  for (int64_t r = 0; r < rows; r += kTileRows)
    with_rows<kTileRows>(std::min<int64_t>(kTileRows, rows - r), [&](auto count) {
      const Left<E> from{a.at + r * a.row, a.row, a.step};
      block<E, decltype(count)::value, VECTORS>(depth, from, b, pitch, c + r * c_row, c_row, add);
    });
}

}  // namespace detail

// C[rows, columns] = (add ? C : 0) + A[rows, depth] B[depth, columns]; rows of B and C are dense.
template <class E>
void gemm(int64_t rows, int64_t columns, int64_t depth, Left<E> a, const E *b, int64_t pitch,
          SumOf<E> *c, int64_t c_row, bool add) {
  using T = SumOf<E>;
  if (depth == 0 && !add)
    for (int64_t r = 0; r < rows; r++) std::fill_n(c + r * c_row, columns, T(0));
  for (int64_t k = 0; k < depth; k += kDepthBlock) {
    const int64_t deep = std::min(kDepthBlock, depth - k);
    const Left<E> from{a.at + k * a.step, a.row, a.step};
    const bool more = add || k > 0;
    int64_t n = 0;
    for (; n + kPanel<T> <= columns; n += kPanel<T>)
      detail::rows_of_panel<E, kPanelVectors>(rows, deep, from, b + k * pitch + n, pitch, c + n,
                                              c_row, more);
    for (; n + 2 * kLanes<T> <= columns; n += 2 * kLanes<T>)
      detail::rows_of_panel<E, 2>(rows, deep, from, b + k * pitch + n, pitch, c + n, c_row, more);
    for (; n + kLanes<T> <= columns; n += kLanes<T>)
      detail::rows_of_panel<E, 1>(rows, deep, from, b + k * pitch + n, pitch, c + n, c_row, more);
    if (n < columns)
      detail::edge<E>(rows, deep, from, b + k * pitch + n, pitch, c + n, c_row, columns - n, more);
  }
}

}  // namespace xlstmd
#endif
