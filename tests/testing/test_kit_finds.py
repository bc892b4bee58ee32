"""The kit fails for each planted defect, by the test that is there for it."""

import importlib
import inspect
import tempfile
from itertools import product
from pathlib import Path

import pytest
from kit import HOSTILE, PROVIDERS, run_kit
from runtime.providers import registry
from runtime.testing import child
from runtime.testing.fixtures import any_claimed, claimed_sample
from runtime.testing.hostile import ABILITIES, DEFECTS, STAGES
from runtime.testing.samples import samples
from runtime.testing.subject import Subject

CONTRACT, EXECUTABLES = "test_contract", "test_executables"
DEVICES, ABLE, PROCESS = "test_devices", "test_abilities", "test_process"

# defect → the module and the test that must fail
FINDS = {
    "wrong_dtype": (EXECUTABLES, "test_results_are_as_declared"),
    "wrong_shape": (EXECUTABLES, "test_results_are_as_declared"),
    "wrong_value": (EXECUTABLES, "test_results_are_right"),
    "scalars": (EXECUTABLES, "test_results_are_as_declared"),
    "bare": (EXECUTABLES, "test_results_are_as_declared"),
    "too_many": (EXECUTABLES, "test_results_are_as_declared"),
    "nothing": (EXECUTABLES, "test_results_are_as_declared"),
    "keeps_buffers": (EXECUTABLES, "test_results_are_given_away"),
    "keeps_arena": (EXECUTABLES, "test_results_are_given_away"),
    "writes_inputs": (EXECUTABLES, "test_inputs_are_never_written"),
    "writes_in_place": (EXECUTABLES, "test_results_are_right"),
    "leaks": (EXECUTABLES, "test_memory_does_not_grow"),
    "unsafe": (EXECUTABLES, "test_sixteen_threads_may_call_at_once"),
    "fragile": (EXECUTABLES, "test_a_run_after_an_error_works"),
    "frozen": (EXECUTABLES, "test_any_size_will_do"),
    "fears_nothing": (EXECUTABLES, "test_a_first_run_on_nothing_will_do"),
    "linear": (EXECUTABLES, "test_memory_may_have_any_layout"),
    "deaf": (EXECUTABLES, "test_buffers_are_filled"),
    "raises_in_get_capability": (CONTRACT, "test_it_claims_something"),
    "raises_in_compile": (CONTRACT, "test_it_claims_something"),
    "raises_in_data_transfer": (CONTRACT, "test_it_claims_something"),
    "raises_in_run": (EXECUTABLES, "test_results_are_right"),
    "claims_too_much": (CONTRACT, "test_it_claims_something"),
    "foreign": (CONTRACT, "test_it_claims_something"),
    "malformed": (CONTRACT, "test_it_claims_something"),
    "not_convex": (CONTRACT, "test_fused_claims_of_random_graphs_are_convex"),
    "twice": (CONTRACT, "test_answers_are_sound"),
    "silent": (CONTRACT, "test_answers_are_sound"),
    "fickle": (CONTRACT, "test_capability_is_pure_and_deterministic"),
    "edits_when_asked": (CONTRACT, "test_capability_is_pure_and_deterministic"),
    "edits_when_compiling": (CONTRACT, "test_compile_leaves_the_graph_as_it_was"),
    "nowhere": (CONTRACT, "test_it_claims_something"),
    "not_callable": (CONTRACT, "test_it_claims_something"),
    "compiles_nothing": (CONTRACT, "test_it_claims_something"),
    "loses_dtype": (DEVICES, "test_every_element_type_survives"),
    "loses_scalars": (DEVICES, "test_every_element_type_survives"),
    "copies_nothing": (DEVICES, "test_every_element_type_survives"),
    "unreadable": (ABLE, "test_facts_are_text"),
    "prepares_once": (ABLE, "test_a_prepared_run_is_like_any_other"),
    "vouches_wrongly": (ABLE, "test_a_prepared_run_is_like_any_other"),
    "raises_in_prepared": (ABLE, "test_a_prepared_run_is_like_any_other"),
    "trims_too_much": (ABLE, "test_trimming_changes_no_result"),
    "counts_badly": (ABLE, "test_memory_is_bytes_by_purpose"),
    "raises_in_close": (ABLE, "test_closing_ends_in_peace"),
    "raises_in_trim": (ABLE, "test_trimming_changes_no_result"),
    "raises_in_memory": (ABLE, "test_memory_is_bytes_by_purpose"),
    "raises_in_export": (ABLE, "test_exports_are_bytes"),
    "raises_in_cancel": (ABLE, "test_cancelling_nothing_does_nothing"),
    "stale_cache": (PROCESS, "test_the_compile_cache_is_sound"),
    "slow_probe": (PROCESS, "test_the_probe_is_cheap"),
    "probe_starts_thread": (PROCESS, "test_the_probe_leaves_no_thread"),
    "bad_default": (PROCESS, "test_defaults_of_options_are_valid"),
    "bad_spelling": (PROCESS, "test_defaults_of_options_are_valid"),
}
HANGS = [f"hangs_in_{stage}" for stage in STAGES]
UNUSABLE = ["raises_in_probe", "probe_answers_nothing"]
ALLOWED = ["returns_inputs"]


def test_every_defect_is_looked_for():
    known = {*FINDS, *HANGS, *UNUSABLE, *ALLOWED}
    assert known == set(DEFECTS)
    assert {f"raises_in_{name}" for name in ABILITIES} <= known


def failures(module, test, spec, tmp_path):
    """Call one of the kit's tests, every case of it, as pytest would; say what failed."""
    function = getattr(importlib.import_module(f"runtime.testing.{module}"), test)
    subject, failed = Subject((spec,)), []
    for name in [*samples(), None] if "claimed" in given(function) else [None]:
        for case in parametrized(function):
            try:
                values = {**case, **fixtures(function, subject, name, tmp_path)}
                function(**values)
            except pytest.skip.Exception:
                continue
            except (AssertionError, pytest.fail.Exception, Exception) as error:
                failed.append(f"{name} {case}: {error}")
    registry.unregister(subject.name)
    return failed


def given(function):
    return inspect.signature(function).parameters


def parametrized(function):
    """Return the cases of a test's parametrize marks."""
    axes = [
        [{mark.args[0]: value} for value in mark.args[1]]
        for mark in getattr(function, "pytestmark", ())
        if mark.name == "parametrize"
    ]
    return [
        {k: v for one in chosen for k, v in one.items()} for chosen in product(*axes)
    ]


def fixtures(function, subject, name, tmp_path):
    """Return what a test asks for."""
    make = {
        "subject": lambda: subject,
        "claimed": lambda: claimed_sample(subject, name) if name else pytest.skip(),
        "one": lambda: any_claimed(subject),
        "opened": lambda: subject.open(samples()["relu"].model),
        "probed": lambda: child.run("probe", subject, 60).answer,
        "tmp_path": lambda: Path(tempfile.mkdtemp(dir=tmp_path)),
    }
    made = {key: make[key]() for key in given(function) if key in make}
    return (
        made if made.get("claimed", True) else pytest.skip("nothing of it is claimed")
    )


@pytest.mark.parametrize("defect", FINDS)
def test_the_kit_fails_for(defect, tmp_path):
    assert failures(*FINDS[defect], f"{HOSTILE}:{defect}", tmp_path)


@pytest.mark.parametrize("name", ["loopback", "loopback_device"])
@pytest.mark.parametrize(("module", "test"), sorted({*FINDS.values()}))
def test_the_kit_passes_for_the_honest(module, test, name, tmp_path):
    assert not failures(module, test, f"{PROVIDERS}:{name}", tmp_path)


END_TO_END = ["wrong_value", "keeps_buffers", "silent"]


@pytest.mark.parametrize(
    "defect",
    [
        pytest.param(name, marks=[] if name in END_TO_END else pytest.mark.slow)
        for name in FINDS
    ],
)
def test_a_run_of_the_kit_fails_for(defect, tmp_path):
    module, test = FINDS[defect]
    arguments = ["--ep", f"{HOSTILE}:{defect}", "-k", test]
    done = run_kit(tmp_path, *arguments, modules=[module], limit=120)
    assert done.code == 1, done.text[-3000:]
    assert test in done.broken, done.text[-3000:]


@pytest.mark.parametrize(
    "defect",
    [
        pytest.param(name, marks=[] if name == "hangs_in_run" else pytest.mark.slow)
        for name in HANGS
    ],
)
def test_the_kit_ends_a_provider_that(defect, tmp_path):
    arguments = ["--ep", f"{HOSTILE}:{defect}", "-k", "answers or convex"]
    done = run_kit(tmp_path, *arguments, modules=[CONTRACT], limit=8)
    assert done.code == 1, done.text[-3000:]
    assert done.broken == {"test_it_answers"}
    title = defect.title().replace("_", "")
    assert f"{title}ExecutionProvider: it hangs while" in done.text
    assert "in hang" in done.text, "the stack is missing"


@pytest.mark.parametrize("defect", UNUSABLE)
def test_the_kit_says_why_a_provider_cannot_be_used(defect, tmp_path):
    arguments = ["--ep", f"{HOSTILE}:{defect}", "-k", "convex"]
    done = run_kit(tmp_path, *arguments, modules=[CONTRACT])
    assert done.code == 4, done.text[-3000:]
    assert "is not usable here: its probe raised" in done.text


MODULES = (CONTRACT, EXECUTABLES, DEVICES, ABLE, PROCESS)


@pytest.mark.slow
@pytest.mark.parametrize(
    "provider",
    [
        f"{PROVIDERS}:loopback",
        f"{PROVIDERS}:loopback_device",
        f"{PROVIDERS}:table",
        *(f"{HOSTILE}:{name}" for name in ALLOWED),
    ],
)
def test_the_kit_passes_for(provider, tmp_path):
    done = run_kit(tmp_path, "--ep", provider, modules=MODULES)
    assert done.code == 0, done.text[-3000:]
    assert len(done.passed) > 50


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["loopback", "loopback_device", "table"])
def test_the_whole_kit_passes_for(name, tmp_path):
    lines = tmp_path / "xfails.txt"
    if name == "table":
        lines.write_text("# nothing\n")
    else:
        reason = "expected values are one draw of NumPy's generator"
        lines.write_text(f"test_bernoulli*  # {reason}\n")
    arguments = ["--ep", f"{PROVIDERS}:{name}", "--xfails", str(lines)]
    done = run_kit(tmp_path, *arguments)
    assert done.code == 0, done.text[-3000:]
