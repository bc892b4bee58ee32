// CUDA C++ on the host: what the generated kernels use of CUDA, for g++ and no header of
// CUDA's. Threads of a block are fibers that change at barriers; blocks follow each other.
#pragma once
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define __global__
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
// Each kernel's shared variables lie in a section of their own, to be poisoned as a whole.
#define __shared__ static __attribute__((section(SHIM_SECTION), used))

#include "vectors.h"
#include "narrow.h"
#include "fibers.h"
#include "warps.h"
#include "numbers.h"
#include "launches.h"

// Dynamic shared memory; `compiling` takes the declaration away.
#define rt_shared ((float4*)shim_here.dynamic)
