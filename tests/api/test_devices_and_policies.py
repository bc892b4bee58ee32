"""Sessions by device, by preference and by delegate; what hardware tells of itself."""

import numpy as np
import pytest
import runtime as ort
from doubles import Choosy, DeviceProvider, Failing
from models import dense, dense_reference
from runtime.capi import onnxruntime_pybind11_state as state
from runtime.capi.onnxruntime_pybind11_state import InvalidArgument
from runtime.plugin import Device, Probe
from runtime.providers import registry

X = np.random.default_rng(1).standard_normal((5, 4)).astype(np.float32)
Kind = ort.OrtHardwareDeviceType
Policy = ort.OrtExecutionProviderDevicePolicy


@pytest.fixture
def gpu(registered):
    """Register a provider with two GPUs of their own memory."""
    devices = tuple(Device("simgpu", index) for index in range(2))
    provider = DeviceProvider("SimExecutionProvider", ["MatMul", "Relu"], "simgpu")
    registered(provider)
    registry.all()["SimExecutionProvider"]._probe = Probe(devices)
    return provider


def of(name):
    return [device for device in ort.get_ep_devices() if device.ep_name == name]


def test_every_usable_provider_is_told_with_its_devices_the_hosts_last(gpu):
    assert ort.get_ep_devices()[-1].ep_name == "CPUExecutionProvider"
    found = of("SimExecutionProvider")
    assert [device.device.device_id for device in found] == [0, 1]
    assert {device.device.type for device in found} == {Kind.GPU}
    memory = found[1].memory_info(ort.OrtDeviceMemoryType.DEFAULT)
    assert (memory.name, memory.device_id) == ("simgpu", 1)
    assert found[1].create_sync_stream().get_handle() == 0


def test_a_provider_that_cannot_run_has_no_device_and_says_why(registered):
    registered(Failing("BurningExecutionProvider", "probe", ["Add"]))
    assert not of("BurningExecutionProvider")
    told = state.get_hardware_device_ep_incompatibility_details(
        "BurningExecutionProvider", state.get_hardware_devices()[0]
    )
    assert told["reasons_bitmask"] != 0
    assert "on fire" in told["notes"]


def test_a_session_takes_the_provider_of_the_devices_given(gpu):
    options = ort.SessionOptions()
    options.add_provider_for_devices(of("SimExecutionProvider")[:1], {})
    assert options.has_providers()
    session = ort.InferenceSession(dense(), options)
    assert session.get_providers()[0] == "SimExecutionProvider"
    np.testing.assert_allclose(
        session.run(None, {"x": X})[0], dense_reference(X), rtol=1e-5
    )


def test_devices_are_of_one_provider():
    devices = [*of("CPUExecutionProvider")]
    with pytest.raises(InvalidArgument, match="one or more"):
        ort.SessionOptions().add_provider_for_devices([], {})
    other = ort.OrtEpDevice("OtherExecutionProvider", "", {}, {}, devices[0].device)
    with pytest.raises(InvalidArgument, match="of one provider"):
        ort.SessionOptions().add_provider_for_devices([*devices, other], {})


@pytest.mark.parametrize(
    ("policy", "first"),
    [
        (Policy.PREFER_GPU, "SimExecutionProvider"),
        (Policy.MAX_PERFORMANCE, "SimExecutionProvider"),
        (Policy.PREFER_CPU, "CPUExecutionProvider"),
        (Policy.DEFAULT, "CPUExecutionProvider"),
        (Policy.PREFER_NPU, "CPUExecutionProvider"),
    ],
)
def test_a_policy_prefers_a_kind_of_device(gpu, policy, first):
    options = ort.SessionOptions()
    options.set_provider_selection_policy(policy)
    names = ort.InferenceSession(dense(), options).get_providers()
    assert (names[0], names[-1]) == (first, "CPUExecutionProvider")


def test_a_named_provider_stands_above_a_policy(gpu):
    options = ort.SessionOptions()
    options.set_provider_selection_policy(Policy.PREFER_GPU)
    session = ort.InferenceSession(dense(), options, ["CPUExecutionProvider"])
    assert session.get_providers() == ["CPUExecutionProvider"]


def test_a_delegate_chooses_by_the_models_metadata(gpu):
    seen = {}

    def choose(devices, model, system, most):
        seen.update(model=model, most=most)
        return [d for d in devices if d.device.type == Kind.GPU][:1]

    options = ort.SessionOptions()
    options.set_provider_selection_policy_delegate(choose)
    session = ort.InferenceSession(dense(), options)
    assert session.get_providers() == ["SimExecutionProvider", "CPUExecutionProvider"]
    assert seen["model"]["graph_name"] == "test"
    assert seen["most"] == 8


def test_a_delegate_that_chooses_nothing_is_an_error():
    options = ort.SessionOptions()
    options.set_provider_selection_policy_delegate(lambda *_: [])
    with pytest.raises(InvalidArgument, match="one or more"):
        ort.InferenceSession(dense(), options)


def test_inputs_and_outputs_are_told_to_be_on_the_host():
    session = ort.InferenceSession(dense())
    assert [info.name for info in session.get_input_memory_infos()] == ["Cpu"]
    assert [info.name for info in session.get_output_memory_infos()] == ["Cpu"]
    (device,) = session.get_input_epdevices()
    assert device.ep_name == "CPUExecutionProvider"


def test_the_assignment_tells_every_partition(registered):
    registered(Choosy("AnyExecutionProvider", ["MatMul"]))
    session = ort.InferenceSession(dense(), providers=["AnyExecutionProvider"])
    parts = session.get_provider_graph_assignment_info()
    told = {part.ep_name: [n.op_type for n in part.get_nodes()] for part in parts}
    assert told["AnyExecutionProvider"] == ["MatMul"]
    assert sum(map(len, told.values())) == len(session.graph)


def test_threads_of_the_process_are_for_sessions_without_their_own():
    ort.set_global_thread_pool_sizes(1, 1)
    try:
        options = ort.SessionOptions()
        options.use_per_session_threads = False
        shared = ort.InferenceSession(dense(), options)
        assert shared._runnable.settings.intra_op_threads == 1
        assert shared._runnable.settings.shared_threads
        assert ort.InferenceSession(dense())._runnable.settings.intra_op_threads == 0
    finally:
        ort.set_global_thread_pool_sizes(0, 0)
    with pytest.raises(RuntimeError, match="0 .automatic. or more"):
        ort.set_global_thread_pool_sizes(-1, 0)
