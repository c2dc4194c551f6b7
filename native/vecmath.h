// exp, log, sigmoid, tanh and what gates need of them, on whole vectors.
//
// float: range reduction and polynomials (Chebyshev interpolation in the reduced range), a few units
// in the last place over all of float, infinities and subnormals included; NaN stays NaN. double:
// lane by lane through libm; that form exists to check the float one, not to be fast.
#ifndef XLSTMD_VECMATH_H
#define XLSTMD_VECMATH_H

#include <cmath>

#include "vec.h"

namespace xlstmd {

inline VecF as_float(VecI bits) { return reinterpret_cast<VecF>(bits); }
inline VecI as_bits(VecF x) { return reinterpret_cast<VecI>(x); }
inline VecF absolute(VecF x) { return as_float(as_bits(x) & 0x7fffffff); }
inline VecD absolute(VecD x) { return x < 0 ? -x : x; }

// 2^n for n in -252 … 252, as two factors so that neither overflows nor turns subnormal.
inline VecF scale_by_power(VecF x, VecI n) {
  const VecI half = n >> 1, rest = n - half;
  return x * as_float((half + 127) << 23) * as_float((rest + 127) << 23);
}

inline VecF vexp(VecF x) {
  // Beyond these the result is infinity, or rounds to zero.
  const VecF bounded = min(max(x, splat<float>(-104.0f)), splat<float>(89.0f));
  // Adding 1.5 * 2^23 leaves the nearest whole number in the low bits.
  const VecF shifted = bounded * 1.44269504088896341f + 12582912.0f;
  const VecI n = as_bits(shifted) - 0x4b400000;
  const VecF whole = shifted - 12582912.0f;
  const VecF r = (bounded - whole * 0.693145751953125f) - whole * 1.42860682030941723e-6f;
  VecF p = splat<float>(1.3942159880561559e-3f);
  p = p * r + 8.375968226539809e-3f;
  p = p * r + 4.1666340141410456e-2f;
  p = p * r + 1.6666405302631393e-1f;
  p = p * r + 5.000000050019137e-1f;
  p = p * r + 1.0000000400388704f;
  p = p * r + 1.0f;
  const VecF result = scale_by_power(p, n);
  return pick(x != x, x, result);
}

// log(1 + e) for e in [0, 1], relative accuracy down to the smallest e: 2 atanh(e / (2 + e)).
inline VecF log1p_unit(VecF e) {
  const VecF s = e / (e + 2.0f), u = s * s;
  VecF q = splat<float>(1.0930316939272543e-1f);
  q = q * u + 8.561257287222798e-2f;
  q = q * u + 1.115256509531406e-1f;
  q = q * u + 1.428407258679881e-1f;
  q = q * u + 2.0000030712796468e-1f;
  q = q * u + 3.3333333118940456e-1f;
  return 2.0f * s + 2.0f * s * u * q;
}

inline VecF vlog(VecF x) {
  // Subnormals are lifted into the normal range first.
  const VecI tiny = x < 1.17549435e-38f;
  const VecI bits = as_bits(absolute(pick(tiny, x * 8388608.0f, x)));
  // The mantissa in [sqrt(1/2), sqrt(2)), so that log 1 is exact and nothing cancels near it.
  const VecI above = (bits - 0x3f3504f3) >> 23;
  const VecF m = as_float(bits - (above << 23));
  const VecI exponent = above + (tiny & -23);
  const VecF n = __builtin_convertvector(exponent, VecF);
  const VecF s = (m - 1.0f) / (m + 1.0f), u = s * s;
  VecF q = splat<float>(1.115256509531406e-1f);
  q = q * u + 1.428407258679881e-1f;
  q = q * u + 2.0000030712796468e-1f;
  q = q * u + 3.3333333118940456e-1f;
  VecF result = n * 1.42860682030941723e-6f + 2.0f * s * u * q;
  result = (result + 2.0f * s) + n * 0.693145751953125f;
  const VecF infinity = splat<float>(INFINITY);
  result = pick(x == infinity, infinity, result);
  result = pick(x == 0.0f, -infinity, result);
  return pick((x < 0.0f) | (x != x), splat<float>(NAN), result);
}

inline VecF vsigmoid(VecF x) {
  // exp of a number that is not positive: never overflows, and exact to the last subnormal.
  const VecF e = vexp(-absolute(x));
  return pick(x < 0.0f, e, splat<float>(1.0f)) / (1.0f + e);
}

inline VecF vlogsigmoid(VecF x) {
  return min(x, splat<float>(0.0f)) - log1p_unit(vexp(-absolute(x)));
}

inline VecF vtanh(VecF x) {
  const VecF size = absolute(x), u = x * x;
  VecF p = splat<float>(-7.612595070149962e-4f);
  p = p * u + 3.1838931653813156e-3f;
  p = p * u + -8.735577354631466e-3f;
  p = p * u + 2.184837799675304e-2f;
  p = p * u + -5.396656509223863e-2f;
  p = p * u + 1.3333328214322188e-1f;
  p = p * u + -3.333333330778946e-1f;
  const VecF small = size + size * u * p;
  const VecF large = 1.0f - 2.0f / (vexp(2.0f * size) + 1.0f);
  const VecI sign = as_bits(x) & static_cast<int>(0x80000000);
  return pick(x != x, x, as_float(as_bits(pick(size < 0.7f, small, large)) | sign));
}

// The exponential enters as two factors, so that none of them turns subnormal before the product.
inline VecF vsilu(VecF x) {
  const VecF finite = pick(x < -1e30f, splat<float>(-1e30f), x);
  const VecF root = vexp(-0.5f * absolute(x));
  return pick(x < 0.0f, finite * root * root, finite) / (1.0f + root * root);
}

// The normal distribution's mass beyond |x|, by erfc(y) exp(y^2) as a polynomial of 1 / (1 + y / 2).
inline VecF vnormal_tail(VecF x) {
  const VecF size = absolute(x), t = 1.0f / (1.0f + 0.35355339059327376f * size);
  VecF p = splat<float>(4.535133646674116e-2f);
  p = p * t + -2.4558003550522373e-1f;
  p = p * t + 5.168995384938172e-1f;
  p = p * t + -4.8247475865194006e-1f;
  p = p * t + 1.518851783222834e-1f;
  p = p * t + -6.795827474360032e-2f;
  p = p * t + 9.582719924029603e-2f;
  p = p * t + 1.7494859634e-1f;
  p = p * t + 2.4691356121580665e-1f;
  p = p * t + 2.8209286733469924e-1f;
  p = p * t + 2.820947996512725e-1f;
  // exp(-x^2 / 2): the square's rounding error would grow with x; its head is exact in float.
  const VecF head = as_float(as_bits(size) & static_cast<int>(0xfffff000));
  const VecF tail = vexp(-0.5f * head * head) * vexp(0.5f * (head - size) * (head + size));
  return 0.5f * p * t * tail;
}

// Phi(x), the mass below x.
inline VecF vnormal(VecF x) {
  const VecF zero = splat<float>(0.0f), one = splat<float>(1.0f), tail = vnormal_tail(x);
  const VecF below = pick(x < -30.0f, zero, tail), above = pick(x > 30.0f, one, one - tail);
  return pick(x != x, x, pick(x < 0.0f, below, above));
}

// x Phi(x).
inline VecF vgelu(VecF x) {
  const VecF half = x * vnormal_tail(x), zero = splat<float>(0.0f);
  const VecF below = pick(x < -30.0f, zero, half), above = pick(x > 30.0f, x, x - half);
  return pick(x != x, x, pick(x < 0.0f, below, above));
}

#define XLSTMD_LANES(name, expression)               \
  inline VecD name(VecD x) {                         \
    for (int i = 0; i < kLanes<double>; i++) {       \
      const double a = x[i];                         \
      x[i] = expression;                             \
    }                                                \
    return x;                                        \
  }
XLSTMD_LANES(vexp, std::exp(a))
XLSTMD_LANES(vlog, std::log(a))
XLSTMD_LANES(vtanh, std::tanh(a))
XLSTMD_LANES(vsigmoid, a < 0 ? std::exp(a) / (1 + std::exp(a)) : 1 / (1 + std::exp(-a)))
XLSTMD_LANES(vlogsigmoid, (a < 0 ? a : 0.0) - std::log1p(std::exp(-std::fabs(a))))
XLSTMD_LANES(vsilu, a < -700 ? 0.0 : a / (1 + std::exp(-a)))
XLSTMD_LANES(vnormal, 0.5 * std::erfc(-a * 0.70710678118654752440))
XLSTMD_LANES(vgelu, a < -40 ? 0.0 : 0.5 * a * std::erfc(-a * 0.70710678118654752440))
#undef XLSTMD_LANES

// Bounded smoothly to ±cap; a cap of 0 leaves it as it is.
template <class T>
inline Vec<T> capped(Vec<T> x, T cap) {
  return cap > 0 ? cap * vtanh(x / cap) : x;
}

}  // namespace xlstmd
#endif
