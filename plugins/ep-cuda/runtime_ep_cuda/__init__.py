"""The CUDA execution provider: partitions planned, fused and replayed on NVIDIA GPUs."""
