// Kernels that include CUDA's header get the shim's half.
#pragma once
