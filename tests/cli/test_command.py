"""The command as a whole: help, exit codes, one-line errors, JSON, quiet terminals."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from runtime.cli.exits import Exit
from runtime.cli.parser import VERBS, every_verb
from runtime.cli.reference import markdown

ROOT = Path(__file__).parent.parent.parent
WORDS = [module.__name__.rpartition(".")[2] for module in VERBS]
NAMES = [name for name, _ in every_verb()]


def test_help_names_every_verb_and_exit_code(call):
    result = call("--help")
    assert result.code == 0
    assert all(f"    {word} " in result.out for word in WORDS)
    assert all(f"  {code:d}  {code.meaning}" in result.out for code in Exit)


def test_a_nouns_help_names_its_verbs(call):
    result = call("ep", "--help")
    assert result.code == 0
    own = [name.split()[1] for name in NAMES if name.startswith("ep ")]
    assert own == ["list", "info", "test", "new"]
    assert all(f"    {word} " in result.out for word in own)


@pytest.mark.parametrize("name", NAMES)
def test_every_verb_has_json_quiet_debug_and_examples(name, call):
    result = call(*name.split(), "--help")
    assert result.code == 0
    for expected in ("--json", "--quiet", "--debug", "examples:", f"runtime {name}"):
        assert expected in result.out


def test_help_imports_nothing_heavy():
    program = (
        "import sys; from runtime.cli import main; main(['run', '--help']);"
        "print([m for m in ('numpy', 'onnx', 'rich', 'runtime_ep_cpu') "
        "if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == "[]"


def test_version(call):
    assert call("--version").out.startswith("runtime 1.")


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        ([], "VERB"),
        (["launch"], "invalid choice: 'launch'"),
        (["ep"], "VERB"),
        (["ep", "launch"], "invalid choice: 'launch'"),
        (["ep", "new"], "NAME"),
        (["run"], "MODEL"),
        (["run", "m.onnx", "--dim", "batch"], "'batch' sets no dim"),
        (["run", "m.onnx", "--dim", "batch=many"], "batch=8"),
        (["run", "m.onnx", "--shape", "x"], "image:1x3x224x224"),
        (["run", "m.onnx", "--shape", "x:1xtwo"], "is no shape"),
        (["run", "m.onnx", "-p", ":a=b"], "names no provider"),
        (["run", "m.onnx", "-p", "cuda:device_id"], "'device_id' in 'cuda:device_id'"),
        (["run", "m.onnx", "--config", "key"], "write key=value"),
        (["run", "m.onnx", "--atol", "-1"], "no number from 0 up"),
        (["run", "m.onnx", "--atol", "nan"], "no number from 0 up"),
        (["bench", "m.onnx", "--concurrency", "0"], "whole number above 0"),
        (["bench", "m.onnx", "--jason"], "--jason"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(argv, told, call):
    result = call(*argv)
    assert result.code == Exit.USAGE
    assert told in result.err
    assert result.err.count("\n") == 1
    assert not result.out


def test_an_error_is_one_line_without_traceback(call):
    result = call("run", "missing.onnx")
    assert result.code == Exit.USAGE
    assert result.err.startswith("runtime run: ")
    assert "missing.onnx" in result.err
    assert result.err.count("\n") == 1


def test_debug_shows_the_traceback(call):
    with pytest.raises(Exception, match=r"missing\.onnx"):
        call("run", "missing.onnx", "--debug")


def test_an_error_is_json_too_where_json_was_asked_for(call):
    result = call("run", "missing.onnx", "--json")
    assert result.code == Exit.USAGE
    assert "missing.onnx" in result.data["error"]["message"]


def test_a_models_names_cannot_steer_the_terminal(call, tmp_path):
    from models import FLOAT, model, node

    evil = "x\x1b]0;owned\x07"
    path = tmp_path / "evil.onnx"
    made = model(
        [node("Relu", [evil], ["y"])], {evil: (FLOAT, [1])}, {"y": (FLOAT, [1])}
    )
    path.write_bytes(made.SerializeToString())
    for verb in ("inspect", "run"):
        result = call(verb, path)
        assert result.code == 0
        assert "\x1b" not in result.out + result.err
        assert "\\x1b]0;owned" in result.out


def test_nothing_but_text_when_nobody_looks(call, model):
    result = call("run", model)
    assert "\x1b" not in result.out
    assert result.err == ""


def test_a_closed_pipe_is_no_error(model):
    done = subprocess.run(
        f"{sys.executable} -m runtime.cli inspect {model} --json | head -c 1",
        shell=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert done.stderr == ""


def test_the_reference_page_is_current():
    page = ROOT / "docs/reference/cli.md"
    advice = "python -m runtime.cli.reference > docs/reference/cli.md"
    assert page.read_text(encoding="utf-8") == markdown(), f"stale; run: {advice}"


def test_json_is_valid_whatever_the_numbers():
    from runtime.cli.console import plain

    data = plain({"a": float("nan"), "b": [float("inf"), 1.5], "c": (True, None)})
    assert json.loads(json.dumps(data, allow_nan=False)) == {
        "a": None,
        "b": [None, 1.5],
        "c": [True, None],
    }
