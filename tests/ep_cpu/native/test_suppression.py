"""NonMaxSuppression keeps exactly NumPy's boxes, and what reads them runs natively again."""

import numpy as np
import onnxruntime
import pytest
from beside_numpy import checked, kernels, opened, programs, roles
from draws import Draw


def detections(d, boxes, scores, limit, overlap, least, **more):
    """Add NonMaxSuppression of boxes and scores with constant thresholds."""
    d.feed["b"], d.feed["s"] = boxes.astype(np.float32), scores.astype(np.float32)
    names = ["b", "s", d.constant("limit", np.array([limit]))]
    names.append(d.constant("overlap", np.float32([overlap])))
    if least is not None:
        names.append(d.constant("least", np.float32([least])))
    return d.add("NonMaxSuppression", names, "y", **more)


def crowd(d, batch, classes, number):
    """Return boxes many of which overlap, and scores of which many are alike."""
    boxes = d.rng.uniform(0, 30, (batch, number, 4))
    if d.one(True, False):
        boxes = np.round(boxes)
    steps = d.one(4, 50, 10**6)
    scores = d.rng.integers(0, steps, (batch, classes, number)) / steps
    return boxes, scores


def peer(model, feed):
    """Return onnxruntime's results."""
    options = {"providers": ["CPUExecutionProvider"]}
    data = model.SerializeToString()
    return onnxruntime.InferenceSession(data, **options).run(None, feed)


@pytest.mark.parametrize("seed", range(60))
def test_boxes_are_those_of_numpy_and_onnxruntime(seed):
    d = Draw(seed)
    number = d.one(1, 5, 17, 63, 64, 65, 200, 700)
    boxes, scores = crowd(d, d.size(2), d.size(5), number)
    limit = d.one(1, 3, 40, 10**9)
    center = d.one(0, 1)
    overlap, least = d.one(0.0, 0.1, 0.45, 1.0), d.one(None, 0.0, 0.3, 0.95)
    detections(d, boxes, scores, limit, overlap, least, center_point_box=center)
    model = d.model(["y"])
    session = checked(model, d.feed)
    assert roles(session) == [("NonMaxSuppression", "native")]
    np.testing.assert_array_equal(session.run(None, d.feed)[0], peer(model, d.feed)[0])


@pytest.mark.parametrize("least", [None, 0.2])
def test_no_number_is_the_worst_score_and_overlaps_nothing(least):
    d = Draw(1)
    boxes, scores = crowd(d, 1, 2, 90)
    scores[0, :, ::7], boxes[0, ::11, 1], boxes[0, 5, 2] = np.nan, np.nan, np.inf
    scores[0, 0, 3:9] = [0.0, -0.0, np.inf, -np.inf, 0.0, -0.0]
    detections(d, boxes, scores, 60, 0.4, least)
    checked(d.model(["y"]), d.feed)


def test_none_is_kept_where_all_scores_are_low():
    d = Draw(2)
    detections(d, *crowd(d, 2, 3, 50), 10, 0.5, 2.0)
    session = checked(d.model(["y"]), d.feed)
    assert session.run(None, d.feed)[0].shape == (0, 3)


@pytest.mark.parametrize("threads", [1, 2])
def test_what_is_done_with_the_boxes_is_native_too(threads):
    d = Draw(3)
    boxes, scores = crowd(d, 1, 4, 300)
    kept = detections(d, boxes, scores, 20, 0.5, 0.2)
    two = d.constant("two", np.array([2]))
    place = d.add("Gather", [kept, two], "place", axis=1)
    flat = d.add("Reshape", [place, d.constant("all", np.array([-1]))], "flat")
    d.add("Gather", ["b", flat], "found", axis=1)
    count = d.add("Shape", [kept], "count", start=0, end=1)
    model = d.model(["found", count, kept])
    feeds = [d.feed, {**d.feed, "s": 1 - d.feed["s"]}, {**d.feed, "s": d.feed["s"] / 2}]
    session = checked(model, *feeds, threads=threads)
    assert ("NonMaxSuppression", "native") in roles(session)
    assert [r for r in roles(session) if r[0] == "Gather"] == [("Gather", "native")] * 2
    assert sum(len(p.stages) for p in programs(session)) == 2


def test_a_limit_that_a_run_tells():
    d = Draw(4)
    boxes, scores = crowd(d, 1, 2, 40)
    detections(d, boxes, scores, 0, 0.5, 0.2)
    del d.constants["limit"]
    d.feed["limit"] = np.array([3])
    feeds = [{**d.feed, "limit": np.array([n])} for n in (1, 3, 7)]
    session = checked(d.model(["y"]), *feeds)
    assert roles(session) == [("NonMaxSuppression", "native")]


def test_a_threshold_beyond_its_bounds_is_for_numpy_to_refuse():
    d = Draw(5)
    detections(d, *crowd(d, 1, 2, 40), 10, 0.5, 0.2)
    del d.constants["overlap"]
    d.feed["overlap"] = np.float32([0.5])
    session = checked(d.model(["y"]), d.feed)
    with pytest.raises(Exception, match="iou_threshold"):
        session.run(None, {**d.feed, "overlap": np.float32([1.5])})


def test_runs_of_the_same_shapes_have_results_of_their_own_length():
    d = Draw(6)
    boxes, scores = crowd(d, 1, 3, 64)
    detections(d, boxes, scores, 64, 0.5, 0.5)
    session = opened(d.model(["y"]))
    first = session.run(None, d.feed)[0]
    none = session.run(None, {**d.feed, "s": d.feed["s"] - 2})[0]
    again = session.run(None, d.feed)[0]
    assert len(none) == 0
    assert first.base is None
    np.testing.assert_array_equal(first, again)
    assert kernels(session) == ["suppress", "suppressed"]


@pytest.mark.parametrize("target", ["generic", "avx2"])
def test_lesser_targets(target):
    d = Draw(7)
    detections(d, *crowd(d, 2, 3, 300), 40, 0.4, 0.2)
    checked(d.model(["y"]), d.feed, target=target)
