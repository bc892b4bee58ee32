"""`runtime inspect`: what a file holds, and who would run it, without running it."""

import json

import numpy as np
from doubles import Choosy, DeviceProvider, Failing
from models import BOOL, FLOAT, node
from models import model as make
from runtime.cli.exits import Exit


def test_inputs_outputs_operators_and_weights(call, model):
    result = call("inspect", model, "--json")
    assert result.code == Exit.OK
    found = result.data
    assert found["inputs"] == [
        {"name": "x", "type": "tensor(float)", "shape": ["batch", 4]}
    ]
    assert found["outputs"][0]["shape"] == ["batch", 3]
    assert found["operators"] == {"MatMul": 1, "Add": 1, "Relu": 1, "Softmax": 1}
    assert found["opsets"] == {"ai.onnx": 17}
    assert (found["parameters"], found["weight_bytes"]) == (15, 60)
    text = call("inspect", model).out
    assert "x  tensor(float)  batch×4" in text


def test_a_file_is_shown_as_it_is_not_as_it_is_simplified(call, tmp_path):
    path = tmp_path / "same.onnx"
    nodes = [node("Identity", ["x"], ["h"]), node("Relu", ["h"], ["y"])]
    kinds = {"x": (FLOAT, [2])}, {"y": (FLOAT, [2])}
    path.write_bytes(make(nodes, *kinds).SerializeToString())
    found = call("inspect", path, "--json").data
    assert found["operators"] == {"Identity": 1, "Relu": 1}


def test_nodes_of_bodies_count(call, tmp_path):
    from onnx import helper

    info = helper.make_tensor_value_info
    branch = helper.make_graph(
        [node("Relu", ["x"], ["b"])], "branch", [], [info("b", FLOAT, [2])]
    )
    nodes = [node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)]
    kinds = {"c": (BOOL, []), "x": (FLOAT, [2])}, {"y": (FLOAT, [2])}
    path = tmp_path / "if.onnx"
    path.write_bytes(make(nodes, *kinds).SerializeToString())
    assert call("inspect", path, "--json").data["operators"] == {"Relu": 2, "If": 1}


def test_placement_shows_refusals_and_compiles_nothing(call, model, registered):
    choosy = Choosy("ChoosyExecutionProvider", ["Relu"])
    registered(choosy, Failing("BurningExecutionProvider", "compile", ["Add"]))
    result = call("inspect", model, "--placement", "-p", "choosy", "-p", "burning")
    assert result.code == Exit.OK
    assert "ChoosyExecutionProvider does not like MatMul" in result.out
    assert "on fire" not in result.out + result.err
    assert not choosy.compiled


def test_placement_is_saved_by_its_suffix(call, model, registered, tmp_path):
    registered(DeviceProvider("SimExecutionProvider", ["Relu"]))
    for name in ("p.html", "p.json", "p.txt"):
        result = call("inspect", model, "-p", "sim", "--save", name)
        assert result.code == Exit.OK
    assert (
        (tmp_path / "p.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    )
    placement = json.loads((tmp_path / "p.json").read_text(encoding="utf-8"))
    owners = {n["op_type"]: n["provider"] for n in placement["nodes"]}
    assert owners["Relu"] == "SimExecutionProvider"
    assert "SimExecutionProvider" in (tmp_path / "p.txt").read_text(encoding="utf-8")
    result = call("inspect", model, "--save", "nowhere/p.html")
    assert result.code == Exit.USAGE
    assert "cannot be written" in result.err


def test_a_broken_file_ends_with_exit_code_4(call, tmp_path):
    (tmp_path / "x.onnx").write_bytes(np.random.default_rng(0).bytes(100))
    assert call("inspect", "x.onnx").code == Exit.MODEL
    assert call("inspect", "missing.onnx").code == Exit.USAGE
