"""Generates native code: targets, words, maths, kernels, the pool; knows no graph."""
