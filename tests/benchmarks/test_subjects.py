"""Names choose a model, a precision and a case; suites are lists of names."""

import numpy as np
import onnx
import pytest

from benchmarks import subjects


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("gpt2", ("gpt2", "float32", 0)),
        ("gpt2:1", ("gpt2", "float32", 1)),
        ("bert_base@float16", ("bert_base", "float16", 0)),
        ("bert_base@float16:2", ("bert_base", "float16", 2)),
    ],
)
def test_a_name_says_model_precision_and_case(name, parts):
    assert subjects.parts(name) == parts


def test_suites_are_taken_apart_and_every_name_in_them_is_known():
    found = subjects.names(["generated", "mlp", *subjects.SUITES])
    assert found[20] == "mlp"
    assert len(found) == 21 + sum(map(len, subjects.SUITES.values()))


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'bert'.*bert_base"):
        subjects.names(["bert"])


@pytest.mark.parametrize("name", ["mlp@float8", "mlp:3"])
def test_an_unknown_precision_or_case_is_refused(name):
    with pytest.raises(ValueError, match=name):
        subjects.names([name])


def test_a_subject_is_a_model_and_inputs_that_fit_it(tmp_path):
    found = subjects.subject("gpt2@float16:1", "tiny", tmp_path)
    model = onnx.load(found.model)
    assert found.dims == {"batch": 2, "sequence": 1, "past": 7}
    with np.load(found.feed) as feed:
        assert set(feed) == {value.name for value in model.graph.input}
        assert feed["past_key_values.0.key"].dtype == np.float16
        assert feed["past_key_values.0.key"].shape == (2, 4, 7, 8)
