"""Every kernel becomes code for every target, also those of machines elsewhere."""

import pytest

pytest.importorskip("llvmlite")

import kernels
from listing import wanted_from_outside
from runtime_ep_cpu.codegen.library import FAMILIES, written
from runtime_ep_cpu.codegen.machine import compiled
from runtime_ep_cpu.codegen.target import crossed, host
from runtime_ep_cpu.codegen.walk import walk_text

MACHINES = [
    ("avx512", "x86_64-unknown-linux-gnu"),
    ("avx2", "x86_64-unknown-linux-gnu"),
    ("generic", "x86_64-unknown-linux-gnu"),
    ("neon", "aarch64-unknown-linux-gnu"),
    ("generic", "riscv64-unknown-linux-gnu"),
]
if not host().is_x86:  # LLVM parses the host's inline assembly only
    MACHINES = [each for each in MACHINES if not each[1].startswith("x86_64")]
FAR = {"sin": {"sin"}, "cos": {"cos"}}
"""Functions of the C library for what series do not reach."""
WAITS = {"syscall", "sched_yield", "usleep"}
"""How threads wait for each other."""


@pytest.mark.parametrize(("name", "triple"), MACHINES)
def test_every_kernel_compiles_and_needs_nothing_from_outside(name, triple):
    target = crossed(name, triple)
    wanted = {}
    for kernel, spec in kernels.every(target).items():
        names = wanted_from_outside(compiled(written([spec], target), target))
        if names - FAR.get(kernel, WAITS):
            wanted[kernel] = names
    assert not wanted


@pytest.mark.parametrize(("name", "triple"), MACHINES)
def test_the_walk_needs_the_system_only_to_wait(name, triple):
    target = crossed(name, triple)
    wanted = wanted_from_outside(compiled(walk_text(target), target))
    assert wanted <= WAITS


def test_a_target_belongs_to_its_architecture():
    with pytest.raises(ValueError, match="neon is a target of aarch64"):
        crossed("neon", "x86_64-unknown-linux-gnu")


def test_the_kernels_are_of_every_family():
    target = crossed("neon", "aarch64-unknown-linux-gnu")
    specs = kernels.every(target).values()
    registered = {name for name in FAMILIES if not name.endswith("_for_test")}
    assert registered - {spec.family for spec in specs} == set()
