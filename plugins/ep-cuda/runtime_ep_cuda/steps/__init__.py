"""Steps: how each kind of group becomes views, kernels and library calls."""
