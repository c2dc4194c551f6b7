// Matrices turned on their side, a square of one vector's lanes at a time.
#ifndef XLSTMD_TRANSPOSE_H
#define XLSTMD_TRANSPOSE_H

#include <algorithm>
#include <utility>

#include "vec.h"

namespace xlstmd {

namespace detail {

// Lane `lane` of the first result: its own, or the second vector's from `DISTANCE` lanes before.
template <int LANES, int DISTANCE>
constexpr int from_first(int lane) {
  return lane & DISTANCE ? LANES + lane - DISTANCE : lane;
}
template <int LANES, int DISTANCE>
constexpr int from_second(int lane) {
  return lane & DISTANCE ? LANES + lane : lane + DISTANCE;
}

template <class T, int DISTANCE, int... LANE>
inline void exchange(Vec<T> &a, Vec<T> &b, std::integer_sequence<int, LANE...>) {
  constexpr int kCount = sizeof...(LANE);
  const Vec<T> first = __builtin_shufflevector(a, b, from_first<kCount, DISTANCE>(LANE)...);
  b = __builtin_shufflevector(a, b, from_second<kCount, DISTANCE>(LANE)...);
  a = first;
}

template <class T, int DISTANCE>
inline void turn_squares(Vec<T> (&rows)[kLanes<T>]) {
  for (int i = 0; i < kLanes<T>; i++)
    if (!(i & DISTANCE))
      exchange<T, DISTANCE>(rows[i], rows[i + DISTANCE],
                            std::make_integer_sequence<int, kLanes<T>>{});
  if constexpr (DISTANCE > 1) turn_squares<T, DISTANCE / 2>(rows);
}

}  // namespace detail

// to[c * to_row + r] = from[r * from_row + c], bits as they are: T may stand for what has its size.
template <class T>
void transpose(int64_t rows, int64_t columns, const T *from, int64_t from_row, T *to,
               int64_t to_row) {
  constexpr int kSide = kLanes<T>;
  const int64_t whole_rows = rows / kSide * kSide, whole_columns = columns / kSide * kSide;
  for (int64_t r = 0; r < whole_rows; r += kSide)
    for (int64_t c = 0; c < whole_columns; c += kSide) {
      Vec<T> square[kSide];
      for (int i = 0; i < kSide; i++) square[i] = load<T>(from + (r + i) * from_row + c);
      detail::turn_squares<T, kSide / 2>(square);
      for (int i = 0; i < kSide; i++) store<T>(to + (c + i) * to_row + r, square[i]);
    }
  for (int64_t r = 0; r < rows; r++)
    for (int64_t c = r < whole_rows ? whole_columns : 0; c < columns; c++)
      __builtin_memcpy(to + c * to_row + r, from + r * from_row + c, sizeof(T));
}

}  // namespace xlstmd
#endif
