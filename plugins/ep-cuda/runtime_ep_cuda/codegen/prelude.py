"""The text in front of every kernel: element types, loads and stores, mathematics.

Elements in memory have the types of `elements.ELEMENTS`; ``rt_wide`` reads one into a
register, ``rt_put`` rounds a register into one. ``rt_pack<T, N>`` holds N neighbours,
moved by `rt_read` and `rt_write` in words of up to 16 bytes. Mathematical functions are
overloaded by type, propagate NaN and are precise: no approximations of hardware.
Whole numbers wrap around; a quotient by zero is zero. Floats become integers by
truncation, and those that 32 or 64 bits cannot hold become the lowest number, as the
CPU provider has it; narrower integers take the low bits of 32.
"""

from __future__ import annotations

from typing import Final

_TYPES: Final = r"""
#ifdef __CUDACC__
#include <cuda_fp16.h>
#include <cuda_bf16.h>
#define RT_INLINE __device__ __forceinline__
#else
#define RT_INLINE inline
#endif

typedef __half rt_f16;
typedef __nv_bfloat16 rt_bf16;
typedef signed char rt_i8;
typedef unsigned char rt_u8;
typedef short rt_i16;
typedef unsigned short rt_u16;
typedef unsigned int rt_u32;
typedef long long rt_i64;
typedef unsigned long long rt_u64;
struct rt_bool { rt_u8 byte; };

template <typename A, typename B> struct rt_same { static constexpr bool value = false; };
template <typename A> struct rt_same<A, A> { static constexpr bool value = true; };
template <typename T> struct rt_kind {
  static constexpr bool floating = rt_same<T, float>::value || rt_same<T, double>::value;
  static constexpr bool boolean = rt_same<T, bool>::value;
  static constexpr bool is_signed = T(-1) < T(0);
};
template <int Bytes> struct rt_word;
template <> struct rt_word<1> { typedef rt_u8 type; };
template <> struct rt_word<2> { typedef rt_u16 type; };
template <> struct rt_word<4> { typedef rt_u32 type; };
template <> struct rt_word<8> { typedef uint2 type; };
template <> struct rt_word<16> { typedef uint4 type; };
"""

_MEMORY: Final = r"""
template <typename T> RT_INLINE T rt_wide(T x) { return x; }
RT_INLINE float rt_wide(rt_f16 x) { return __half2float(x); }
RT_INLINE float rt_wide(rt_bf16 x) { return __bfloat162float(x); }
RT_INLINE bool rt_wide(rt_bool x) { return x.byte != 0; }
template <typename T> RT_INLINE void rt_put(T& y, T x) { y = x; }
RT_INLINE void rt_put(rt_f16& y, float x) { y = __float2half_rn(x); }
RT_INLINE void rt_put(rt_bf16& y, float x) { y = __float2bfloat16_rn(x); }
RT_INLINE void rt_put(rt_f16& y, double x) { y = __double2half(x); }
RT_INLINE void rt_put(rt_bf16& y, double x) { y = __double2bfloat16(x); }
RT_INLINE void rt_put(rt_bool& y, bool x) { y.byte = x; }

template <typename T, int N> struct rt_pack { T at[N]; };

template <typename T, int N> RT_INLINE rt_pack<T, N> rt_read(const T* from) {
  constexpr int size = sizeof(T) * N, step = size < 16 ? size : 16;
  typedef typename rt_word<step>::type word;
  rt_pack<T, N> pack;
#pragma unroll
  for (int i = 0; i < size / step; ++i) {
    word w = reinterpret_cast<const word*>(from)[i];
    memcpy(reinterpret_cast<char*>(&pack) + i * step, &w, step);
  }
  return pack;
}
template <typename T, int N> RT_INLINE void rt_write(T* to, const rt_pack<T, N>& pack) {
  constexpr int size = sizeof(T) * N, step = size < 16 ? size : 16;
  typedef typename rt_word<step>::type word;
#pragma unroll
  for (int i = 0; i < size / step; ++i) {
    word w;
    memcpy(&w, reinterpret_cast<const char*>(&pack) + i * step, step);
    reinterpret_cast<word*>(to)[i] = w;
  }
}
template <typename T, int N> RT_INLINE rt_pack<T, N> rt_read_some(const T* from, int count) {
  rt_pack<T, N> pack;
#pragma unroll
  for (int i = 0; i < N; ++i) pack.at[i] = from[i < count ? i : 0];
  return pack;
}
template <typename T, int N>
RT_INLINE void rt_write_some(T* to, const rt_pack<T, N>& pack, int count) {
#pragma unroll
  for (int i = 0; i < N; ++i) if (i < count) to[i] = pack.at[i];
}

RT_INLINE rt_u32 rt_high(rt_u32 a, rt_u32 b) { return rt_u32((rt_u64(a) * b) >> 32); }
// n / d for n below 2**31, by what codegen.indices.magic says of d
RT_INLINE rt_u32 rt_over(rt_u32 n, rt_u32 magic, rt_u32 shift) {
  return (rt_high(n, magic) + n) >> shift;
}
RT_INLINE float rt_float_of(rt_u32 bits) { float x; memcpy(&x, &bits, 4); return x; }
RT_INLINE double rt_double_of(rt_u64 bits) { double x; memcpy(&x, &bits, 8); return x; }
#define RT_INF rt_float_of(0x7f800000u)
#define RT_NAN rt_float_of(0x7fc00000u)
"""

_INTEGERS: Final = r"""
template <typename T> RT_INLINE T rt_quotient(T a, T b) {
  if (b == T(0)) return T(0);
  if constexpr (rt_kind<T>::is_signed) {
    if (b == T(-1)) return T(0 - rt_u64(a));
  }
  return T(a / b);
}
template <typename T> RT_INLINE T rt_remainder(T a, T b) {
  if (b == T(0)) return T(0);
  if constexpr (rt_kind<T>::is_signed) {
    if (b == T(-1)) return T(0);
  }
  return T(a % b);
}
template <typename T> RT_INLINE T rt_fmod(T a, T b) {
  if constexpr (rt_same<T, float>::value) return fmodf(a, b);
  else if constexpr (rt_same<T, double>::value) return fmod(a, b);
  else return rt_remainder(a, b);
}
template <typename T> RT_INLINE T rt_mod(T a, T b) {
  T rest = rt_fmod(a, b);
  if constexpr (rt_kind<T>::floating) {
    if (rest == T(0)) return b < T(0) ? -T(0) : T(0);
  }
  if (rest != T(0) && (rest < T(0)) != (b < T(0))) rest = T(rest + b);
  return rest;
}
template <typename T> RT_INLINE T rt_shift_left(T a, T b) {
  return b < T(0) || rt_u64(b) >= 8 * sizeof(T) ? T(0) : T(rt_u64(a) << int(b));
}
template <typename T> RT_INLINE T rt_shift_right(T a, T b) {
  const bool out = b < T(0) || rt_u64(b) >= 8 * sizeof(T);
  return T(a >> (out ? int(8 * sizeof(T)) - 1 : int(b))) & (out && !(a < T(0)) ? T(0) : T(-1));
}
template <typename T> RT_INLINE T rt_power_of_integers(T a, rt_i64 n) {
  if (n < 0) {
    if (a == T(1)) return a;
    if constexpr (rt_kind<T>::is_signed) {
      if (a == T(-1)) return n & 1 ? a : T(1);
    }
    return T(0);
  }
  rt_u64 found = 1, base = rt_u64(a);
  for (; n; n >>= 1, base *= base) found *= n & 1 ? base : rt_u64(1);
  return T(found);
}
"""

_CASTS: Final = r"""
template <typename T, typename F> RT_INLINE T rt_truncate(F x) {
  if constexpr (rt_same<T, rt_i64>::value) {
    const bool fits = x >= F(-9223372036854775808.0) && x < F(9223372036854775808.0);
    return fits ? rt_i64(x) : rt_i64(rt_u64(1) << 63);
  } else if constexpr (rt_same<T, rt_u64>::value) {
    const F half = F(9223372036854775808.0);
    if (x < half) return rt_u64(rt_truncate<rt_i64>(x));
    return rt_u64(rt_truncate<rt_i64>(x - half)) ^ (rt_u64(1) << 63);
  } else if constexpr (rt_same<T, rt_u32>::value) {
    return rt_u32(rt_truncate<rt_i64>(x));
  } else {
    const bool fits = x > F(-2147483649.0) && x < F(2147483648.0);
    return T(fits ? int(x) : int(1u << 31));
  }
}
template <typename T, typename F> RT_INLINE T rt_cast(F x) {
  if constexpr (rt_kind<T>::boolean) return x != F(0);
  else if constexpr (rt_kind<F>::floating && !rt_kind<T>::floating) return rt_truncate<T>(x);
  else return T(x);
}
template <typename T, typename F> RT_INLINE F rt_round(F x) {
  if constexpr (rt_same<T, float>::value) {
    return F(float(x));
  } else {
    T narrow;
    rt_put(narrow, x);
    return F(rt_wide(narrow));
  }
}
"""

_MATH: Final = r"""
#define RT_FUNCTION(name, single, wide) \
  RT_INLINE float rt_##name(float x) { return single(x); } \
  RT_INLINE double rt_##name(double x) { return wide(x); }
RT_FUNCTION(sqrt, sqrtf, sqrt)
RT_FUNCTION(exp, expf, exp)
RT_FUNCTION(expm1, expm1f, expm1)
RT_FUNCTION(log, logf, log)
RT_FUNCTION(log1p, log1pf, log1p)
RT_FUNCTION(tanh, tanhf, tanh)
RT_FUNCTION(erf, erff, erf)
RT_FUNCTION(sin, sinf, sin)
RT_FUNCTION(cos, cosf, cos)
RT_FUNCTION(tan, tanf, tan)
RT_FUNCTION(asin, asinf, asin)
RT_FUNCTION(acos, acosf, acos)
RT_FUNCTION(atan, atanf, atan)
RT_FUNCTION(sinh, sinhf, sinh)
RT_FUNCTION(cosh, coshf, cosh)
RT_FUNCTION(asinh, asinhf, asinh)
RT_FUNCTION(acosh, acoshf, acosh)
RT_FUNCTION(atanh, atanhf, atanh)
RT_FUNCTION(rsqrt, rsqrtf, 1.0 / sqrt)
#undef RT_FUNCTION

#define RT_ROUNDING(name, single, wide) \
  template <typename T> RT_INLINE T rt_##name(T x) { \
    if constexpr (rt_same<T, float>::value) return single(x); \
    else if constexpr (rt_same<T, double>::value) return wide(x); \
    else return x; \
  }
RT_ROUNDING(floor, floorf, floor)
RT_ROUNDING(ceil, ceilf, ceil)
RT_ROUNDING(rint, rintf, rint)
RT_ROUNDING(trunc, truncf, trunc)
#undef RT_ROUNDING

template <typename T> RT_INLINE T rt_max(T a, T b) { return a > b || a != a ? a : b; }
template <typename T> RT_INLINE T rt_min(T a, T b) { return a < b || a != a ? a : b; }
template <typename T> RT_INLINE T rt_abs(T x) {
  if constexpr (rt_same<T, float>::value) return fabsf(x);
  else if constexpr (rt_same<T, double>::value) return fabs(x);
  else return x < T(0) ? T(0 - rt_u64(x)) : x;
}
template <typename T> RT_INLINE T rt_sign(T x) {
  return x > T(0) ? T(1) : x < T(0) ? T(-1) : x != x ? x : T(0);
}
template <typename T> RT_INLINE bool rt_is_inf(T x, bool negative, bool positive) {
  if constexpr (!rt_kind<T>::floating) return false;
  else return (positive && x == T(RT_INF)) || (negative && x == -T(RT_INF));
}
template <typename T, typename E> RT_INLINE T rt_pow(T a, E b) {
  if constexpr (rt_same<T, float>::value) return powf(a, float(b));
  else if constexpr (rt_same<T, double>::value) return pow(a, double(b));
  else if constexpr (rt_kind<E>::floating) return rt_truncate<T>(pow(double(a), double(b)));
  else return rt_power_of_integers(a, rt_i64(b));
}
"""

_ATOMICS: Final = r"""
// Replace an element by what `change` makes of it, as one step among all threads.
template <typename T, typename F> RT_INLINE void rt_atomic(T* at, F change) {
  if constexpr (sizeof(T) == 8) {
    rt_u64* word = reinterpret_cast<rt_u64*>(at);
    for (rt_u64 seen = *word, old;; seen = old) {
      T value;
      memcpy(&value, &seen, 8);
      rt_put(value, change(rt_wide(value)));
      rt_u64 made;
      memcpy(&made, &value, 8);
      old = atomicCAS(word, seen, made);
      if (old == seen) return;
    }
  } else {
    const rt_u64 address = reinterpret_cast<rt_u64>(at);
    const int shift = int(address & 3) * 8;
    rt_u32* word = reinterpret_cast<rt_u32*>(address & ~rt_u64(3));
    for (rt_u32 seen = *word, old;; seen = old) {
      T value;
      const rt_u32 low = seen >> shift;
      memcpy(&value, &low, sizeof(T));
      rt_put(value, change(rt_wide(value)));
      rt_u32 made = 0;
      memcpy(&made, &value, sizeof(T));
      const rt_u32 mask = (sizeof(T) == 4 ? ~0u : (1u << 8 * sizeof(T) % 32) - 1) << shift;
      old = atomicCAS(word, seen, (seen & ~mask) | (made << shift));
      if (old == seen) return;
    }
  }
}
"""

PRELUDE: Final = _TYPES + _MEMORY + _INTEGERS + _CASTS + _MATH + _ATOMICS
"""What `Kernel.text` relies on; the same for NVRTC and for the tests' host compiler."""
