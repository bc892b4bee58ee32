"""Discovery, probing, options and hooks of providers."""

import subprocess
import sys

import pytest
import runtime as ort
from doubles import Choosy, describe
from models import dense
from runtime.errors import OptionError, ProviderNotFound, ProviderUnavailable
from runtime.explain import Report, forget_warnings
from runtime.plugin import (
    HOST,
    Device,
    Option,
    Probe,
    ProviderInfo,
    hookimpl,
)
from runtime.providers import (
    Elsewhere,
    Providers,
    Request,
    registry,
    resolve,
    typed_options,
    usable,
)
from runtime.settings import Settings

OPTIONS = {
    "device_id": Option(int, 0, "the device's number"),
    "fast": Option(bool, False, "trade accuracy for speed"),
    "mode": Option(("eco", "boost"), "eco", "how eager", aliases={"turbo": "boost"}),
    "ratio": Option(float, 0.5, "a share"),
}
INFO = ProviderInfo("OptExecutionProvider", options=OPTIONS)


@pytest.mark.parametrize(
    ("given", "want"),
    [
        ({}, {"device_id": 0, "fast": False, "mode": "eco", "ratio": 0.5}),
        ({"device_id": "3"}, {"device_id": 3}),
        ({"fast": "True"}, {"fast": True}),
        ({"fast": 0}, {"fast": False}),
        ({"mode": "turbo"}, {"mode": "boost"}),
        ({"ratio": "0.25"}, {"ratio": 0.25}),
    ],
)
def test_options_get_their_declared_type(given, want):
    typed = typed_options(INFO, given)
    assert want.items() <= typed.items()


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"device": 1}, r"no option 'device'; did you mean 'device_id'\?"),
        ({"device_id": "x"}, "'x' is not valid"),
        ({"fast": "maybe"}, "expected true or false"),
        ({"mode": "bost"}, "expected one of eco, boost; did you mean 'boost'"),
    ],
)
def test_a_bad_option_is_an_error_that_says_what_would_do(given, match):
    with pytest.raises(OptionError, match=match):
        typed_options(INFO, given)


def test_names_and_aliases_resolve(registered):
    registered(Choosy("AcmeExecutionProvider", [], aliases=("roadrunner",)))
    for name in ("AcmeExecutionProvider", "acme", "ACME", "roadrunner"):
        assert resolve(name).name == "AcmeExecutionProvider"
    assert resolve("nobody") is None


def test_a_probe_is_asked_once_and_never_raises(registered):
    asked = []

    def probe():
        asked.append(1)
        raise OSError("no driver")

    registered(Choosy("OddExecutionProvider", [], probe=probe))
    entry = resolve("odd")
    assert "no driver" in entry.probe().reason
    entry.probe()
    assert len(asked) == 1
    assert "OddExecutionProvider" not in usable()


def test_accelerators_come_before_engines_of_the_host_and_the_host_last(registered):
    registered(
        Choosy("EngineExecutionProvider", []),
        Choosy("ChipExecutionProvider", [], probe=lambda: Probe((Device("chip"),))),
    )
    names = usable()
    assert names.index("ChipExecutionProvider") < names.index("EngineExecutionProvider")
    assert names[-1] == "CPUExecutionProvider"


def test_a_plugin_for_another_api_version_is_refused_politely(registered):
    registered(Choosy("NewExecutionProvider", [], api=((2, 0), (2, 5))))
    probe = resolve("new").probe()
    assert not probe.usable
    assert "needs provider API 2.0 to 2.5, this runtime has 1.0" in probe.reason


def opened(*names, strict=False, elsewhere=None):
    report = Report(strict)
    requests = [Request(name) for name in names]
    return Providers.open(requests, Settings(), report, elsewhere or {}), report


def test_a_name_that_is_nobodys_is_an_error(registered):
    registered(Choosy("AcmeExecutionProvider", []))
    with pytest.raises(ProviderNotFound, match="did you mean 'AcmeExecutionProvider'"):
        opened("AcmExecutionProvider")


def test_a_name_known_elsewhere_is_reported(registered):
    registered()
    known = {"FarExecutionProvider": Elsewhere("fetch it", options=frozenset({"a"}))}
    with pytest.warns(RuntimeWarning, match="Far.*fetch it"):
        _, report = opened("FarExecutionProvider", elsewhere=known)
    assert report.events[0].stage == "request"
    with pytest.raises(ProviderUnavailable, match="fetch it"):
        opened("FarExecutionProvider", strict=True, elsewhere=known)


class Misspelt:
    info = describe("MisspeltExecutionProvider")

    @hookimpl
    def compil(self, partition):
        """A hook that does not exist."""


class WrongArgument:
    info = describe("WrongExecutionProvider")

    @hookimpl
    def compile(self, partitoin):
        """An argument that does not exist."""


@pytest.mark.parametrize(
    ("provider", "match"),
    [(Misspelt(), "unknown hook 'compil'"), (WrongArgument(), "partitoin")],
)
def test_a_misspelt_hook_or_argument_fails_at_registration(provider, match, registered):
    registered(provider)
    with pytest.warns(RuntimeWarning, match=match):
        providers, _ = opened(provider.info.name, "cpu")
    assert providers.names == ["CPUExecutionProvider"]


def test_a_hook_call_reaches_one_provider_and_wrappers_see_it(registered):
    seen = []

    class Watch:
        @hookimpl(wrapper=True)
        def compile(self, partition):
            seen.append(partition)
            return (yield)

    one, two = Choosy("OneExecutionProvider", []), Choosy("TwoExecutionProvider", [])
    one.compile = hookimpl(lambda partition: "one")
    two.compile = hookimpl(lambda partition: "two")
    registered(one, two)
    providers, _ = opened("one", "two")
    providers.wrap(Watch())
    assert providers.call("compile", "TwoExecutionProvider", partition="p") == "two"
    assert seen == ["p"]


def test_copies_go_by_way_of_the_host_where_nobody_knows_a_direct_one(registered):
    from doubles import DeviceProvider

    a, b = (
        DeviceProvider("AExecutionProvider", [], "a"),
        DeviceProvider("BExecutionProvider", [], "b"),
    )
    registered(a, b)
    providers, _ = opened("a", "b")
    import numpy as np

    up = providers.transfer(HOST, Device("a"))
    across = providers.transfer(Device("a"), Device("b"))
    moved = across(up(np.arange(3)))
    assert moved.data.tolist() == [0, 1, 2]
    assert (a.downloads, b.uploads) == (1, 1)


def _listed(**environment):
    import os

    code = "import runtime; print(','.join(runtime.get_available_providers()))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def lay_out(folder, name, aliases=(), module=""):
    """Lay out a distribution as if installed, with a provider and its description."""
    module = module or f"{name}_ep"
    folder.mkdir(exist_ok=True)
    (folder / f"{module}.py").write_text(
        "from runtime.plugin import ProviderInfo\n"
        f"print('{module} loaded')\n"
        f"info = ProviderInfo('{name.title()}ExecutionProvider', aliases={aliases!r})\n"
        "provider = object()\n"
    )
    metadata = folder / f"{module}-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\n")
    entry = f"{name.title()}ExecutionProvider = {module}:"
    (metadata / "entry_points.txt").write_text(
        f"[runtime.ep]\n{entry}provider\n[runtime.ep_info]\n{entry}info\n"
    )
    return str(folder)


@pytest.mark.parametrize(
    ("listed", "names"),
    [
        ("one", "One"),
        ("OneExecutionProvider, two", "One Two"),
        ("roadrunner", "Two"),
        ("ONE,", "One"),
        ("", ""),
        ("nobody", ""),
    ],
)
def test_a_list_allows_plugins_by_name_or_alias_and_never_forbids_the_host(
    listed, names, tmp_path
):
    lay_out(tmp_path, "one")
    lay_out(tmp_path, "two", ("roadrunner",))
    told = _listed(RUNTIME_PLUGINS=listed, PYTHONPATH=str(tmp_path)).splitlines()
    wanted = [*names.split(), "CPU"]
    assert told[-1] == ",".join(f"{name}ExecutionProvider" for name in wanted)
    if listed == "one":
        assert "two_ep loaded" not in told, "what is not allowed is not imported"


def test_of_two_distributions_with_one_name_the_first_is_used_loudly(
    tmp_path, monkeypatch, caplog
):
    """The first on the path, as for modules; its description is its own."""
    from runtime.providers import _scan

    for folder in ("late", "early"):
        lay_out(tmp_path / folder, "one", (folder,), module=f"{folder}_ep")
        monkeypatch.syspath_prepend(str(tmp_path / folder))
    found, _ = _scan()
    entry = found["OneExecutionProvider"]
    assert (entry.distribution, entry.info.aliases) == ("early_ep", ("early",))
    assert "is offered by early_ep and by late_ep" in caplog.text


def test_registering_again_replaces_what_was_registered(registered):
    """As a notebook's cell does that is run once more."""
    for alias in ("first", "second"):
        registered(Choosy("AcmeExecutionProvider", [], aliases=(alias,)))
    assert resolve("first") is None
    assert resolve("second").info.aliases == ("second",)
    registry.unregister("AcmeExecutionProvider")
    assert resolve("second") is None


def test_autoload_off_leaves_the_host_alone(tmp_path):
    path = lay_out(tmp_path, "one")
    for value, names in (("1", ""), ("0", "One"), ("", "One")):
        told = _listed(RUNTIME_DISABLE_PLUGIN_AUTOLOAD=value, PYTHONPATH=path)
        assert ("OneExecutionProvider" in told) == bool(names)
        assert ("one_ep loaded" in told) == bool(names)


def test_asking_for_what_the_environment_leaves_out_says_so(tmp_path, monkeypatch):
    from runtime import providers

    lay_out(tmp_path, "one")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("RUNTIME_PLUGINS", "two")
    monkeypatch.setattr(providers, "registry", providers._Registry())
    for name in ("OneExecutionProvider", "one"):
        forget_warnings()
        with pytest.warns(RuntimeWarning, match="put one into RUNTIME_PLUGINS"):
            opened(name)
        with pytest.raises(ProviderUnavailable, match="it is installed, and RUNTIME_"):
            opened(name, strict=True)
    with pytest.raises(ProviderNotFound, match="no execution provider 'on'"):
        opened("on")


class Warming(Choosy):
    """Counts how often it is told to begin, and fails at it where it shall."""

    def __init__(self, problem=None):
        super().__init__("WarmExecutionProvider", set())
        self.problem, self.settings = problem, []

    def warm_up(self, settings):
        self.settings.append(settings)
        if self.problem is not None:
            raise self.problem


def test_a_provider_may_begin_before_the_model_is_read(registered):
    provider = Warming()
    registered(provider)
    names = ["WarmExecutionProvider", "CPUExecutionProvider"]
    with pytest.raises(Exception, match="does_not_exist"):
        ort.InferenceSession("does_not_exist.onnx", providers=names)
    assert len(provider.settings) == 1
    ort.InferenceSession(dense(), providers=names, dry_run=True)
    assert len(provider.settings) == 1


def test_a_provider_that_fails_to_begin_is_told_of_and_used(registered):
    registered(Warming(RuntimeError("too cold")))
    session = ort.InferenceSession(dense(), providers=["WarmExecutionProvider"])
    assert "too cold" in str(session.explain())
    assert session.get_providers()[0] == "WarmExecutionProvider"


def test_listing_and_probing_load_no_provider():
    code = (
        "import sys, runtime\n"
        "runtime.get_available_providers(); runtime.get_all_providers()\n"
        "assert 'runtime_ep_cpu.info' in sys.modules\n"
        "assert 'runtime_ep_cpu.provider' not in sys.modules\n"
        "assert 'runtime_ep_cpu.ops' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_installed_probe_takes_at_most_fifty_milliseconds():
    import timeit

    for entry in registry.all().values():
        took = timeit.repeat(entry.info.probe, repeat=5, number=1)
        assert min(took) < 0.05, entry.name
