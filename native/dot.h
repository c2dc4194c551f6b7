// Short formats and their dot products: the only place with instructions of one CPU.
#ifndef XLSTMD_DOT_H
#define XLSTMD_DOT_H

#include "vec.h"

#if defined(__F16C__) || defined(__AVX512BF16__) || defined(__AVX512VNNI__)
#include <immintrin.h>
#endif

namespace xlstmd {

// To the nearest, ties to even; NaN stays NaN.
inline uint16_t to_bfloat16(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  return static_cast<uint16_t>(x != x ? (bits >> 16) | 0x40 : rounded);
}

typedef uint16_t VecH __attribute__((vector_size(kVectorBytes / 2)));

inline void store_bfloat16(uint16_t *to, VecF x, int count) {
  typedef uint32_t VecU __attribute__((vector_size(kVectorBytes)));
  const VecU bits = reinterpret_cast<VecU>(x);
  const VecU rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const VecU kept = (x != x) ? (bits >> 16) | 0x40 : rounded;
  const VecH halves = __builtin_convertvector(kept, VecH);
  __builtin_memcpy(to, &halves, 2 * static_cast<size_t>(count));
}

// Numbers that float16 holds exactly: whether this level reads them, which they are, and reading them.
#if defined(__F16C__)
inline constexpr bool kReadsFloat16 = true;
inline uint16_t to_float16(float x) { return static_cast<uint16_t>(_cvtss_sh(x, 0)); }
inline bool is_float16(float x) {
  const float back = _cvtsh_ss(to_float16(x));
  return std::memcmp(&back, &x, sizeof x) == 0;
}
inline VecF load_float16(const uint16_t *from) {
#if defined(__AVX512F__)
  return (VecF)_mm512_maskz_cvtph_ps(0xffff, _mm256_loadu_si256((const __m256i *)from));
#else
  return (VecF)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)from));
#endif
}
#else
inline constexpr bool kReadsFloat16 = false;
inline uint16_t to_float16(float) { return 0; }
inline bool is_float16(float) { return false; }
inline VecF load_float16(const uint16_t *) { return VecF{}; }
#endif

// sum + two products a lane: a pair of bfloat16 inputs by the pairs of weights.
inline VecF dot2(VecF sum, uint32_t pair, VecI weights) {
#if defined(__AVX512BF16__)
  const VecI pairs = static_cast<int32_t>(pair) - VecI{};
  return (VecF)_mm512_dpbf16_ps((__m512)sum, (__m512bh)pairs, (__m512bh)weights);
#else
  float low, high;
  const uint32_t low_bits = pair << 16, high_bits = pair & 0xffff0000u;
  std::memcpy(&low, &low_bits, 4);
  std::memcpy(&high, &high_bits, 4);
  const VecF first = reinterpret_cast<VecF>(weights << 16);
  const VecF second = reinterpret_cast<VecF>(weights & static_cast<int32_t>(0xffff0000u));
  return (sum + low * first) + high * second;
#endif
}

// sum + four products a lane: unsigned bytes of inputs by signed bytes of weights; exact.
inline VecI dot4(VecI sum, uint32_t four, VecI weights) {
#if defined(__AVX512VNNI__)
  const VecI fours = static_cast<int32_t>(four) - VecI{};
  return (VecI)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)fours, (__m512i)weights);
#else
  // Bytes of a weight word, sign kept: shifted up, then down.
  for (int i = 0; i < 4; i++) {
    const VecI byte = (weights << (24 - 8 * i)) >> 24;
    sum += static_cast<int32_t>((four >> (8 * i)) & 255) * byte;
  }
  return sum;
#endif
}

}  // namespace xlstmd
#endif
