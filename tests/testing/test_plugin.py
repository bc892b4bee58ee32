"""The kit's command line: options, expected failures, and the files it writes."""

import json

import pytest
from kit import HOSTILE, PROVIDERS, run_kit
from runtime.testing import expectations, matrix, results
from runtime.testing.expectations import BadLine, Expectation
from runtime.testing.subject import NotUsable, Subject

RELU = ["-k", "test_node and test_relu"]
LOOPBACK = f"{PROVIDERS}:loopback"


@pytest.mark.parametrize(
    ("glob", "name", "match"),
    [
        ("test_bernoulli*", "test_node[test_bernoulli_seed]", True),
        ("test_bernoulli", "test_node[test_bernoulli_seed]", False),
        ("test_node[test_abs]", "test_node[test_abs]", True),
        ("test_node", "test_node[test_abs]", True),
        ("*abs*", "test_node[test_abs]", True),
        ("test_ab?", "test_node[test_abs]", True),
        ("test_[ab]s", "test_node[test_as]", False),
        ("", "test_node[test_abs]", False),
    ],
)
def test_a_glob_means_a_function_a_case_or_both(glob, name, match):
    assert Expectation(glob, "why", 1).matches(name) is match


def test_what_is_random_may_pass_by_chance():
    assert Expectation("test_a", "random: another generator", 1).by_chance
    assert not Expectation("test_a", "it is not random", 1).by_chance


def test_lines_without_a_reason_are_errors(tmp_path):
    path = tmp_path / "xfails.txt"
    path.write_text("# a remark\n\ntest_a*  # slow hardware\ntest_b # no\n")
    with pytest.raises(BadLine, match=r"xfails.txt:4: expected 'GLOB  # REASON'"):
        expectations.read(path)
    path.write_text("test_a*  # slow # hardware\n")
    (line,) = expectations.read(path)
    assert (line.glob, line.reason, line.line) == ("test_a*", "slow # hardware", 1)
    assert expectations.unmatched([line], ["test_node[test_b]"]) == [line]
    assert not expectations.unmatched([line], ["test_node[test_ab]"])


def test_a_provider_is_found_by_name_alias_or_place():
    assert Subject(("cpu",)).name == "CPUExecutionProvider"
    assert Subject(("CPUExecutionProvider",)).order == ["CPUExecutionProvider"]
    table = Subject((f"{PROVIDERS}:table", "cpu"))
    assert table.order == ["TableExecutionProvider", "CPUExecutionProvider"]
    for spec, told in [
        ("cpuu", "no execution provider 'cpuu'; did you mean 'cpu'"),
        (f"{PROVIDERS}:nobody", "nobody"),
        ("no_such_module:x", "no_such_module"),
    ]:
        with pytest.raises(NotUsable, match=told):
            _ = Subject((spec,)).name


def case(name, status, owned=1, **more):
    record = {
        "name": name, "operator": "Add", "domain": "", "opset": 14, "types": ["float"],
        "nodes": 1, "owned": owned, "reasons": [], "status": status,
    }  # fmt: skip
    return {**record, **more}


def test_results_become_counts_and_a_page():
    records = [
        case("a", "passed"),
        case("b", "failed"),
        case("c", "refused", 0, types=["int8"], reasons=["Add: only floats | here"]),
        case("d", "xfailed", types=["double"]),
        case("e", "passed", 1, nodes=3, operator=None),
    ]
    data = results.capabilities(Subject(("cpu",)).entry, ["CPU"], records)
    assert data["summary"] == {
        "cases": 5, "claimed": 4, "claimed_whole": 3,
        "passed": 2, "failed": 1, "xfailed": 1, "refused": 1,
    }  # fmt: skip
    assert data["operators"] == {
        "Add": {
            "14": {
                "double": {"xfailed": 1},
                "float": {"passed": 1, "failed": 1},
                "int8": {"refused": 1},
            }
        }
    }
    row = "| Add | 14 | double⚠, float✗ | int8 | only floats \\| here |"
    assert row in matrix.page(data).splitlines()


@pytest.mark.parametrize(
    ("outcome", "known", "owned", "status"),
    [
        ("passed", False, 1, "passed"),
        ("failed", False, 1, "failed"),
        ("failed", False, 0, "failed"),
        ("skipped", False, 0, "refused"),
        ("skipped", True, 1, "xfailed"),
    ],
)
def test_a_case_is_passed_failed_xfailed_or_refused(outcome, known, owned, status):
    assert results.status(outcome, known, owned) == status


def test_files_are_written_from_a_folder_that_knows_nothing(tmp_path):
    arguments = ["--capabilities", "c.json", "--support-matrix", "matrix.md"]
    done = run_kit(tmp_path, "--ep", f"{PROVIDERS}:table", *RELU, *arguments)
    assert done.code == 0, done.text[-3000:]
    assert "test_node[test_relu]" in done.passed
    data = json.loads((tmp_path / "c.json").read_text())
    assert data["provider"] == "TableExecutionProvider"
    assert data["order"] == ["TableExecutionProvider", "CPUExecutionProvider"]
    assert data["operators"]["Relu"]["14"]["float"]["passed"] >= 1
    page = (tmp_path / "matrix.md").read_text()
    assert page.startswith("# Operators of TableExecutionProvider")
    assert "| Relu | 14 | float" in page


@pytest.mark.slow
def test_what_is_refused_is_skipped_with_the_reason_and_written_down(tmp_path):
    chosen = ["-k", "test_abs or test_relu", "--capabilities", "c.json", "-rs"]
    done = run_kit(
        tmp_path, "--ep", f"{PROVIDERS}:table", *chosen, modules=["test_nodes"]
    )
    assert done.code == 0, done.text[-3000:]
    assert "no kernel for Abs" in done.text
    cases = json.loads((tmp_path / "c.json").read_text())["cases"]
    found = {case["name"]: case for case in cases}
    assert found["test_abs"]["status"] == "refused"
    assert found["test_abs"]["reasons"] == ["Abs: no kernel for Abs"]
    assert found["test_relu"]["status"] == "passed"


@pytest.mark.slow
def test_expected_failures_are_strict_both_ways(tmp_path):
    lines = tmp_path / "xfails.txt"
    nodes, chosen = ["test_nodes"], ["-k", "test_relu", "--xfails", "xfails.txt"]
    lines.write_text("test_relu*  # adds one to everything\n")
    wrong = ["--ep", f"{HOSTILE}:wrong_value", *chosen]
    assert run_kit(tmp_path, *wrong, modules=nodes).code == 0
    right = ["--ep", LOOPBACK, *chosen]
    done = run_kit(tmp_path, *right, modules=nodes)
    assert done.code == 1
    assert "XPASS(strict)" in done.text
    lines.write_text("test_relu_that_never_was  # misspelt\n")
    done = run_kit(tmp_path, *right)
    assert done.code == 4
    assert "lines that mean no test: line 1: test_relu_that_never_was" in done.text


def test_mistakes_on_the_command_line_are_told(tmp_path):
    (tmp_path / "xfails.txt").write_text("test_relu\n")
    for arguments, told in [
        ([], "name the provider under test: --ep NAME"),
        (["--ep", "cpuu"], "did you mean 'cpu'"),
        (["--ep", "cpu", "--xfails", "xfails.txt"], "expected 'GLOB  # REASON'"),
        (["--ep", "cpu", "--xfails", "nowhere.txt"], "nowhere.txt"),
        (["--ep", "cpu", "--ep-option", "x"], "expected KEY=VALUE"),
    ]:
        done = run_kit(tmp_path, *arguments, modules=["test_mixed"])
        assert done.code == 4, done.text
        assert told in done.text


def test_a_test_that_takes_too_long_ends_the_run_with_its_stack(tmp_path):
    (tmp_path / "sluggish.py").write_text(
        "import time\n"
        "from runtime.testing.hostile import Hostile\n"
        "def slowly():\n"
        "    def run(call, inputs, outputs):\n"
        "        time.sleep(0.2)\n"
        "        return call(inputs, outputs)\n"
        "    return run\n"
        "provider = Hostile('sluggish', run=slowly)\n"
    )
    arguments = ["--ep", "sluggish:provider", "-k", "memory_does_not_grow"]
    done = run_kit(tmp_path, *arguments, modules=["test_executables"], limit=4)
    assert done.code != 0
    assert "Timeout (0:00:04)!" in done.text
    assert "sluggish.py" in done.text


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_whole_kit_passes_for_the_cpu(tmp_path):
    (tmp_path / "xfails.txt").write_text("test_bernoulli*  # random draws\n")
    done = run_kit(tmp_path, "--ep", "cpu", "--xfails", "xfails.txt")
    assert done.code == 0, done.text[-3000:]
    assert len(done.passed) > 2500


def test_a_selection_of_the_kit_passes_for_the_cpu(tmp_path):
    modules = ["test_contract", "test_executables"]
    arguments = ["--ep", "cpu", "-k", "dense or elementwise or answers"]
    done = run_kit(tmp_path, *arguments, modules=modules)
    assert done.code == 0, done.text[-3000:]
    assert len(done.passed) > 30
