"""What `benchmarks.gpu_check` does on a machine with an NVIDIA GPU, part by part."""
