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

// Columns side by side, and their next terms `pitch` further.
template <class E>
struct Columns {
  const E *at;
  int64_t pitch;
  auto load(int64_t k, int v) const {
    return Terms<E>::load(at + k * pitch + v * kLanes<SumOf<E>>);
  }
};

// A panel of numbers that float16 holds exactly: half of its vectors are kept so, the others as
// float32. A product with few rows waits for memory where all are wide, and for the conversions where
// all are short.
struct MixedColumns {
  static constexpr int kShort = kPanelVectors / 2, kWide = kPanelVectors - kShort;
  const uint16_t *shorts;  // [depth][kShort][lanes]
  const float *wides;      // [depth][kWide][lanes]
  VecF load(int64_t k, int v) const {
    return v < kShort ? load_float16(shorts + (k * kShort + v) * kLanes<float>)
                      : xlstmd::load<float>(wides + (k * kWide + v - kShort) * kLanes<float>);
  }
};

// sums[r][first + v] += sum over k of x[r][k * step] * vector v of the columns' terms k
template <class T, int ROWS, int VECTORS, int WIDTH, class E, class From>
inline void accumulate(Vec<T> (&sums)[ROWS][WIDTH], int64_t depth, const E *const (&x)[ROWS],
                       int64_t step, const From &columns, int first = 0) {
  for (int64_t k = 0; k < depth; k++) {
    decltype(columns.load(0, 0)) w[VECTORS];
    for (int v = 0; v < VECTORS; v++) w[v] = columns.load(k, v);
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
