// Vectors as the compiler's extension gives them: one source for every instruction level.
#ifndef XLSTMD_VEC_H
#define XLSTMD_VEC_H

#include <cstdint>
#include <cstring>
#include <utility>

namespace xlstmd {

#if defined(__AVX512F__)
inline constexpr int kVectorBytes = 64;
// Rows of a register tile of four vectors a row: as many as leave room for weights.
inline constexpr int kTileRows = 6;
#elif defined(__AVX2__)
inline constexpr int kVectorBytes = 32;
inline constexpr int kTileRows = 3;
#else
inline constexpr int kVectorBytes = 16;
#if defined(__aarch64__)
inline constexpr int kTileRows = 6;
#else
inline constexpr int kTileRows = 2;
#endif
#endif

typedef float VecF __attribute__((vector_size(kVectorBytes)));
typedef double VecD __attribute__((vector_size(kVectorBytes)));
typedef int32_t VecI __attribute__((vector_size(kVectorBytes)));
typedef int64_t VecL __attribute__((vector_size(kVectorBytes)));

template <class T>
struct VecOf;
template <>
struct VecOf<float> {
  using type = VecF;
  using mask = VecI;
};
template <>
struct VecOf<double> {
  using type = VecD;
  using mask = VecL;
};
template <class T>
using Vec = typename VecOf<T>::type;
template <class T>
using Mask = typename VecOf<T>::mask;

template <class T>
inline constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));

template <class T>
inline Vec<T> load(const T *from) {
  Vec<T> v;
  __builtin_memcpy(&v, from, sizeof v);
  return v;
}

// The first `count` lanes from memory, zeros in the others; nothing beyond is read.
template <class T>
inline Vec<T> load_some(const T *from, int count) {
  if (count >= kLanes<T>) return load<T>(from);
  Vec<T> v{};
  __builtin_memcpy(&v, from, sizeof(T) * static_cast<size_t>(count));
  return v;
}

template <class T>
inline void store(T *to, Vec<T> v) {
  __builtin_memcpy(to, &v, sizeof v);
}

template <class T>
inline void store_some(T *to, Vec<T> v, int count) {
  if (count >= kLanes<T>) return store<T>(to, v);
  __builtin_memcpy(to, &v, sizeof(T) * static_cast<size_t>(count));
}

template <class T>
inline Vec<T> splat(T x) {
  return x - Vec<T>{};
}

// Lanes of `yes` where the mask is set, of `no` elsewhere.
inline VecF pick(VecI mask, VecF yes, VecF no) { return mask ? yes : no; }
inline VecD pick(VecL mask, VecD yes, VecD no) { return mask ? yes : no; }

inline VecF max(VecF a, VecF b) { return a > b ? a : b; }
inline VecD max(VecD a, VecD b) { return a > b ? a : b; }
inline VecF min(VecF a, VecF b) { return a < b ? a : b; }
inline VecD min(VecD a, VecD b) { return a < b ? a : b; }

// Lane i of the result is lane i + DISTANCE, around the end.
template <class T, int DISTANCE, int... LANE>
inline Vec<T> rotated(Vec<T> v, std::integer_sequence<int, LANE...>) {
  return __builtin_shufflevector(v, v, ((LANE + DISTANCE) % kLanes<T>)...);
}

// Halves are added to halves, so that the order does not depend on the compiler.
template <class T, int HALF = kLanes<T> / 2>
inline T sum_lanes(Vec<T> v) {
  if constexpr (HALF == 0) {
    return v[0];
  } else {
    constexpr std::make_integer_sequence<int, kLanes<T>> kEach{};
    return sum_lanes<T, HALF / 2>(v + rotated<T, HALF>(v, kEach));
  }
}

}  // namespace xlstmd
#endif
