// Two products added up in registers, with what is scaled before, between and after.
//
// Right matrices have rows of whole vectors, so that no column is special.
#ifndef XLSTMD_SUM_PRODUCTS_H
#define XLSTMD_SUM_PRODUCTS_H

#include "gemm.h"

namespace xlstmd {

// A product that is added up with another.
template <class T>
struct Product {
  Left<T> a;
  const T *b;  // [depth][columns], rows `pitch` apart
  int64_t pitch, depth;
};

// out[r] = scale[r] * ((keep * start[r] + first[r]) * between[r] + second[r]), in whole vectors of
// columns: what lies behind the last column up to a whole vector is read and written too.
template <class T>
struct Sum {
  Product<T> first{}, second{};
  const T *start = nullptr;  // none: zeros; may be out
  int64_t start_row = 0;
  T keep = 1;
  const T *between = nullptr, *scale = nullptr;  // none: ones

  // The same for the rows from `row` on.
  Sum below(int64_t row) const {
    Sum sum = *this;
    sum.first.a.at += row * first.a.row;
    if (second.depth > 0) sum.second.a.at += row * second.a.row;
    if (start) sum.start += row * start_row;
    if (between) sum.between += row;
    if (scale) sum.scale += row;
    return sum;
  }
};

namespace detail {

template <class T, int ROWS, int VECTORS>
inline void add_product(Vec<T> (&sums)[ROWS][VECTORS], const Product<T> &p, int64_t column) {
  const T *rows[ROWS];
  for (int r = 0; r < ROWS; r++) rows[r] = p.a.at + r * p.a.row;
  accumulate<T, ROWS, VECTORS>(sums, p.depth, rows, p.a.step, Columns<T>{p.b + column, p.pitch});
}

template <class T, int ROWS, int VECTORS>
void sum_tile(const Sum<T> &sum, int64_t column, T *out, int64_t out_row) {
  Vec<T> sums[ROWS][VECTORS] = {};
  if (sum.start)
    for (int r = 0; r < ROWS; r++)
      for (int v = 0; v < VECTORS; v++)
        sums[r][v] = sum.keep * load<T>(sum.start + r * sum.start_row + column + v * kLanes<T>);
  add_product<T, ROWS, VECTORS>(sums, sum.first, column);
  if (sum.between)
    for (int r = 0; r < ROWS; r++)
      for (int v = 0; v < VECTORS; v++) sums[r][v] *= sum.between[r];
  if (sum.second.depth > 0) add_product<T, ROWS, VECTORS>(sums, sum.second, column);
  for (int r = 0; r < ROWS; r++)
    for (int v = 0; v < VECTORS; v++) {
      const Vec<T> total = sum.scale ? sums[r][v] * sum.scale[r] : sums[r][v];
      store<T>(out + r * out_row + column + v * kLanes<T>, total);
    }
}

}  // namespace detail

// `narrow(row, rows, sum)` may change a block of rows' depths, and gives how many columns it needs.
template <class T, class Narrow>
void sum_products(int64_t rows, int64_t columns, const Sum<T> &sum, T *out, int64_t out_row,
                  const Narrow &narrow) {
  for (int64_t column = 0; column < columns; column += kPanel<T>)
    for (int64_t row = 0; row < rows; row += kTileRows) {
      const int64_t count = std::min<int64_t>(kTileRows, rows - row);
      Sum<T> part = sum.below(row);
      const int64_t end = std::min(narrow(row, count, part), columns);
      const int64_t vectors = std::min<int64_t>(
          kPanelVectors, (end - column + kLanes<T> - 1) / kLanes<T>);
      if (vectors <= 0) continue;
      with_rows<kPanelVectors>(vectors, [&](auto wide) {
        with_rows<kTileRows>(count, [&](auto tall) {
          detail::sum_tile<T, decltype(tall)::value, decltype(wide)::value>(
              part, column, out + row * out_row, out_row);
        });
      });
    }
}

template <class T>
void sum_products(int64_t rows, int64_t columns, const Sum<T> &sum, T *out, int64_t out_row) {
  sum_products<T>(rows, columns, sum, out, out_row,
                  [columns](int64_t, int64_t, Sum<T> &) { return columns; });
}

// Numbers of a row in whole vectors.
template <class T>
constexpr int64_t whole_vectors(int64_t count) {
  return (count + kLanes<T> - 1) / kLanes<T> * kLanes<T>;
}

template <class T>
T dot(const T *a, const T *b, int64_t count) {
  Vec<T> sums[4] = {};
  int64_t i = 0;
  for (; i + 4 * kLanes<T> <= count; i += 4 * kLanes<T>)
    for (int v = 0; v < 4; v++)
      sums[v] += load<T>(a + i + v * kLanes<T>) * load<T>(b + i + v * kLanes<T>);
  for (; i + kLanes<T> <= count; i += kLanes<T>) sums[0] += load<T>(a + i) * load<T>(b + i);
  T total = sum_lanes<T>((sums[0] + sums[1]) + (sums[2] + sums[3]));
  for (; i < count; i++) total += a[i] * b[i];
  return total;
}

}  // namespace xlstmd
#endif
