"""CUDA C++ text for whatever no library does: pure functions from tensors to launches."""
