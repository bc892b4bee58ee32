"""The twenty generated models are the same everywhere and as varied as they claim."""

import re

import numpy as np
import onnx
import pytest

from benchmarks.zoo import ZOO
from benchmarks.zoo.generated import GENERATED

DESCRIPTIONS = [entry.description for entry in GENERATED.values()]
FIRST = (
    "bert_base, torchscript, opset 14: width 192, layers 6, heads"
    " 2, vocabulary 1999, batch 3, sequence 101"
)
LAST = (
    "gpt2, dynamo, opset 20: width 160, layers 4, heads 2, vocabu"
    "lary 1999, batch 1, sequence 1, past 63"
)


def opset_of(text):
    return int(re.search(r"opset (\d+)", text)[1])


def test_the_seed_draws_the_same_models_on_every_machine():
    assert len(GENERATED) == 20
    assert DESCRIPTIONS[0] == FIRST
    assert DESCRIPTIONS[-1] == LAST


def test_opsets_reach_from_11_to_22():
    opsets = [opset_of(text) for text in DESCRIPTIONS]
    assert (min(opsets), max(opsets)) == (11, 22)
    assert len(set(opsets)) >= 10


def test_both_spellings_prefill_and_decode_and_odd_lengths_are_there():
    text = "\n".join(DESCRIPTIONS)
    assert text.count("torchscript") >= 8
    assert text.count("dynamo") >= 8
    lengths = [int(n) for n in re.findall(r"sequence (\d+)", text)]
    assert lengths.count(1) >= 3
    assert sum(n % 2 and n > 1 for n in lengths) >= 6


def test_what_a_description_says_is_what_is_built():
    name = min(GENERATED, key=lambda n: GENERATED[n].build().ByteSize())
    model = GENERATED[name].build()
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version == opset_of(GENERATED[name].description)


@pytest.mark.parametrize("family", ["bert_base", "minilm", "gpt2", "vit"])
@pytest.mark.parametrize("opset", [11, 12])
def test_older_opsets_spell_the_same_function(family, opset):
    peer = pytest.importorskip("onnxruntime")
    entry = ZOO[family]
    feed = entry.feeds("tiny", **entry.cases("tiny")[0])
    answers = []
    for version in (opset, 13):
        model = entry.build("tiny", opset=version)
        onnx.checker.check_model(model, full_check=True)
        options = peer.SessionOptions()
        options.log_severity_level = 3
        session = peer.InferenceSession(model.SerializeToString(), options)
        answers.append(session.run(None, feed))
    for one, other in zip(*answers, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_inputs_fit_a_configured_model():
    entry = ZOO["llama"].configured(width=48, heads=2, shared=1, layers=1, inner=40)
    model = entry.build("tiny")
    feed = entry.feeds("tiny", batch=1, sequence=3, past=2)
    assert {value.name for value in model.graph.input} == set(feed)
    assert feed["past_key_values.0.key"].shape == (1, 1, 2, 24)
