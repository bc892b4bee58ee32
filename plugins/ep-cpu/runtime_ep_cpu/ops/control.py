"""Kernels to come."""

from runtime.kernels import KernelTable

table = KernelTable()
