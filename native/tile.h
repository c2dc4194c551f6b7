// Register tiles: a few rows times up to four vectors of columns, summed over the depth in order.
//
// Every element is one chain of multiply-adds from the first to the last of its terms, whatever the
// number of rows in the tile: a row's result does not depend on its batch.
#ifndef XLSTMD_TILE_H
#define XLSTMD_TILE_H

#include <type_traits>

#include "dot.h"

namespace xlstmd {

inline constexpr int kPanelVectors = 4;
template <class T>
inline constexpr int kPanel = kPanelVectors * kLanes<T>;

// What is multiplied: numbers, or pairs of bfloat16 along the depth, whose two products are added
// at once.
struct Pair {
  uint32_t bits;
};
template <class E>
struct Terms {
  using Sum = E;
  using Lanes = Vec<E>;
  static Vec<E> add(Vec<E> sum, E x, Vec<E> w) { return sum + splat<E>(x) * w; }
};
template <>
struct Terms<Pair> {
  using Sum = float;
  using Lanes = VecI;
  static VecF add(VecF sum, Pair x, VecI w) { return dot2(sum, x.bits, w); }
};
template <class E>
using SumOf = typename Terms<E>::Sum;

// sums[r][v] += sum over k of x[r][k * step] * columns[k * pitch + v * lanes]
template <class T, int ROWS, int VECTORS, int WIDTH, class E>
inline void accumulate(Vec<T> (&sums)[ROWS][WIDTH], int64_t depth, const E *const (&x)[ROWS],
                       int64_t step, const E *columns, int64_t pitch, int first = 0) {
  for (int64_t k = 0; k < depth; k++) {
    typename Terms<E>::Lanes w[VECTORS];
    for (int v = 0; v < VECTORS; v++)
      __builtin_memcpy(&w[v], columns + k * pitch + v * kLanes<T>, sizeof w[v]);
    for (int r = 0; r < ROWS; r++) {
      const E value = x[r][k * step];
      for (int v = 0; v < VECTORS; v++)
        sums[r][first + v] = Terms<E>::add(sums[r][first + v], value, w[v]);
    }
  }
}

// Calls f with the number of rows as a constant.
template <int LARGEST, class F>
inline void with_rows(int64_t rows, const F &f) {
  if constexpr (LARGEST > 1) {
    if (rows < LARGEST) return with_rows<LARGEST - 1>(rows, f);
  }
  f(std::integral_constant<int, LARGEST>{});
}

}  // namespace xlstmd
#endif
