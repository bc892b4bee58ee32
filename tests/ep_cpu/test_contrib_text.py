"""Tokenizer of com.microsoft against onnxruntime."""

import numpy as np
import pytest
from evaluate import run_node
from hypothesis import given
from hypothesis import strategies as st
from peers import by_onnxruntime
from runtime.errors import EngineError

TEXTS = st.text(alphabet="abX .,-1éж\n", max_size=8)
SHAPES = st.sampled_from([(0,), (1,), (3,), (2, 2), (2, 0)])
WAYS = st.sampled_from(
    [
        {"separators": [" "]},
        {"separators": [""]},
        {"separators": ["a", "ab"]},
        {"separators": ["ab", "a"]},
        {"separators": ["a|ab", r"[\.,]"]},
        {"separators": ["é", "[0-9]+"]},
        {"tokenexp": r"\w+"},
        {"tokenexp": "."},
        {"tokenexp": "a|ab|abX"},
        {"tokenexp": "[ab]+?"},
        {"tokenexp": r"\bX?a"},
        {"tokenexp": "X*"},
        {"tokenexp": "[^ ]{2,3}"},
        {"separators": [" "], "tokenexp": "a"},
    ]
)


def tokens(texts, **attributes):
    attributes = {"mark": 0, "mincharnum": 1, "pad_value": "#", **attributes}
    return run_node("Tokenizer", [texts], attributes, 1, "com.microsoft")[0]


@given(st.data(), SHAPES, WAYS, st.booleans(), st.integers(1, 2))
def test_tokens_are_onnxruntimes(data, shape, way, mark, least):
    if way in ({"separators": [""]}, {"tokenexp": "."}):
        least = 1
    count = int(np.prod(shape))
    texts = np.array(
        data.draw(st.lists(TEXTS, min_size=count, max_size=count)), object
    ).reshape(shape)
    attributes = {"mark": int(mark), "mincharnum": least, "pad_value": "#", **way}
    want = by_onnxruntime("Tokenizer", [texts], attributes, 1, "com.microsoft")[0]
    got = tokens(texts, **attributes)
    assert got.shape == want.shape
    assert got.tolist() == want.tolist()


def test_rows_are_padded_and_marked():
    texts = np.array(["a b", "", "c"], object)
    got = tokens(texts, separators=[" "], mark=1).tolist()
    assert got == [
        ["\x02", "a", "b", "\x03"],
        ["\x02", "\x03", "#", "#"],
        ["\x02", "c", "\x03", "#"],
    ]


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({}, "neither separators nor"),
        ({"separators": [" "], "mincharnum": 0}, "must be positive"),
        ({"separators": [""], "mincharnum": 2}, "no character has"),
        ({"separators": ["x*"]}, "matches the empty text"),
        ({"tokenexp": "a(?=b)"}, "cannot be used"),
    ],
)
def test_what_makes_no_sense_is_refused(attributes, message):
    with pytest.raises(EngineError, match=message):
        tokens(np.array(["ab"], object), **attributes)


def test_only_rows_and_tables_have_tokens():
    with pytest.raises(EngineError, match="shape C or N, C"):
        tokens(np.array("ab", object), separators=[" "])
