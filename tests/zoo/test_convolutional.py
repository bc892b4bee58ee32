"""The twenty convolutional nets are the same everywhere and as varied as they claim."""

import re

import onnx
import pytest

from benchmarks.zoo import ZOO
from benchmarks.zoo.convolutional import BLOCKS, CONVOLUTIONAL

DESCRIPTIONS = [entry.description for entry in CONVOLUTIONAL.values()]
FIRST = (
    "2 axes of 160, leaky, dense 33, pyramid 49, bottleneck 49, i"
    "nverted 49, grouped 49, pyramid 98, bottleneck 196; dynamo, "
    "19"
)
LAST = (
    "2 axes of 111, gelu, dense 33, grouped 49, dilated 49, dilat"
    "ed 98, bottleneck 98, grouped 98; dynamo, 19"
)


def test_the_seed_draws_the_same_nets_on_every_machine():
    assert len(CONVOLUTIONAL) == 20
    assert DESCRIPTIONS[0] == FIRST
    assert DESCRIPTIONS[-1] == LAST


def test_one_two_and_three_axes_every_block_and_both_spellings_are_there():
    text = "\n".join(DESCRIPTIONS)
    assert {int(n) for n in re.findall(r"(\d) axes", text)} == {1, 2, 3}
    assert all(text.count(f"{kind} ") >= 4 for kind in BLOCKS)
    assert text.count("torchscript") >= 6
    assert text.count("dynamo") >= 6


def test_widths_fill_no_register_and_sizes_are_odd():
    text = "\n".join(DESCRIPTIONS)
    kinds = "|".join(BLOCKS)
    widths = [int(n) for n in re.findall(rf"(?:{kinds}) (\d+)", text)]
    assert sum(width % 16 != 0 for width in widths) > len(widths) / 2
    sizes = [int(n) for n in re.findall(r"axes of (\d+)", text)]
    assert sum(size % 2 for size in sizes) >= 10


def test_groups_and_dilations_are_built():
    attributes = [
        {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        for entry in CONVOLUTIONAL.values()
        for node in entry.build().graph.node
        if node.op_type == "Conv"
    ]
    assert {found["group"] for found in attributes} > {1, 4}
    assert {found["dilations"][0] for found in attributes} == {1, 2, 3, 4}


@pytest.mark.parametrize("name", ["mobilenet_v3", "efficientnet", "video", "audio"])
def test_full_sizes_are_those_of_the_published_nets(name):
    published = {
        "mobilenet_v3": 5.48, "efficientnet": 5.29, "video": 33.37, "audio": 4.2
    }[name]  # fmt: skip
    model = ZOO[name].build("full")
    count = sum(
        onnx.numpy_helper.to_array(tensor).size for tensor in model.graph.initializer
    )
    assert count / 1e6 == pytest.approx(published, rel=0.02)
