// CUDA's vector types, as aligned as there: a misaligned access traps here, too.
#pragma once

#define SHIM_VECTOR2(T, name, align)                                                   \
  struct alignas(align) name##2 { T x, y; };                                         \
  static inline name##2 make_##name##2(T x, T y) { return name##2{x, y}; }
#define SHIM_VECTOR3(T, name)                                                          \
  struct name##3 { T x, y, z; };                                                     \
  static inline name##3 make_##name##3(T x, T y, T z) { return name##3{x, y, z}; }
#define SHIM_VECTOR4(T, name, align)                                                   \
  struct alignas(align) name##4 { T x, y, z, w; };                                   \
  static inline name##4 make_##name##4(T x, T y, T z, T w) {                         \
    return name##4{x, y, z, w};                                                      \
  }
#define SHIM_VECTORS(T, name)                                                          \
  SHIM_VECTOR2(T, name, 2 * sizeof(T))                                                 \
  SHIM_VECTOR3(T, name)                                                                \
  SHIM_VECTOR4(T, name, (4 * sizeof(T) > 16 ? 16 : 4 * sizeof(T)))

SHIM_VECTORS(signed char, char)
SHIM_VECTORS(unsigned char, uchar)
SHIM_VECTORS(short, short)
SHIM_VECTORS(unsigned short, ushort)
SHIM_VECTORS(int, int)
SHIM_VECTORS(unsigned int, uint)
SHIM_VECTORS(long long, longlong)
SHIM_VECTORS(unsigned long long, ulonglong)
SHIM_VECTORS(float, float)
SHIM_VECTORS(double, double)

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
