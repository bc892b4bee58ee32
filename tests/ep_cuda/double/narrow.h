// half and bfloat16: rounded to nearest, ties to even; NaN is 0x7fff as on the device.
#pragma once

#if defined(__x86_64__) || __GNUC__ >= 13
typedef _Float16 shim_half;
#else
typedef __fp16 shim_half;
#endif

template <class To, class From>
static inline To shim_bits(const From& from) {
  static_assert(sizeof(To) == sizeof(From), "bits of another size");
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}

static inline unsigned short shim_half_bits(double v) {
  return v != v ? 0x7fff : shim_bits<unsigned short>((shim_half)v);
}
static inline unsigned short shim_half_bits(float v) {
  return v != v ? 0x7fff : shim_bits<unsigned short>((shim_half)v);
}
static inline unsigned short shim_brain_bits(float v) {
  if (v != v) return 0x7fff;
  unsigned bits = shim_bits<unsigned>(v);
  return (unsigned short)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
// A double goes through a float that is rounded to odd, so as not to be rounded twice.
static inline unsigned short shim_brain_bits(double v) {
  float f = (float)v;
  if (v != v || (double)f == v || isinf(f)) return shim_brain_bits(f);
  unsigned bits = shim_bits<unsigned>(f);
  if (fabs((double)f) > fabs(v)) --bits;
  return shim_brain_bits(shim_bits<float>(bits | 1));
}

struct __half {
  unsigned short bits;
  __half() = default;
  __half(float v) : bits(shim_half_bits(v)) {}
  __half(double v) : bits(shim_half_bits(v)) {}
  __half(int v) : bits(shim_half_bits((double)v)) {}
  __half(unsigned v) : bits(shim_half_bits((double)v)) {}
  __half(long long v) : bits(shim_half_bits((double)v)) {}
  __half(unsigned long long v) : bits(shim_half_bits((double)v)) {}
  operator float() const { return (float)shim_bits<shim_half>(bits); }
};
struct __nv_bfloat16 {
  unsigned short bits;
  __nv_bfloat16() = default;
  __nv_bfloat16(float v) : bits(shim_brain_bits(v)) {}
  __nv_bfloat16(double v) : bits(shim_brain_bits(v)) {}
  __nv_bfloat16(int v) : bits(shim_brain_bits((double)v)) {}
  __nv_bfloat16(unsigned v) : bits(shim_brain_bits((double)v)) {}
  operator float() const { return shim_bits<float>((unsigned)bits << 16); }
};
struct alignas(4) __half2 { __half x, y; };
struct alignas(4) __nv_bfloat162 { __nv_bfloat16 x, y; };
typedef __half half;
typedef __half2 half2;
typedef __nv_bfloat16 nv_bfloat16;
typedef __nv_bfloat162 nv_bfloat162;

static inline float __half2float(__half v) { return v; }
static inline __half __float2half(float v) { return v; }
static inline __half __float2half_rn(float v) { return v; }
static inline __half __double2half(double v) { return v; }
static inline float2 __half22float2(__half2 v) { return {v.x, v.y}; }
static inline __half2 __float22half2_rn(float2 v) { return {v.x, v.y}; }
static inline __half2 __floats2half2_rn(float x, float y) { return {x, y}; }
static inline __half2 __halves2half2(__half x, __half y) { return {x, y}; }
static inline float __low2float(__half2 v) { return v.x; }
static inline float __high2float(__half2 v) { return v.y; }
static inline __half __low2half(__half2 v) { return v.x; }
static inline __half __high2half(__half2 v) { return v.y; }
static inline unsigned short __half_as_ushort(__half v) { return v.bits; }
static inline short __half_as_short(__half v) { return (short)v.bits; }
static inline __half __ushort_as_half(unsigned short v) { return shim_bits<__half>(v); }
static inline __half __short_as_half(short v) { return shim_bits<__half>(v); }

static inline float __bfloat162float(__nv_bfloat16 v) { return v; }
static inline __nv_bfloat16 __float2bfloat16(float v) { return v; }
static inline __nv_bfloat16 __float2bfloat16_rn(float v) { return v; }
static inline __nv_bfloat16 __double2bfloat16(double v) { return v; }
static inline float2 __bfloat1622float2(__nv_bfloat162 v) { return {v.x, v.y}; }
static inline __nv_bfloat162 __float22bfloat162_rn(float2 v) { return {v.x, v.y}; }
static inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) { return {x, y}; }
static inline float __low2float(__nv_bfloat162 v) { return v.x; }
static inline float __high2float(__nv_bfloat162 v) { return v.y; }
static inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 v) { return v.bits; }
static inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short v) {
  return shim_bits<__nv_bfloat16>(v);
}
