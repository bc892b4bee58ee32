// Kernels that include CUDA's header get the shim's bfloat16.
#pragma once
