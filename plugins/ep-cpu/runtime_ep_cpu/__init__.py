"""The CPU execution provider: NumPy kernels for every operator of the standard."""
