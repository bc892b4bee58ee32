// Barriers, and what the lanes of a warp exchange.
#pragma once

static inline void __syncthreads() { shim_wait(SHIM_AT_BLOCK); }
static inline int __syncthreads_or(int predicate) {
  shim_here.votes += predicate != 0;
  __syncthreads();
  return shim_here.counted != 0;
}
static inline int __syncthreads_count(int predicate) {
  shim_here.votes += predicate != 0;
  __syncthreads();
  return (int)shim_here.counted;
}
static inline int __syncthreads_and(int predicate) {
  return !__syncthreads_or(!predicate);
}

static inline unsigned shim_lane() { return shim_self->number & 31; }

// Give a value to the other lanes of a mask, and wait for theirs.
template <class T>
static inline void shim_give(unsigned mask, T value) {
  static_assert(sizeof(T) <= 8, "lanes exchange up to 8 bytes");
  if (!(mask >> shim_lane() & 1)) shim_fail("a lane calls with a mask that it is not in");
  unsigned long long sent = 0;
  memcpy(&sent, &value, sizeof value);
  shim_self->sent = sent;
  shim_self->mask = mask;
  shim_wait(SHIM_AT_WARP);
}
// What a lane gave; 0xff… where there is none, or it is not in the mask.
template <class T>
static inline T shim_given(unsigned mask, unsigned lane) {
  unsigned number = (shim_self->number & ~31u) + lane;
  unsigned long long seen = ~0ull;
  if (number < shim_here.threads && (mask >> lane & 1)) seen = shim_here.thread[number].seen;
  T value;
  memcpy(&value, &seen, sizeof value);
  return value;
}

template <class T>
static inline T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
  shim_give(mask, value);
  unsigned base = shim_lane() & ~(unsigned)(width - 1);
  return shim_given<T>(mask, base + ((unsigned)source & (width - 1)));
}
template <class T>
static inline T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32) {
  shim_give(mask, value);
  unsigned other = shim_lane() ^ (unsigned)bits;
  bool within = other / width <= shim_lane() / width;
  return within ? shim_given<T>(mask, other) : value;
}
template <class T>
static inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  shim_give(mask, value);
  bool within = (shim_lane() & (width - 1)) + delta < (unsigned)width;
  return within ? shim_given<T>(mask, shim_lane() + delta) : value;
}
template <class T>
static inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  shim_give(mask, value);
  bool within = (shim_lane() & (width - 1)) >= delta;
  return within ? shim_given<T>(mask, shim_lane() - delta) : value;
}

static inline unsigned __ballot_sync(unsigned mask, int predicate) {
  shim_give(mask, (unsigned)(predicate != 0));
  unsigned found = 0;
  for (unsigned lane = 0; lane < 32; ++lane)
    if ((mask >> lane & 1) && shim_given<unsigned>(mask, lane) == 1) found |= 1u << lane;
  return found;
}
static inline int __any_sync(unsigned mask, int predicate) {
  return __ballot_sync(mask, predicate) != 0;
}
static inline int __all_sync(unsigned mask, int predicate) {
  return __ballot_sync(mask, !predicate) == 0;
}
static inline void __syncwarp(unsigned mask = 0xffffffffu) { shim_give(mask, 0); }
static inline void __threadfence() {}
static inline void __threadfence_block() {}
