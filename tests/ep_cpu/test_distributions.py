"""Random operators have the distributions they promise: tests at level 0.001.

Seeds are fixed, so that a test passes always or never. A right generator would fail at
about one seed in a thousand; the last test shows that a slightly wrong one fails.
"""

import math

import numpy as np
import pytest
import runtime as ort
from evaluate import run_node
from onnx import TensorProto
from runtime_ep_cpu.ops.random import set_seed

SIZE = 20_000
ALPHA = 0.001
# chi-square quantiles at 1 - ALPHA by degrees of freedom
CRITICAL = {1: 10.828, 3: 16.266, 48: 84.037}
SEEDS = pytest.mark.parametrize("seed", [None, 0.0, 7.0, 2.5, -3.0, 1e9])


@pytest.fixture(autouse=True)
def _repeatable():
    set_seed(12)


def with_seed(attributes, seed):
    return attributes if seed is None else attributes | {"seed": seed}


def kolmogorov(sample, distribution):
    """The largest distance to a distribution function, over its critical value."""
    x = np.sort(np.asarray(sample, np.float64).ravel())
    share = distribution(x)
    steps = np.arange(len(x) + 1) / len(x)
    distance = max((steps[1:] - share).max(), (share - steps[:-1]).max())
    return distance / math.sqrt(-math.log(ALPHA / 2) / 2 / len(x))


def chi_square(counts, shares):
    """The sum of squared deviations, over its critical value."""
    counts = np.asarray(counts, np.float64)
    expected = np.asarray(shares) * counts.sum()
    deviation = ((counts - expected) ** 2 / expected).sum()
    return deviation / CRITICAL[len(counts) - 1]


def normal(mean, scale):
    return np.vectorize(lambda x: (1 + math.erf((x - mean) / scale / 2**0.5)) / 2)


def uniform(low, high):
    return lambda x: np.clip((x - low) / (high - low), 0, 1)


@SEEDS
@pytest.mark.parametrize("like", ["", "Like"])
def test_normal_numbers(like, seed):
    attributes = with_seed({"mean": 2.0, "scale": 0.5}, seed)
    inputs = [np.zeros(SIZE, np.float64)] if like else []
    if not like:
        attributes |= {"shape": [SIZE], "dtype": TensorProto.DOUBLE}
    (x,) = run_node(f"RandomNormal{like}", inputs, attributes)
    assert kolmogorov(x, normal(2, 0.5)) < 1


@SEEDS
@pytest.mark.parametrize("like", ["", "Like"])
def test_uniform_numbers(like, seed):
    attributes = with_seed({"low": -1.0, "high": 3.0}, seed)
    inputs = [np.zeros(SIZE, np.float64)] if like else []
    if not like:
        attributes |= {"shape": [SIZE], "dtype": TensorProto.DOUBLE}
    (x,) = run_node(f"RandomUniform{like}", inputs, attributes)
    assert kolmogorov(x, uniform(-1, 3)) < 1
    assert x.min() >= -1
    assert x.max() <= 3


@SEEDS
def test_neighbours_do_not_depend_on_each_other(seed):
    attributes = with_seed({"shape": [SIZE, 2]}, seed)
    (x,) = run_node("RandomUniform", [], attributes)
    cells = (x * 7).astype(int)
    cells = np.minimum(cells, 6)
    counts = np.bincount(cells[:, 0] * 7 + cells[:, 1], minlength=49)
    assert chi_square(counts, np.full(49, 1 / 49)) < 1


@SEEDS
@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_ones_by_probability(probability, seed):
    x = np.full(SIZE, probability, np.float64)
    (ones,) = run_node("Bernoulli", [x], with_seed({}, seed))
    counts = np.bincount(ones.astype(int), minlength=2)
    assert chi_square(counts, [1 - probability, probability]) < 1


@SEEDS
def test_classes_by_log_probability(seed):
    shares = np.array([0.1, 0.2, 0.3, 0.4])
    x = np.log(shares, dtype=np.float32)[None] - 3
    attributes = with_seed({"sample_size": SIZE}, seed)
    (drawn,) = run_node("Multinomial", [x], attributes)
    assert chi_square(np.bincount(drawn[0], minlength=4), shares) < 1


@pytest.mark.parametrize("seed", [None, 0, 7, -3])
def test_dropped_elements(seed):
    inputs = [np.ones(SIZE, np.float32), np.array(0.3, np.float32), np.array(True)]
    attributes = {} if seed is None else {"seed": seed}
    _, mask = run_node("Dropout", inputs, attributes, 22, outputs=2)
    assert chi_square(np.bincount(mask, minlength=2), [0.3, 0.7]) < 1


def test_numbers_without_a_seed_follow_the_session_wide_one():
    draws = []
    for _ in range(2):
        ort.set_seed(99)
        draws.append(run_node("RandomNormal", [], {"shape": [9]})[0].tolist())
    assert draws[0] == draws[1]
    assert run_node("RandomNormal", [], {"shape": [9]})[0].tolist() != draws[0]


def test_slightly_wrong_numbers_are_found():
    (x,) = run_node("RandomNormal", [], {"shape": [SIZE], "seed": 1.0})
    assert kolmogorov(x, normal(0.05, 1)) > 1
    assert kolmogorov(x, normal(0, 1.05)) > 1
    (x,) = run_node("RandomUniform", [], {"shape": [SIZE], "seed": 1.0})
    assert kolmogorov(x, uniform(0, 1.03)) > 1
    half = np.full(SIZE, 0.5)
    (ones,) = run_node("Bernoulli", [half], {"seed": 1.0})
    counts = np.bincount(ones.astype(int))
    assert chi_square(counts, [0.53, 0.47]) > 1
