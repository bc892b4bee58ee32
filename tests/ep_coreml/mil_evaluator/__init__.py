"""Reads saved packages and executes them with NumPy, without the provider's emitter."""
