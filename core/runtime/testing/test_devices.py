"""What `data_transfer` promises, for each device of the provider that is not the host."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import runtime
from runtime.abilities import Transfer
from runtime.api.values import OrtValue, pointer
from runtime.plugin import HOST, Device
from runtime.testing.fixtures import Claimed, close
from runtime.testing.samples import samples
from runtime.testing.subject import Opened, Subject
from runtime.valuetypes import ELEMENT_TYPES, numpy_dtype

SHAPES = [(), (1,), (0,), (2, 0, 3), (2, 3), (3, 4, 5)]
CODES = [code for code, entry in ELEMENT_TYPES.items() if entry.name != "string"]


@pytest.fixture(scope="session")
def opened(subject: Subject) -> Opened:
    """A session with the provider, whatever it runs."""
    if not subject.devices:
        pytest.skip("its values live on the host")
    return subject.open(samples()["relu"].model)


def values(code: int, shape: tuple[int, ...]) -> Any:
    """Return an array of an element type, every bit pattern it can hold being fair."""
    dtype = numpy_dtype(code)
    rng = np.random.default_rng(code)
    if dtype.kind in "fc" and dtype.itemsize > 1:
        return np.asarray(rng.uniform(-9, 9, shape)).astype(dtype)
    return np.asarray(rng.integers(0, 2, shape)).astype(dtype)


def test_its_devices_are_declared(subject: Subject) -> None:
    """What the probe finds is what `device_kinds` says, so that values can be bound."""
    undeclared = {d.kind for d in subject.devices} - {*subject.info.device_kinds}
    assert not undeclared, f"device_kinds lacks {', '.join(sorted(undeclared))}"


@pytest.mark.parametrize("code", CODES, ids=lambda code: ELEMENT_TYPES[code].name)
def test_every_element_type_survives(
    opened: Opened, subject: Subject, code: int
) -> None:
    """Up and down again is the same value, of whatever shape; the source is untouched."""
    for device in subject.devices:
        for shape in SHAPES:
            value = values(code, shape)
            before = value.copy()
            moved = opened.up(value, device)
            assert tuple(moved.shape) == shape, f"{shape} became {moved.shape}"
            assert moved.dtype == value.dtype, f"{value.dtype} became {moved.dtype}"
            back = opened.down(moved, device)
            assert isinstance(back, np.ndarray), f"it returned {type(back).__name__}"
            assert back.dtype == value.dtype, f"{value.dtype} came back as {back.dtype}"
            assert back.shape == shape, f"{shape} came back as {back.shape}"
            assert back.tobytes() == before.tobytes() == value.tobytes()


@pytest.mark.parametrize("layout", ["transposed", "strided", "reversed", "read only"])
def test_any_layout_survives(opened: Opened, subject: Subject, layout: str) -> None:
    """What is copied need not be contiguous, nor writable."""
    value = values(1, (4, 6))
    laid = {
        "transposed": value.T,
        "strided": value[::2, 1::2],
        "reversed": value[::-1],
        "read only": np.broadcast_to(value[0], (3, 6)),
    }[layout]
    for device in subject.devices:
        back = opened.down(opened.up(laid, device), device)
        np.testing.assert_array_equal(back, laid)


def test_copies_are_copies(opened: Opened, subject: Subject) -> None:
    """Writing the source afterwards changes neither the copy nor what comes back."""
    for device in subject.devices:
        value = values(1, (8, 8))
        want = value.copy()
        moved = opened.up(value, device)
        value[...] = 0
        first = opened.down(moved, device)
        np.testing.assert_array_equal(first, want)
        first[...] = 1
        np.testing.assert_array_equal(opened.down(moved, device), want)


def test_the_full_form_of_a_transfer(opened: Opened, subject: Subject) -> None:
    """`copy`, `empty`, `wrap` and `synchronize` do what they say, where they are there."""
    device = subject.devices[0]
    transfer: Any = opened.runnable.providers.transfer(HOST, device)
    if not isinstance(transfer, Transfer):
        pytest.skip("its transfer is a plain function")
    value = values(1, (3, 5))
    empty = transfer.empty((3, 5), np.dtype(np.float32))
    assert tuple(empty.shape) == (3, 5)
    assert empty.dtype == np.float32
    assert transfer.copy(value, empty) is empty
    transfer.synchronize()
    np.testing.assert_array_equal(opened.down(empty, device), value)
    made = transfer.copy(value)
    transfer.synchronize()
    np.testing.assert_array_equal(opened.down(made, device), value)
    view = transfer.wrap(pointer(made), (5, 3), np.dtype(np.float32))
    again = opened.down(view, device)
    np.testing.assert_array_equal(again, value.reshape(5, 3))


def test_values_can_be_bound_on_its_device(claimed: Claimed) -> None:
    """A session takes inputs from the provider's memory and leaves outputs there."""
    subject, sample = claimed.subject, claimed.sample
    if not subject.devices:
        pytest.skip("its values live on the host")
    device = subject.devices[0]
    feed = sample.feed()
    if any(value.dtype == object for value in feed.values()):
        pytest.skip("strings stay on the host")
    options = [dict(subject.options), *({} for _ in subject.order[1:])]
    session = runtime.InferenceSession(
        sample.model, None, subject.order, options, strict=False
    )
    binding = session.io_binding()
    for name, value in feed.items():
        moved = OrtValue(claimed.opened.up(value, device), device)
        binding.bind_ortvalue_input(name, moved)
    for info in session.get_outputs():
        binding.bind_output(info.name, device.kind, device.index)
    for _ in range(2):
        session.run_with_iobinding(binding)
        claimed.check(binding.copy_outputs_to_cpu(), feed)
    kinds = {value.device_name() for value in binding.get_outputs()}
    assert kinds == {device.kind}, f"outputs wanted on {device.kind} are on {kinds}"


def test_two_sessions_share_a_device(claimed: Claimed) -> None:
    """What one session left on the device is the next one's input."""
    subject, opened = claimed.subject, claimed.opened
    if not subject.devices:
        pytest.skip("its values live on the host")
    feed, device = claimed.sample.feed(), subject.devices[0]
    other = claimed.fresh()
    moved = {
        name: opened.up(value, device)
        for name, value in feed.items()
        if value.dtype != object
    }
    back = {name: other.down(value, device) for name, value in moved.items()}
    close(list(back.values()), [feed[name] for name in back])


def test_unknown_devices_are_not_its_affair(opened: Opened, subject: Subject) -> None:
    """Asked for a copy between devices that it does not own, it has none."""
    strange = Device("no-such-device")
    providers = opened.runnable.providers
    for pair in ((strange, HOST), (HOST, strange)):
        found = providers.call(
            "data_transfer", subject.name, source=pair[0], target=pair[1]
        )
        assert found is None, f"it claims to copy from {pair[0]} to {pair[1]}"
