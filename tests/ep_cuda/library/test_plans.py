"""cuDNN builds plans for devices that are not there: what the rules promise is true.

Needs cuDNN, its frontend and gcc; ``nox -s cuda`` has them. Each operation of the sample
is built for one compute capability, some for every one; with ``RUNTIME_TEST_CUDNN=all``
each for every one.
"""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from library import stub_libcuda
from library.deviceless import CAPABILITIES, Request, ask, why_not
from library.sample import sample
from library.specs import convolution, image, product
from runtime_ep_cuda.cudnn_rules import refusal

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())

SAMPLE = sample()
NEEDLESS = Path(__file__).parent / "needlessly_refused.txt"
EVERYWHERE = (
    "conv float16 resnet",
    "conv float16 silu",
    "conv float16 clip",
    "conv float16 depthwise fused",
    "conv float32 relu",
    "conv int8 to int8 scale bias relu",
    "dgrad float16 bias relu",
    "mm float16 gelu",
    "mm float16 heads",
    "sdpa float16 causal",
)


@pytest.fixture(scope="module")
def libcuda(tmp_path_factory):
    """The stub, built once."""
    return stub_libcuda.build(tmp_path_factory.mktemp("libcuda"))


def portion(capability):
    """A part of the sample for each capability: all parts together are all of it."""
    names = list(SAMPLE)[CAPABILITIES.index(capability) :: len(CAPABILITIES)]
    return {name: SAMPLE[name] for name in {*names, *EVERYWHERE}}


def known():
    """The operations whose refusal is known to be needless on some capability."""
    lines = NEEDLESS.read_text().splitlines()
    return {line for line in lines if line and not line.startswith("#")}


def hold_against_builds(libcuda, capability, operations):
    """Fail where something is not refused and does not build, or the other way round.

    The latter does no harm but to speed: what is known of it is listed.
    """
    built = ask(libcuda, capability, Request(operations))
    refused = {name: refusal(each, capability) for name, each in operations.items()}
    wrong = [name for name in operations if not refused[name] and not built[name].names]
    assert wrong == [], "not refused, and does not build"
    needless = {name for name in operations if refused[name] and built[name].names}
    assert needless - known() == set(), "refused, and builds"


@pytest.mark.timeout(900)
@pytest.mark.parametrize("capability", CAPABILITIES)
def test_what_is_not_refused_builds(libcuda, capability):
    hold_against_builds(libcuda, capability, portion(capability))


@pytest.mark.skipif(
    os.environ.get("RUNTIME_TEST_CUDNN") != "all",
    reason="takes most of an hour: RUNTIME_TEST_CUDNN=all",
)
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("capability", CAPABILITIES)
def test_all_of_what_is_not_refused_builds(libcuda, capability):
    hold_against_builds(libcuda, capability, SAMPLE)


def test_what_is_known_to_be_refused_needlessly_is_in_the_sample():
    assert known() <= set(SAMPLE)
    assert all(
        any(refusal(SAMPLE[name], sm) for sm in CAPABILITIES) for name in known()
    )


ROUND = {name: SAMPLE[name] for name in EVERYWHERE if "depthwise" not in name}


@pytest.mark.parametrize("capability", [80, 90, 120])
def test_a_saved_plan_is_restored_where_it_was_built(libcuda, capability):
    built = ask(libcuda, capability, Request(ROUND, restored_for=capability))
    for name, answer in built.items():
        assert answer.names, name
        assert answer.saved > 1000, name
        assert answer.restored, name


def test_and_not_on_a_device_of_another_capability(libcuda):
    built = ask(libcuda, 90, Request(ROUND, restored_for=80))
    assert [name for name, answer in built.items() if answer.restored] == []


def test_damaged_plans_are_not_restored(libcuda):
    built = ask(libcuda, 80, Request(ROUND, restored_for=80))
    assert [name for name, answer in built.items() if answer.damaged] == []


def test_plans_keep_to_the_limit_of_their_workspace(libcuda):
    operations = {
        "in C order": SAMPLE["conv float16 C order"],
        "with gaps": SAMPLE["conv float16 x with gaps"],
        "attention": SAMPLE["sdpa float16 decode"],
    }
    free = ask(libcuda, 90, Request(operations, most=4))
    assert all(max(answer.workspaces) > 0 for answer in free.values())
    for limit in (0, 1024):
        tight = ask(libcuda, 90, Request(operations, limit=limit, most=4))
        for answer in tight.values():
            assert all(size <= limit for size in answer.workspaces)


def test_as_many_plans_as_are_asked_for_and_each_once(libcuda):
    operations = {"one": SAMPLE["conv float16 depthwise"]}
    for most in (1, 3, 8):
        (answer,) = ask(libcuda, 90, Request(operations, most=most)).values()
        assert len(answer.names) == most
        assert len(set(answer.names)) == most


def test_true_float32_and_tf32_are_other_plans(libcuda):
    shapes = (2, 32, 14, 14), (48, 32, 3, 3)
    operations = {
        name: convolution(*shapes, pads=1, dtype="float32", tf32=name == "tf32")
        for name in ("float32", "tf32")
    }
    built = ask(libcuda, 90, Request(operations, most=8))
    exact = set(built["float32"].names)
    assert exact
    assert built["tf32"].names[0] not in exact
    products = {
        name: product((1, 8, 8), (1, 8, 8), dtype="float32", tf32=name == "tf32")
        for name in ("float32", "tf32")
    }
    built = ask(libcuda, 90, Request(products))
    assert built["float32"].names == ()
    assert built["tf32"].names


def test_a_deterministic_device_has_fewer_plans(libcuda):
    operations = {"one": SAMPLE["conv float32 strided"]}
    (all_,) = ask(libcuda, 90, Request(operations, most=99)).values()
    (some,) = ask(
        libcuda, 90, Request(operations, most=99, deterministic=True)
    ).values()
    assert set(some.names) <= set(all_.names)
    assert some.names


def test_a_refusal_is_no_exception(libcuda):
    operation = SAMPLE["conv int8 to int8 scale bias relu"]
    operations = {
        "uint8": replace(operation, x=image("uint8", 2, 32, 14, 14)),
        "heads of 33": SAMPLE["sdpa float16 heads of 33"],
        "float32": SAMPLE["mm float32"],
    }
    assert all(
        not each.names for each in ask(libcuda, 90, Request(operations)).values()
    )
