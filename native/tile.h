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
  static Vec<E> load(const E *from) { return xlstmd::load<E>(from); }
  static Vec<E> spread(E x) { return splat<E>(x); }
  static void add(Vec<E> &sum, Vec<E> x, Vec<E> w) { sum += x * w; }
};
template <>
struct Terms<Pair> {
  using Sum = float;
  static VecI load(const Pair *from) {
    VecI pairs;
    __builtin_memcpy(&pairs, from, sizeof pairs);
    return pairs;
  }
  static uint32_t spread(Pair x) { return x.bits; }
  static void add(VecF &sum, uint32_t x, VecI w) { sum = dot2(sum, x, w); }
};
template <class E>
using SumOf = typename Terms<E>::Sum;

// sums[r][v] += sum over k of x[r][k * step] * columns[k * pitch + v * lanes]
template <class T, int ROWS, int VECTORS, int WIDTH, class E>
inline void accumulate(Vec<T> (&sums)[ROWS][WIDTH], int64_t depth, const E *const (&x)[ROWS],
                       int64_t step, const E *columns, int64_t pitch, int first = 0) {
  for (int64_t k = 0; k < depth; k++) {
    decltype(Terms<E>::load(columns)) w[VECTORS];
    for (int v = 0; v < VECTORS; v++) w[v] = Terms<E>::load(columns + k * pitch + v * kLanes<T>);
    for (int r = 0; r < ROWS; r++) {
      const auto value = Terms<E>::spread(x[r][k * step]);
      for (int v = 0; v < VECTORS; v++) Terms<E>::add(sums[r][first + v], value, w[v]);
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
