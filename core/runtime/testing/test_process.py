"""What concerns the whole process: description, probe, fork, options, compile cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import runtime
from runtime.cache import CompileCache
from runtime.errors import OptionError
from runtime.plugin import API_VERSION, ProviderInfo
from runtime.providers import resolve, typed_options
from runtime.testing import child
from runtime.testing.fixtures import Claimed, kit_of
from runtime.testing.subject import Subject

PROBE_SECONDS = 0.05


def test_it_describes_itself(subject: Subject) -> None:
    """Name, API range, device kinds and options are what they should be."""
    info = subject.info
    assert isinstance(info, ProviderInfo)
    assert info.name == subject.name, f"its info is called {info.name}"
    assert info.name.endswith("ExecutionProvider"), "names end in ExecutionProvider"
    low, high = info.api
    assert low <= API_VERSION <= high
    assert info.device_kinds
    for alias in info.aliases:
        found = resolve(alias)
        assert found is not None and found.name == info.name, f"{alias} is another's"


def test_numbers_for_the_cost_rule_make_sense(subject: Subject) -> None:
    """What is declared is positive, and seconds are seconds."""
    info = subject.info
    assert info.flops >= 0 and info.bandwidth >= 0
    assert 0 <= info.overhead < 1, f"an overhead of {info.overhead} s a call?"


@pytest.fixture(scope="session")
def probed(request: pytest.FixtureRequest, subject: Subject) -> dict[str, Any]:
    """What three probes in processes of their own came to, the fastest one's."""
    limit = request.config.getoption("ep_limit")
    outcomes = [child.run("probe", kit_of(request).subject, limit) for _ in range(3)]
    for outcome in outcomes:
        assert outcome.answer.get("done"), outcome.told
    answers = [outcome.answer for outcome in outcomes]
    return min(answers, key=lambda answer: float(answer["seconds"]))


def test_the_probe_is_cheap(probed: dict[str, Any]) -> None:
    """Listing providers asks them all: at most 50 ms each, the best of three."""
    taken = probed["seconds"]
    assert taken <= PROBE_SECONDS, f"the probe took {taken * 1e3:.0f} ms"


def test_the_probe_leaves_no_thread(probed: dict[str, Any]) -> None:
    """A fork would not inherit it."""
    assert probed["threads"] <= 0, f"the probe left {probed['threads']} threads"


def test_describing_and_probing_load_no_provider(probed: dict[str, Any]) -> None:
    """The entry point of group ``runtime.ep`` is for sessions only."""
    if "module" not in probed:
        pytest.skip("it is not installed by entry point")
    assert not probed["loaded"], f"{probed['module']} was imported for a probe"


def test_it_works_in_a_forked_child(probed: dict[str, Any]) -> None:
    """Probe, then fork, then run in the child."""
    if "forked" not in probed:
        pytest.skip("this system does not fork")
    assert probed["forked"] == 0, f"the forked child ended with {probed['forked']}"


def test_defaults_of_options_are_valid(subject: Subject) -> None:
    """Each default, as itself and as text, is accepted and stays the same."""
    for name, option in subject.info.options.items():
        assert option.help.strip(), f"option {name} has no meaning"
        for given in (option.default, str(option.default)):
            typed = typed_options(subject.info, {name: given})
            assert typed[name] == option.default, f"{name}: {given!r} → {typed[name]!r}"


def test_spellings_of_options_are_valid(subject: Subject) -> None:
    """Every admitted spelling is accepted; every alias stands for one of them."""
    for name, option in subject.info.options.items():
        if isinstance(option.type, tuple):
            for word in (*option.type, *option.aliases):
                assert typed_options(subject.info, {name: word})[name] in option.type


def test_options_that_do_not_exist_are_refused(subject: Subject) -> None:
    """With the near match, at the constructor."""
    known = next(iter(subject.info.options), "no_such_option")
    with pytest.raises(OptionError, match=subject.name):
        typed_options(subject.info, {known + "x": 1})


def test_options_come_back_from_a_session(claimed: Claimed) -> None:
    """A session given every default tells every option."""
    subject = claimed.subject
    given = {name: str(o.default) for name, o in subject.info.options.items()}
    given |= dict(subject.options)
    names = subject.order
    options = [given, *({} for _ in names[1:])]
    session = runtime.InferenceSession(claimed.sample.model, None, names, options)
    told = session.get_provider_options()[subject.name]
    assert set(told) == set(subject.info.options)
    feed = claimed.sample.feed()
    claimed.check(session.run(None, feed), feed)


def test_the_compile_cache_is_sound(claimed: Claimed, tmp_path: Path) -> None:
    """What comes from the cache computes the same; what is broken in it is ignored."""
    settings = {"cache": True, "cache_directory": str(tmp_path)}
    feed = claimed.sample.feed()
    for _ in range(2):
        opened = claimed.fresh(**settings)
        claimed.check(opened(feed), feed)
        assert not opened.faults, "; ".join(opened.faults)
    entries = CompileCache(tmp_path).entries()
    if not entries:
        pytest.skip("it keeps nothing in the compile cache")
    for damage in (_flip, _cut, _empty):
        for entry in CompileCache(tmp_path).entries():
            damage(entry)
        opened = claimed.fresh(**settings)
        claimed.check(opened(feed), feed)
        assert not opened.faults, "; ".join(opened.faults)


def test_the_compile_cache_knows_models_apart(
    subject: Subject, tmp_path: Path, one: Claimed
) -> None:
    """Other models, compiled into the same cache before, change nothing."""
    from runtime.testing.fixtures import claimed_sample
    from runtime.testing.samples import samples

    settings = {"cache": True, "cache_directory": str(tmp_path)}
    for _ in range(2):
        for name in samples():
            found = claimed_sample(subject, name)
            if found is not None:
                feed = found.sample.feed()
                found.check(found.fresh(**settings)(feed), feed)


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def test_sessions_give_their_memory_back(one: Claimed) -> None:
    """Thirty sessions made, run and closed leave little behind."""
    from runtime.testing.test_executables import _resident

    feed = one.sample.feed(8)

    def grown(count: int) -> float:
        before = _resident()
        for _ in range(count):
            opened = one.fresh()
            opened(feed)
            opened.runnable.close()
        return (_resident() - before) / count

    grown(5)
    left = min(grown(10) for _ in range(3))
    assert left < 1 << 18, f"each session leaves {left / 1024:.0f} KiB behind"
