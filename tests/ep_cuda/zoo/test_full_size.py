"""The zoo at full size, planned for devices that are not there.

What plans are made of is counted, every kernel is compiled for every GPU, and what libraries
are asked for is built: one operation of each kind for compute capability 9.0, and a part of the
kinds for every other one; with ``RUNTIME_TEST_CUDNN=all`` each operation for every one, which
takes two hours. The zoo is planned once by a process that runs all tests of this file
(``--dist loadfile``).
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import pytest
from library import deviceless, stub_libcuda
from library.deviceless import CAPABILITIES, Request, ask
from runtime_ep_cuda import cublaslt, cublaslt_lowering, cudnn_rules, nvrtc
from runtime_ep_cuda.library import refusal
from zoo.kinds import kind_of
from zoo.planned import HOPPER, TURING, all_planned, planned, table

from benchmarks.zoo import ZOO

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

EVERY = os.environ.get("RUNTIME_TEST_CUDNN") == "all"
TOGETHER = 48
"""Kernels in one program: few enough for an error to be found."""

AT_ONCE = 40
"""Operations that one process builds before another one takes over."""

SECONDS = 1.0
"""Of the processor, that a plan may take; about ten times what it does take."""

MOST = {
    "resnet18": (30, 2),
    "resnet50": (60, 2),
    "mobilenet_v2": (64, 2),
    "mobilenet_v3": (120, 2),
    "efficientnet": (160, 16),
    "convnext": (130, 2),
    "vit": (115, 3),
    "bert_base": (140, 3),
    "minilm": (80, 4),
    "distilbert": (72, 2),
    "gpt2": (205, 80),
    "llama": (600, 200),
    "whisper_encoder": (80, 3),
    "whisper_decoder": (150, 56),
    "unet": (400, 30),
    "detector": (125, 16),
    "video": (34, 2),
    "audio": (18, 2),
    "lstm": (1100, 6),
    "gru": (430, 4),
    "mlp": (8, 2),
}
"""Launches and calls of a plan, and copies among them, in any precision: a tenth more
than there are. Another spelling of a model has no more."""


def most(name):
    """Return the bounds of a model, or of the one that it is a variant of."""
    return MOST[max(filter(name.startswith, MOST), key=len)]


@pytest.mark.parametrize("name", ZOO)
def test_plans_are_of_few_pieces_and_made_in_no_time(name):
    actions, copies = most(name)
    for numbers in planned(name).numbers:
        assert numbers.actions <= actions, numbers
        assert numbers.copies <= copies, numbers
        assert numbers.planning < SECONDS, numbers
        assert numbers.tails == 0, numbers


def test_the_numbers_as_a_table(capsys):
    numbers = all_planned(HOPPER).numbers
    with capsys.disabled():
        sys.stdout.write(f"\n{table(numbers)}\n")
    assert len(numbers) > 4 * len(ZOO)


@pytest.fixture(scope="module")
def zoo():
    """Return what is planned by capability, one for all that plan alike."""
    plans = {75: all_planned(TURING), 90: all_planned(HOPPER)}
    return {sm: plans[75 if sm < 80 else 90] for sm in CAPABILITIES}


@pytest.mark.skipif(
    not find_spec("cupy") or not find_spec("nvidia"), reason="NVRTC is not installed"
)
@pytest.mark.parametrize("capability", CAPABILITIES)
def test_every_kernel_compiles_and_spills_only_where_it_says_so(zoo, capability):
    from codegen.test_nvrtc import compiled, spilled

    kernels = list(zoo[capability].kernels.values())
    texts = [
        nvrtc.text_of(kernels[start : start + TOGETHER])
        for start in range(0, len(kernels), TOGETHER)
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        logs = list(pool.map(lambda text: compiled(text, capability), texts))
    found = set().union(*map(spilled, logs))
    assert found <= {kernel.name for kernel in kernels if kernel.spills}


def test_libraries_are_asked_for_nothing_that_their_rules_refuse(zoo):
    for capability, plans in zoo.items():
        for operation, model in plans.operations.items():
            assert not refusal(operation, capability), (model, operation)


@pytest.fixture(scope="module")
def libcuda(tmp_path_factory):
    """The stub, built once."""
    return stub_libcuda.build(tmp_path_factory.mktemp("libcuda"))


PART = 3
"""One of so many kinds is built for the capabilities other than 9.0."""


def sample(operations, capability):
    """Return what cuDNN's rules accept: all of it, or one of each kind, or of some."""
    taken = [each for each in operations if not cudnn_rules.refusal(each, capability)]
    if EVERY:
        return taken
    kinds = {}
    for operation in taken:
        kinds.setdefault(kind_of(operation), operation)
    if capability == 90:
        return list(kinds.values())
    return list(kinds.values())[CAPABILITIES.index(capability) % PART :: PART]


@pytest.mark.skipif(bool(deviceless.why_not()), reason=deviceless.why_not())
@pytest.mark.parametrize("capability", CAPABILITIES)
def test_cudnn_builds_what_its_rules_accept(zoo, libcuda, capability):
    operations = sample(zoo[capability].operations, capability)
    parts = [
        dict(enumerate(operations[start : start + AT_ONCE], start))
        for start in range(0, len(operations), AT_ONCE)
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        answers = pool.map(lambda part: ask(libcuda, capability, Request(part)), parts)
        built = {number: each for part in answers for number, each in part.items()}
    assert len(built) == len(operations)
    failed = [operations[number] for number, each in built.items() if not each.names]
    assert failed == []


@pytest.mark.skipif(not find_spec("cuda"), reason="cublasLt is not installed")
def test_cublaslt_describes_what_its_rules_accept(zoo):
    described = 0
    for operation in zoo[90].operations | zoo[75].operations:
        if not cublaslt_lowering.refusal(operation):
            lowered = cublaslt_lowering.lower(operation)
            made = cublaslt.Descriptors(lowered, operation.tf32)
            assert made.preference(1 << 25, lowered.alignments[:4])
            described += 1
    assert described > 100
