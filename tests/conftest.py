"""Hypothesis profiles (few examples by default, many at night) and shared fixtures."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from runtime.explain import forget_warnings
from runtime.providers import registry

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

settings.register_profile(
    "default",
    max_examples=10,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "nightly",
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_configure():
    """Let ``RUNTIME_TEST_CPU="native=required,target=avx2"`` set the provider's defaults.

    Whatever opens a session then runs native code of that target, or fails.
    """
    from runtime_ep_cpu.info import OPTIONS

    for pair in filter(None, os.environ.get("RUNTIME_TEST_CPU", "").split(",")):
        name, _, value = pair.partition("=")
        OPTIONS[name] = replace(OPTIONS[name], default=value)


@pytest.fixture
def registered():
    """Return a function that registers providers for one test."""
    added = []

    def register(*providers):
        for provider in providers:
            registry.register(provider, provider.info, provider.info.name)
            added.append(provider.info.name)

    forget_warnings()
    yield register
    for name in added:
        registry.unregister(name)


@pytest.fixture(scope="session")
def node_cases():
    """Return ONNX's own node cases, generated once."""
    import warnings

    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return collect_testcases(None)
