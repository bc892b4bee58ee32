"""The processor decides which targets there are; code for another one is refused."""

import pytest

pytest.importorskip("llvmlite")

from llvmlite import binding
from runtime_ep_cpu.codegen import target as targets
from runtime_ep_cpu.codegen.target import NAMES, host, missing, named, runnable

PROCESSORS = {
    "Skylake of servers": (
        "x86_64-unknown-linux-gnu",
        "avx avx2 fma f16c avx512f avx512bw avx512dq avx512vl",
        ["avx512", "avx2", "generic"],
    ),
    "Knights Landing": (
        "x86_64-unknown-linux-gnu",
        "avx avx2 fma f16c avx512f avx512cd",
        ["avx2", "generic"],
    ),
    "Haswell": ("x86_64-pc-windows-msvc", "avx avx2 fma f16c", ["avx2", "generic"]),
    "Sandy Bridge": ("x86_64-apple-darwin", "sse4.2 avx", ["generic"]),
    "Apple": ("arm64-apple-darwin23", "neon", ["neon", "generic"]),
    "Neoverse": ("aarch64-unknown-linux-gnu", "neon sve", ["neon", "generic"]),
    "RISC-V": ("riscv64-unknown-linux-gnu", "m a f d c v", ["generic"]),
}


def afresh():
    for function in (host, named):
        function.cache_clear()


@pytest.fixture
def processor(monkeypatch):
    """Return a function that makes the process believe it runs on a processor."""

    def pretend(name):
        triple, words, _ = PROCESSORS[name]
        features = binding.FeatureMap(dict.fromkeys(words.split(), True))
        monkeypatch.setattr(binding, "get_process_triple", lambda: triple)
        monkeypatch.setattr(binding, "get_host_cpu_features", lambda: features)
        afresh()

    yield pretend
    monkeypatch.undo()
    afresh()


@pytest.mark.parametrize("name", PROCESSORS)
def test_the_processor_decides(processor, name):
    processor(name)
    *_, expected = PROCESSORS[name]
    assert runnable() == expected
    assert host().name == expected[0]


@pytest.mark.parametrize("name", PROCESSORS)
def test_a_target_of_another_processor_is_refused_with_what_it_lacks(processor, name):
    processor(name)
    for target in set(NAMES) - set(runnable()):
        with pytest.raises(ValueError, match=f"lacks {', '.join(missing(target))}"):
            named(target)


def test_a_processor_lacks_features_or_is_of_another_architecture(processor):
    processor("Knights Landing")
    assert missing("avx512") == ("avx512bw", "avx512dq", "avx512vl")
    assert missing("neon") == ("aarch64",)


def test_what_is_missing_is_told_with_the_targets_there_are(processor):
    processor("Haswell")
    with pytest.raises(ValueError, match="here the targets are avx2, generic"):
        named("avx512")


def test_registers_are_those_of_the_target():
    shapes = {name: targets._SHAPES[name] for name in NAMES}
    assert {name: bits // 32 for name, (bits, *_) in shapes.items()} == {
        "avx512": 16,
        "avx2": 8,
        "neon": 4,
        "generic": 4,
    }
