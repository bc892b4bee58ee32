"""`RUNTIME_DUMP` shows what a partition became; it never keeps a session from running."""

import itertools

import numpy as np
import pytest
from beside_numpy import opened, programs
from models import FLOAT, INT64, dense, model, node
from runtime.errors import FallbackWarning
from runtime.explain import forget_warnings
from runtime_ep_cpu.codegen.machine import compiled
from runtime_ep_cpu.codegen.target import host
from runtime_ep_cpu.native import dump

X = np.ones((2, 4), np.float32)


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """Return the folder that files are written to, numbered from 1."""
    forget_warnings()
    monkeypatch.setattr(dump, "_numbers", itertools.count(1))
    monkeypatch.setenv("RUNTIME_DUMP_DIR", str(tmp_path / "made"))
    return tmp_path / "made"


def specs(session):
    steps = [s for p in programs(session) for stage in p.stages for s in stage.steps]
    return {spec for step in steps for spec in step.specs}


def symbols(session):
    return {spec.symbol for spec in specs(session)}


def test_groups_are_written_with_their_nodes_results_and_kernels(folder, monkeypatch):
    monkeypatch.setenv("RUNTIME_DUMP", "groups")
    session = opened(dense(), threads=1)
    assert [path.name for path in folder.iterdir()] == ["cpu-1.groups"]
    names = {spec.family: spec.symbol for spec in specs(session)}
    assert (folder / "cpu-1.groups").read_text().splitlines() == [
        f"target {host().name}, threads 1, native 4 of 4 nodes, groups 2",
        "",
        "stage 1: x -> y",
        "  product: MatMul(matmul) Add(add) Relu(relu) -> r",
        f"    {names['gemm']}",
        "  softmax: Softmax(softmax) -> y",
        f"    {names['softmax']}",
    ]


def test_nodes_that_are_numpys_or_known_are_told(folder, monkeypatch):
    monkeypatch.setenv("RUNTIME_DUMP", "groups")
    nodes = [
        node("Shape", ["x"], ["s"], name="shape"),
        node("Expand", ["row", "s"], ["e"], name="expand"),
        node("NonZero", ["e"], ["y"], name="nonzero"),
    ]
    inputs = {"x": (FLOAT, ["n", 4]), "row": (FLOAT, [1, 4])}
    opened(model(nodes, inputs, {"y": (INT64, [2, "k"])}))
    text = (folder / "cpu-1.groups").read_text()
    assert "  known when planned: Shape(shape)\n" in text
    assert text.endswith("NumPy's kernels: NonZero(nonzero)\n")


def test_ir_is_what_llvm_compiles_and_has_every_kernel(folder, monkeypatch):
    monkeypatch.setenv("RUNTIME_DUMP", "ir")
    session = opened(dense())
    text = (folder / "cpu-1.ll").read_text()
    assert compiled(text, host())
    for symbol in symbols(session):
        assert f"@{symbol}(" in text


def test_assembly_has_every_kernel(folder, monkeypatch):
    monkeypatch.setenv("RUNTIME_DUMP", "asm")
    session = opened(dense())
    lines = (folder / "cpu-1.s").read_text().splitlines()
    labels = {line.split(":")[0].lstrip("_") for line in lines if ":" in line}
    assert symbols(session) <= labels


def test_each_partition_has_files_of_its_own(folder, monkeypatch):
    monkeypatch.setenv("RUNTIME_DUMP", "groups, ir,asm")
    for _ in range(2):
        opened(dense())
    names = {f"cpu-{n}.{end}" for n in (1, 2) for end in ("groups", "ll", "s")}
    assert {path.name for path in folder.iterdir()} == names


def test_without_a_folder_it_is_the_current_one(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("RUNTIME_DUMP", "groups")
    monkeypatch.delenv("RUNTIME_DUMP_DIR")
    monkeypatch.chdir(tmp_path)
    opened(dense())
    assert (tmp_path / "cpu-1.groups").exists()


def test_nothing_is_written_unasked(folder, monkeypatch):
    monkeypatch.delenv("RUNTIME_DUMP", raising=False)
    opened(dense())
    assert not folder.exists()


def test_a_name_that_is_none_costs_a_warning(folder, monkeypatch):
    monkeypatch.setenv("RUNTIME_DUMP", "grops,ir")
    with pytest.warns(FallbackWarning, match="no 'grops'; it knows groups, ir, asm"):
        session = opened(dense())
    assert session.run(None, {"x": X})[0].shape == (2, 3)
    assert [path.name for path in folder.iterdir()] == ["cpu-1.ll"]


def test_a_folder_that_cannot_be_made_costs_a_warning(folder, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RUNTIME_DUMP", "groups")
    monkeypatch.setenv("RUNTIME_DUMP_DIR", str(tmp_path / "file/below"))
    with pytest.warns(FallbackWarning, match="RUNTIME_DUMP cannot write"):
        session = opened(dense())
    assert programs(session)
