"""Support vector machines: kernels, one-against-one decisions and probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from runtime_ep_cpu.ops._remembered import remembered

KERNELS = ("LINEAR", "POLY", "RBF", "SIGMOID")
ITERATIONS = 100
CERTAIN = 1e-7


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel function with its parameters."""

    name: str
    gamma: float
    offset: float
    degree: float

    def products(self, x: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        """Return the kernel of all rows and all vectors, in float64."""
        dots = x @ vectors.T
        if self.name == "LINEAR":
            return dots
        if self.name == "RBF":
            lengths = (x * x).sum(axis=1)[:, None] + (vectors * vectors).sum(axis=1)
            return np.exp(-self.gamma * np.maximum(lengths - 2 * dots, 0))
        scaled = self.gamma * dots + self.offset
        return np.tanh(scaled) if self.name == "SIGMOID" else scaled**self.degree


@dataclass(frozen=True, slots=True)
class Machine:
    """Support vectors [vectors, features] and their weights [rows, vectors].

    Without support vectors (``vectors`` is None) the weights [rows, features] are those
    of linear functions.
    """

    kernel: Kernel
    vectors: np.ndarray | None
    weights: np.ndarray
    rho: np.ndarray

    def kernels(self, x: Any) -> np.ndarray:
        """Return what the weights are multiplied with: [rows, vectors or features]."""
        wide = x.astype(np.float64)
        basis = self.weights if self.vectors is None else self.vectors
        if basis.shape[1] != wide.shape[1]:
            raise ValueError(
                f"the model has {basis.shape[1]} features, found {wide.shape[1]}"
            )
        return wide if self.vectors is None else self.kernel.products(wide, basis)


@remembered
def machine(
    kernel_type: str,
    parameters: Any,
    vectors: Any,
    coefficients: Any,
    rho: Any,
    count: int,
    outputs: int,
) -> Machine:
    """Read the attributes of a machine of ``count`` support vectors."""
    if kernel_type not in KERNELS:
        raise ValueError(f"unknown kernel_type {kernel_type!r}")
    gamma, offset, degree = _array(parameters) if parameters else (0.0, 0.0, 0.0)
    kernel = Kernel(kernel_type, float(gamma), float(offset), float(degree))
    flat, offsets = _array(coefficients), _array(rho)
    if not flat.size or not offsets.size:
        raise ValueError("a support vector machine needs coefficients and rho")
    if not count:
        return Machine(kernel, None, _shaped(flat, outputs), offsets)
    weights = flat.reshape(-1, count) if flat.size % count == 0 else None
    if weights is None:
        raise ValueError(f"{flat.size} coefficients do not fit {count} vectors")
    return Machine(kernel, _shaped(_array(vectors), count), weights, offsets)


def _array(values: Any) -> np.ndarray:
    return np.asarray(() if values is None else values, np.float64)


def _shaped(flat: np.ndarray, rows: int) -> np.ndarray:
    if not flat.size or flat.size % rows:
        raise ValueError(f"{flat.size} numbers do not make {rows} rows")
    return flat.reshape(rows, -1)


def pairwise(
    model: Machine, kernels: np.ndarray, counts: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Return the decisions [rows, pairs] and the votes [rows, classes] of every pair.

    Row r of the weights is meant, for the vectors of class i, against class r, or r + 1
    from i on.
    """
    classes = len(counts)
    pairs = list(combinations(range(classes), 2))
    if len(model.rho) != len(pairs) or len(model.weights) != classes - 1:
        raise ValueError(
            f"{classes} classes need {len(pairs)} rho and {classes - 1} rows of "
            f"coefficients, found {len(model.rho)} and {len(model.weights)}"
        )
    ends = np.cumsum(counts)
    against = [
        kernels[:, end - count : end] @ model.weights[:, end - count : end].T
        for end, count in zip(ends, counts, strict=True)
    ]
    decisions = np.empty((len(kernels), len(pairs)))
    votes = np.zeros((len(kernels), classes))
    for number, (one, other) in enumerate(pairs):
        decision = model.rho[number] + against[one][:, other - 1]
        decision += against[other][:, one]
        decisions[:, number] = decision
        votes[:, one] += decision > 0
        votes[:, other] += decision <= 0
    return decisions, votes


def coupled(likelihoods: np.ndarray, classes: int) -> np.ndarray:
    """Turn the probabilities [rows, pairs] of all pairs into class probabilities.

    This is libsvm's iteration (Wu, Lin and Weng, 2004, second method) on all rows.
    """
    pair = np.zeros((len(likelihoods), classes, classes))
    for number, (one, other) in enumerate(combinations(range(classes), 2)):
        chance = likelihoods[:, number].clip(CERTAIN, 1 - CERTAIN)
        pair[:, one, other], pair[:, other, one] = chance, 1 - chance
    matrix = -pair * pair.transpose(0, 2, 1)
    diagonal = np.arange(classes)
    matrix[:, diagonal, diagonal] = (pair**2).sum(axis=1)
    result = np.full((len(pair), classes), 1 / classes)
    for _ in range(max(ITERATIONS, classes)):
        product = np.einsum("nij,nj->ni", matrix, result)
        mean = (result * product).sum(axis=1)
        off = np.abs(product - mean[:, None]).max(axis=1)
        moving = np.flatnonzero(off >= 0.005 / classes)
        if not len(moving):
            break
        result[moving] = _swept(matrix[moving], result[moving], product[moving])
    return result


def _swept(matrix: np.ndarray, chances: np.ndarray, product: np.ndarray) -> np.ndarray:
    """Improve one class after another."""
    mean = (chances * product).sum(axis=1)
    for t in range(chances.shape[1]):
        own = matrix[:, t, t]
        step = (mean - product[:, t]) / own
        mean = (mean + step * (step * own + 2 * product[:, t])) / (1 + step) ** 2
        chances[:, t] += step
        chances /= (1 + step)[:, None]
        product += step[:, None] * matrix[:, t]
        product /= (1 + step)[:, None]
    return chances
