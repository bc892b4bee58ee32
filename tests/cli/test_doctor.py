"""`runtime doctor`: who is usable, or why not and what to do; what scripts can require."""

import pytest
from doubles import Choosy, Failing
from runtime.cli import machine
from runtime.cli.exits import Exit
from runtime.plugin import HOST, Option, Probe, ProviderInfo


class Described:
    """A provider of which only the description matters."""

    def __init__(self, name, **fields):
        self.info = ProviderInfo(name, **fields)


def provider(result, name):
    return next(one for one in result.data["providers"] if one["name"] == name)


def test_the_cpu_is_usable_and_the_machine_is_described(call):
    result = call("doctor", "--json")
    assert result.code == Exit.OK
    cpu = provider(result, "CPUExecutionProvider")
    assert cpu["usable"]
    assert cpu["distribution"] == "runtime-ep-cpu"
    assert cpu["version"]
    assert result.data["cpu"]["usable"] >= 1
    assert set(result.data["python"]) >= {"python", "platform", "numpy", "onnx"}


def test_why_not_and_the_remedy(call, registered):
    probe = Probe(reason="libfoo.so.13 not found", remedy="pip install foo-libs")
    registered(Described("FooExecutionProvider", probe=lambda: probe))
    result = call("doctor", "--json")
    assert result.code == Exit.OK
    foo = provider(result, "FooExecutionProvider")
    assert (foo["usable"], foo["reason"]) == (False, "libfoo.so.13 not found")
    text = call("doctor").out
    assert "FooExecutionProvider: NOT USABLE" in text
    assert "pip install foo-libs" in text


@pytest.mark.parametrize(
    ("double", "reason"),
    [
        (Failing("BadExecutionProvider", "probe", []), "the driver is on fire"),
        (Described("BadExecutionProvider", probe=Probe), "it found no device"),
        (
            Described("BadExecutionProvider", api=((9, 0), (9, 9))),
            "needs provider API 9.0",
        ),
    ],
)
def test_a_provider_that_cannot_be_is_no_failure_of_the_doctor(
    double, reason, call, registered
):
    registered(double)
    result = call("doctor", "--json")
    assert result.code == Exit.OK
    assert reason in provider(result, "BadExecutionProvider")["reason"]


def test_the_cpu_tells_what_native_code_is_generated_for(call):
    told = provider(call("doctor", "--json"), "CPUExecutionProvider")["details"]
    assert told["native code"].startswith(("for ", "none, "))
    assert "native code" in call("doctor").out


@pytest.mark.parametrize(
    ("tell", "told"),
    [
        (lambda: {"engine": "4.2"}, {"engine": "4.2"}),
        (
            lambda: 1 / 0,
            {"details": "cannot be told: ZeroDivisionError: division by zero"},
        ),
    ],
)
def test_a_loaded_provider_may_tell_more_of_itself(tell, told, call, registered):
    foo = Choosy("FooExecutionProvider", [])
    foo.details = tell
    registered(foo)
    found = provider(call("doctor", "--json"), "FooExecutionProvider")
    assert found["usable"]
    assert found["details"] == told


def test_a_provider_that_does_not_load_is_not_usable(call, registered, monkeypatch):
    from runtime.providers import Installed

    def load(self):
        raise ImportError("libbar.so: cannot open shared object file")

    registered(Described("BarExecutionProvider", install="pip install bar"))
    monkeypatch.setattr(Installed, "load", load)
    bar = provider(call("doctor", "--json"), "BarExecutionProvider")
    assert not bar["usable"]
    assert "libbar.so" in bar["reason"]
    assert bar["remedy"] == "reinstall it: pip install bar"


def test_required_providers(call, registered):
    registered(
        Choosy("GoodExecutionProvider", []),
        Described(
            "FooExecutionProvider", probe=lambda: Probe((HOST,), "no driver", "get one")
        ),
    )
    assert call("doctor", "--require", "cpu", "--require", "good").code == Exit.OK
    result = call("doctor", "--require", "foo", "--json")
    assert result.code == Exit.PROVIDER
    problem = "FooExecutionProvider is required, but no driver; get one"
    assert result.data["problems"] == [problem]
    assert result.err == f"warning: {problem}\n"
    missing = call("doctor", "--require", "QNNExecutionProvider", "-q")
    assert missing.code == Exit.PROVIDER
    assert "it is not installed" in missing.err
    unknown = call("doctor", "--require", "gpux")
    assert unknown.code == Exit.USAGE


def test_options_are_listed_when_asked_for(call, registered):
    options = {"depth": Option(int, 3, "how deep it goes")}
    registered(Described("FooExecutionProvider", options=options))
    assert "how deep it goes (default: 3)" in call("doctor", "--options").out
    assert "how deep" not in call("doctor").out


def test_a_cache_that_cannot_be_written_is_told_with_a_remedy(
    call, monkeypatch, tmp_path
):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RUNTIME_CACHE_DIR", str(tmp_path / "file/below"))
    result = call("doctor", "--json")
    assert result.code == Exit.OK
    assert not result.data["cache"]["writable"]
    assert "RUNTIME_CACHE_DIR" in result.data["cache"]["remedy"]
    assert result.data["environment"]["RUNTIME_CACHE_DIR"].endswith("below")
    assert "NOT WRITABLE" in call("doctor").out


class Distribution:
    """An installed distribution, by name and version."""

    def __init__(self, name, version):
        self.metadata, self.version = {"Name": name}, version


def test_packages_that_overwrite_each_other_are_mentioned(call, monkeypatch):
    both = [
        Distribution("onnxruntime", "1.31"),
        Distribution("onnxruntime-gpu", "1.30"),
    ]
    monkeypatch.setattr(machine.metadata, "distributions", lambda: both)
    found = machine.neighbours()
    assert "onnxruntime, onnxruntime-gpu all install" in found["conflict"]
    plugin = [both[0], Distribution("onnxruntime-ep-webgpu", "0.4")]
    monkeypatch.setattr(machine.metadata, "distributions", lambda: plugin)
    assert machine.neighbours()["conflict"] == ""
    assert len(machine.neighbours()["installed"]) == 2
