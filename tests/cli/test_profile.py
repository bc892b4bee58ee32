"""`runtime profile`: a trace, and tables of where the time goes."""

import json

from doubles import DeviceProvider
from runtime.cli.exits import Exit


def test_the_time_is_told_by_operator_and_provider(call, model):
    result = call("profile", model, "--runs", "4", "--dim", "batch=20000", "--json")
    assert result.code == Exit.OK
    found = result.data
    assert found["runs"] == 4
    operators = {word for row in found["operators"] for word in row["name"].split("+")}
    assert operators == {"MatMul", "Add", "Relu", "Softmax"}
    assert all(row["calls"] == 1 for row in found["operators"])
    assert abs(sum(row["share"] for row in found["operators"]) - 1) < 1e-3
    (provider,) = found["providers"]
    assert provider["name"] == "CPUExecutionProvider"
    assert found["transfers"] == []


def test_transfers_have_a_table_of_their_own(call, model, registered):
    registered(DeviceProvider("SimExecutionProvider", ["MatMul", "Add", "Softmax"]))
    arguments = ("profile", model, "-p", "sim", "--runs", "2")
    found = call(*arguments, "--json").data
    moved = {row["name"] for row in found["transfers"]}
    assert any("cpu:0 -> sim:0" in name for name in moved)
    assert any("sim:0 -> cpu:0" in name for name in moved)
    assert {row["name"] for row in found["providers"]} == {
        "SimExecutionProvider",
        "CPUExecutionProvider",
    }
    assert "transfers:" in call(*arguments).out


def test_the_trace_is_written_as_viewers_read_it(call, model, tmp_path):
    path = tmp_path / "trace.json"
    assert call("profile", model, "-o", path, "--runs", "1").code == Exit.OK
    events = json.loads(path.read_text())
    assert {event["ph"] for event in events} == {"X"}
    assert {"Session", "Partition", "Node"} <= {event["cat"] for event in events}
