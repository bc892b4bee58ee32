// CUDA's numbers: intrinsics of integers and floats, conversions, atomic operations.
#pragma once

#define SHIM_REINTERPRET(name, To, From) \
  static inline To name(From v) { return shim_bits<To>(v); }
SHIM_REINTERPRET(__float_as_int, int, float)
SHIM_REINTERPRET(__float_as_uint, unsigned, float)
SHIM_REINTERPRET(__int_as_float, float, int)
SHIM_REINTERPRET(__uint_as_float, float, unsigned)
SHIM_REINTERPRET(__double_as_longlong, long long, double)
SHIM_REINTERPRET(__longlong_as_double, double, long long)

static inline int __mulhi(int a, int b) { return (int)(((long long)a * b) >> 32); }
static inline unsigned __umulhi(unsigned a, unsigned b) {
  return (unsigned)(((unsigned long long)a * b) >> 32);
}
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return (unsigned long long)(((unsigned __int128)a * b) >> 64);
}
static inline long long __mul64hi(long long a, long long b) {
  return (long long)(((__int128)a * b) >> 64);
}
static inline int __clz(int v) { return v ? __builtin_clz((unsigned)v) : 32; }
static inline int __clzll(long long v) { return v ? __builtin_clzll(v) : 64; }
static inline int __ffs(int v) { return __builtin_ffs(v); }
static inline int __ffsll(long long v) { return __builtin_ffsll(v); }
static inline int __popc(unsigned v) { return __builtin_popcount(v); }
static inline int __popcll(unsigned long long v) { return __builtin_popcountll(v); }
static inline unsigned __brev(unsigned v) {
  unsigned r = 0;
  for (int i = 0; i < 32; ++i) r |= (v >> i & 1) << (31 - i);
  return r;
}
static inline int __dp4a(int a, int b, int c) {
  for (int i = 0; i < 32; i += 8) c += (signed char)(a >> i) * (signed char)(b >> i);
  return c;
}
static inline unsigned __dp4a(unsigned a, unsigned b, unsigned c) {
  for (int i = 0; i < 32; i += 8) c += (a >> i & 255) * (b >> i & 255);
  return c;
}
static inline unsigned __byte_perm(unsigned a, unsigned b, unsigned s) {
  unsigned long long bytes = (unsigned long long)b << 32 | a;
  unsigned r = 0;
  for (int i = 0; i < 4; ++i) r |= (bytes >> (s >> 4 * i & 7) * 8 & 255) << 8 * i;
  return r;
}

// Conversions clamp; NaN gives 0, or the topmost bit alone where 64 bits are involved.
template <class T, class From>
static inline T shim_clamped(From v) {
  const T low = (T)-1 > 0 ? 0 : (T)(1ull << (8 * sizeof(T) - 1));
  if (v != v) return sizeof(T) + sizeof v == 8 ? 0 : (T)(1ull << (8 * sizeof(T) - 1));
  if (v <= (double)low) return low;
  return v >= ldexp(1, 8 * sizeof(T) - (low != 0)) ? (T)~low : (T)v;
}
#define SHIM_CONVERT(suffix, round) \
  static inline int __float2int_##suffix(float v) { \
    return shim_clamped<int>(round(v)); } \
  static inline unsigned __float2uint_##suffix(float v) { \
    return shim_clamped<unsigned>(round(v)); } \
  static inline long long __float2ll_##suffix(float v) { \
    return shim_clamped<long long>(round(v)); } \
  static inline unsigned long long __float2ull_##suffix(float v) { \
    return shim_clamped<unsigned long long>(round(v)); } \
  static inline int __double2int_##suffix(double v) { \
    return shim_clamped<int>(round(v)); } \
  static inline unsigned __double2uint_##suffix(double v) { \
    return shim_clamped<unsigned>(round(v)); } \
  static inline long long __double2ll_##suffix(double v) { \
    return shim_clamped<long long>(round(v)); } \
  static inline unsigned long long __double2ull_##suffix(double v) { \
    return shim_clamped<unsigned long long>(round(v)); }
SHIM_CONVERT(rn, rint)
SHIM_CONVERT(rz, trunc)
SHIM_CONVERT(rd, floor)
SHIM_CONVERT(ru, ceil)
static inline float __int2float_rn(int v) { return (float)v; }
static inline float __uint2float_rn(unsigned v) { return (float)v; }
static inline float __ll2float_rn(long long v) { return (float)v; }
static inline double __int2double_rn(int v) { return v; }
static inline double __ll2double_rn(long long v) { return (double)v; }
static inline float __double2float_rn(double v) { return (float)v; }

#define SHIM_ARITHMETIC(prefix, T, root) \
  static inline T prefix##add_rn(T a, T b) { return a + b; } \
  static inline T prefix##sub_rn(T a, T b) { return a - b; } \
  static inline T prefix##mul_rn(T a, T b) { return a * b; } \
  static inline T prefix##div_rn(T a, T b) { return a / b; } \
  static inline T prefix##rcp_rn(T a) { return 1 / a; } \
  static inline T prefix##sqrt_rn(T a) { return root(a); }
SHIM_ARITHMETIC(__f, float, sqrtf)
SHIM_ARITHMETIC(__d, double, sqrt)
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
static inline float __fdividef(float a, float b) { return a / b; }
#define __expf expf
#define __exp10f exp10f
#define __logf logf
#define __log2f log2f
#define __log10f log10f
#define __powf powf
#define __sinf sinf
#define __cosf cosf
static inline float __saturatef(float v) { return v > 0 ? (v < 1 ? v : 1) : 0; }
static inline float rsqrtf(float v) { return 1 / sqrtf(v); }
static inline double rsqrt(double v) { return 1 / sqrt(v); }

#define SHIM_LEAST(T) \
  static inline T min(T a, T b) { return b < a ? b : a; } \
  static inline T max(T a, T b) { return a < b ? b : a; }
SHIM_LEAST(int)
SHIM_LEAST(unsigned)
SHIM_LEAST(long)
SHIM_LEAST(unsigned long)
SHIM_LEAST(long long)
SHIM_LEAST(unsigned long long)
static inline float min(float a, float b) { return fminf(a, b); }
static inline float max(float a, float b) { return fmaxf(a, b); }
static inline double min(double a, double b) { return fmin(a, b); }
static inline double max(double a, double b) { return fmax(a, b); }

template <class T>
static inline T __ldg(const T* at) { return *at; }
template <class T>
static inline T __ldcs(const T* at) { return *at; }
template <class T>
static inline void __stcs(T* at, T value) { *at = value; }

// Fibers change at barriers only, so a plain operation is an atomic one.
template <class T>
struct shim_same { typedef T type; };
#define SHIM_ATOMIC(name, after) \
  template <class T> \
  static inline T name(T* at, typename shim_same<T>::type value) { \
    T old = *at; \
    *at = after; \
    return old; \
  }
SHIM_ATOMIC(atomicAdd, (T)(old + value))
SHIM_ATOMIC(atomicSub, (T)(old - value))
SHIM_ATOMIC(atomicExch, value)
SHIM_ATOMIC(atomicMin, value < old ? value : old)
SHIM_ATOMIC(atomicMax, old < value ? value : old)
SHIM_ATOMIC(atomicAnd, old & value)
SHIM_ATOMIC(atomicOr, old | value)
SHIM_ATOMIC(atomicXor, old ^ value)
SHIM_ATOMIC(atomicInc, old >= value ? 0 : old + 1)
template <class T>
static inline T atomicCAS(T* at, typename shim_same<T>::type compare,
                          typename shim_same<T>::type value) {
  T old = *at;
  if (old == compare) *at = value;
  return old;
}
