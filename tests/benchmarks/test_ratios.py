"""Ratios come from pairs of one round, with an interval that covers the truth."""

import numpy as np
import pytest

from benchmarks import ratios


def rounds(ours, peer):
    return [{"ours": a, "peer": b} for a, b in zip(ours, peer, strict=True)]


def test_a_ratio_is_above_one_where_the_peer_takes_longer():
    found = ratios.ratio(rounds([1.0] * 5, [2.0] * 5), "ours", "peer")
    assert found == ratios.Ratio(2.0, 2.0, 2.0, 5)


def test_a_drift_that_both_see_leaves_the_paired_ratio_alone():
    drift = np.linspace(1, 3, 21)
    shuffled = np.random.default_rng(0).permutation(drift)
    found = ratios.ratio(rounds(shuffled, 1.25 * shuffled), "ours", "peer")
    assert found.middle == pytest.approx(1.25)
    assert found.low == pytest.approx(1.25)
    assert found.high == pytest.approx(1.25)


def test_a_round_that_lost_either_slice_gives_no_pair():
    found = rounds([1.0, None, 1.0, 1.0, 1.0], [3.0, 9.0, None, 3.0, 3.0])
    assert ratios.pairs(found, "ours", "peer") == [3.0, 3.0, 3.0]


def test_a_contender_missing_from_a_round_gives_no_pair():
    assert ratios.pairs([{"ours": 1.0}], "ours", "peer") == []


def test_fewer_than_three_pairs_give_no_ratio():
    assert ratios.ratio(rounds([1.0] * 2, [2.0] * 2), "ours", "peer") is None


def test_the_interval_covers_the_true_median_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = 0
    for seed in range(300):
        low, high = ratios.interval(rng.normal(1.2, 0.1, 25), draws=300, seed=seed)
        hits += low <= 1.2 <= high
    assert 0.90 <= hits / 300 <= 0.99


def test_the_interval_shrinks_with_more_rounds():
    rng = np.random.default_rng(2)
    few, many = (ratios.interval(rng.normal(1, 0.1, n)) for n in (9, 400))
    assert many[1] - many[0] < (few[1] - few[0]) / 2


def test_one_wild_round_moves_neither_the_middle_nor_a_long_interval():
    values = [1.1] * 20 + [50.0]
    found = ratios.ratio(rounds([1.0] * 21, values), "ours", "peer")
    assert (found.middle, found.low, found.high) == (1.1, 1.1, 1.1)


def test_the_same_rounds_give_the_same_interval():
    values = np.random.default_rng(3).normal(1, 0.1, 15).tolist()
    assert ratios.interval(values) == ratios.interval(values)


@pytest.mark.parametrize(
    ("middle", "high", "reached"),
    [(0.99, 1.01, True), (0.97, 1.05, False), (0.99, 0.995, False), (1.1, 1.2, True)],
)
def test_a_bound_is_reached_by_the_upper_end_with_the_middle_close(
    middle, high, reached
):
    assert ratios.Ratio(middle, middle, high, 9).at_least(1.0) is reached


def test_the_best_peer_is_the_one_with_the_lowest_ratio():
    found = {"a": ratios.Ratio(1.4, 1, 2, 9), "b": ratios.Ratio(1.2, 1, 2, 9)}
    assert ratios.best(found) == "b"


def test_a_peer_without_a_ratio_is_never_the_best():
    assert ratios.best({"a": ratios.Ratio(1.4, 1, 2, 9), "b": None}) == "a"
    assert ratios.best({"a": None}) is None


def test_the_geometric_mean_of_a_number_and_its_inverse_is_one():
    assert ratios.geometric_mean([4.0, 0.25]) == pytest.approx(1.0)
