"""What a team of threads gathers: sums, extremes, moments; and how it puts them together.

An accumulator has ``none()`` to begin with, ``add`` for an element, ``merge`` for what
another thread has, and ``each``, which makes the same of its moved parts. ``rt_gather``
merges those of a team's threads so that all have the result, bit for bit the same:

::

    rows      the T threads are neighbours: T lanes of a warp, or T / 32 whole warps
    columns   thread ``lane * R + seat`` works on W columns beside each other, and
              T threads of one seat are the team
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from runtime_ep_cuda.codegen.kernel import Launch

_SIMPLE: Final = r"""
#if !defined(RT_TEAMS) || !defined(__CUDACC__)
#define RT_TEAMS
#define RT_MEMBER __device__ __forceinline__
template <typename T> struct rt_sum {
  T value;
  static RT_MEMBER rt_sum none() { return {T(0)}; }
  RT_MEMBER void add(T x) { value += x; }
  RT_MEMBER void merge(const rt_sum& o) { value += o.value; }
  template <typename F> RT_MEMBER rt_sum each(F f) const { return {f(value)}; }
};
template <typename T> struct rt_product {
  T value;
  static RT_MEMBER rt_product none() { return {T(1)}; }
  RT_MEMBER void add(T x) { value *= x; }
  RT_MEMBER void merge(const rt_product& o) { value *= o.value; }
  template <typename F> RT_MEMBER rt_product each(F f) const { return {f(value)}; }
};
template <typename T> RT_INLINE T rt_lowest() {
  if constexpr (rt_kind<T>::floating) return -T(RT_INF);
  else if constexpr (rt_kind<T>::is_signed) return T(rt_u64(1) << (8 * sizeof(T) - 1));
  else return T(0);
}
template <typename T> RT_INLINE T rt_highest() {
  if constexpr (rt_kind<T>::floating) return T(RT_INF);
  else return T(~rt_u64(rt_lowest<T>()));
}
template <typename T> struct rt_largest {
  T value;
  static RT_MEMBER rt_largest none() { return {rt_lowest<T>()}; }
  RT_MEMBER void add(T x) { value = rt_max(value, x); }
  RT_MEMBER void merge(const rt_largest& o) { add(o.value); }
  template <typename F> RT_MEMBER rt_largest each(F f) const { return {f(value)}; }
};
template <typename T> struct rt_smallest {
  T value;
  static RT_MEMBER rt_smallest none() { return {rt_highest<T>()}; }
  RT_MEMBER void add(T x) { value = rt_min(value, x); }
  RT_MEMBER void merge(const rt_smallest& o) { add(o.value); }
  template <typename F> RT_MEMBER rt_smallest each(F f) const { return {f(value)}; }
};
// the largest number: NaN is passed over
RT_INLINE float rt_higher(float a, float b) { return fmaxf(a, b); }
RT_INLINE double rt_higher(double a, double b) { return fmax(a, b); }
template <typename T> struct rt_peak {
  T value;
  static RT_MEMBER rt_peak none() { return {-T(RT_INF)}; }
  RT_MEMBER void add(T x) { value = rt_higher(value, x); }
  RT_MEMBER void merge(const rt_peak& o) { add(o.value); }
  template <typename F> RT_MEMBER rt_peak each(F f) const { return {f(value)}; }
};
"""

_COMPOUND: Final = r"""
// the largest number, and the sum of exp(x - largest); equals count as 1, infinite or not
template <typename T> struct rt_powers {
  T top, total;
  static RT_MEMBER rt_powers none() { return {-T(RT_INF), T(0)}; }
  static RT_MEMBER T power(T x, T top) { return x == top ? T(1) : rt_exp(x - top); }
  RT_MEMBER void add(T x) {
    if (x > top) {
      total = total * power(top, x) + T(1);
      top = x;
    } else {
      total += power(x, top);
    }
  }
  RT_MEMBER void merge(const rt_powers& o) {
    const T found = rt_higher(top, o.top);
    total = total * power(top, found) + o.total * power(o.top, found);
    top = found;
  }
  template <typename F> RT_MEMBER rt_powers each(F f) const { return {f(top), f(total)}; }
};
// how many, their mean, and the sum of squared distances from it
template <typename T> struct rt_moments {
  T count, mean, squares;
  static RT_MEMBER rt_moments none() { return {T(0), T(0), T(0)}; }
  RT_MEMBER void add(T x) {
    count += T(1);
    const T away = x - mean;
    mean += away / count;
    squares += away * (x - mean);
  }
  RT_MEMBER void merge(const rt_moments& o) {
    if (o.count == T(0)) return;
    const T all = count + o.count, away = o.mean - mean, part = o.count / all;
    mean += away * part;
    squares += o.squares + away * away * count * part;
    count = all;
  }
  template <typename F> RT_MEMBER rt_moments each(F f) const {
    return {f(count), f(mean), f(squares)};
  }
};
// an extreme and its place: NaN is extreme, of equals the first counts, or the last
template <typename T, bool Most, bool Last> struct rt_place {
  T value;
  int place;
  static RT_MEMBER rt_place none() { return {T(0), -1}; }
  RT_MEMBER void add(T x, int at) { merge({x, at}); }
  RT_MEMBER void merge(const rt_place& o) {
    const bool mine = value != value, other = o.value != o.value;
    const bool better = Most ? o.value > value : o.value < value;
    const bool even = (mine && other) || o.value == value;
    const bool sooner = Last ? o.place > place : o.place < place;
    const bool taken = (other && !mine) || (!mine && better) || (even && sooner);
    if (o.place >= 0 && (place < 0 || taken)) *this = o;
  }
  template <typename F> RT_MEMBER rt_place each(F f) const { return {f(value), f(place)}; }
};
"""

_GATHER: Final = r"""
template <int T, typename A> RT_INLINE A rt_warp(A a) {
#pragma unroll
  for (int d = T / 2; d; d /= 2)
    a.merge(a.each([&](auto v) { return __shfl_xor_sync(~0u, v, d); }));
  return a.each([&](auto v) { return __shfl_sync(~0u, v, 0, T); });
}
template <bool Columns, int T, int R, int W> RT_INLINE constexpr int rt_room() {
  return Columns ? T * R * W : T > 32 ? T / 32 : 1;
}
template <bool Columns, int T, int R, int W, typename A>
RT_INLINE void rt_gather(A (&a)[W], A* shared, int lane, int seat) {
  if constexpr (T == 1) {
    return;
  } else if constexpr (Columns) {
#pragma unroll
    for (int w = 0; w < W; ++w) shared[(lane * W + w) * R + seat] = a[w];
    __syncthreads();
    // halves are merged until eight are left, which all threads merge
#pragma unroll 1
    for (int half = T / 2; half >= 8; half /= 2) {
      if (lane < half) {
#pragma unroll
        for (int w = 0; w < W; ++w) {
          a[w].merge(shared[((lane + half) * W + w) * R + seat]);
          shared[(lane * W + w) * R + seat] = a[w];
        }
      }
      __syncthreads();
    }
#pragma unroll
    for (int w = 0; w < W; ++w) {
      a[w] = shared[w * R + seat];
#pragma unroll 1
      for (int l = 1; l < (T < 8 ? T : 8); ++l) a[w].merge(shared[(l * W + w) * R + seat]);
    }
  } else if constexpr (T <= 32) {
    a[0] = rt_warp<T>(a[0]);
  } else {
    a[0] = rt_warp<32>(a[0]);
    if (lane % 32 == 0) shared[lane / 32] = a[0];
    __syncthreads();
    a[0] = rt_warp<T / 32>(shared[lane % (T / 32)]);
  }
}
#endif
"""

TEAMS: Final = _SIMPLE + _COMPOUND + _GATHER
"""Text in front of a kernel whose threads work in teams.

It may come more than once in what NVRTC compiles; on the host each kernel's text is in a
namespace of its own.
"""


def preceded(launch: Launch, text: str) -> Launch:
    """Return a launch whose kernel has a text in front that others may have, too."""
    kernel = replace(launch.kernel, text=text + launch.kernel.text)
    return replace(launch, kernel=kernel)
