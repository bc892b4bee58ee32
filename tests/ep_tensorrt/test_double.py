"""The double offers nothing that the real bindings do not, and refuses what they refuse."""

import inspect
from enum import Enum

import numpy as np
import pytest
from surface import surface
from tensorrt_double import Double, plans
from trt_models import model
from trt_sessions import driver


def public(kind):
    """Yield the public names of a class, those of its base within the double included."""
    for name in dir(kind):
        if not name.startswith("_"):
            yield name, inspect.getattr_static(kind, name)


@pytest.mark.parametrize("major", [10, 11])
def test_its_surface_lies_within_that_of_the_real_bindings(major):
    api, module = surface(major), Double(major, lambda: None).module
    checked = 0
    for name, found in vars(module).items():
        if name.startswith("__") and name != "__version__":
            continue
        if isinstance(found, type) and issubclass(found, Enum):
            assert {m: int(v) for m, v in found.__members__.items()} == api.members(
                name
            )
        elif name == "get_plugin_registry":
            assert api.functions[name] == [[]]
        elif isinstance(found, type):
            assert name in api, name
            checked += check(name, found, api)
        elif callable(found):
            assert [*inspect.signature(found).parameters] in api.functions[name]
    assert checked > 60


def check(name, kind, api):
    """Hold each method and property of a class to the surface; return how many."""
    count = 0
    for member, found in public(kind):
        count += 1
        if isinstance(found, property):
            access = api.properties(name)[member]
            assert ("write" in access) or found.fset is None, f"{name}.{member}"
        else:
            parameters = [*inspect.signature(found).parameters][1:]
            overloads = [
                [p.partition("=")[0] for p in overload]
                for overload in api.methods(name)[member]
            ]
            assert parameters in overloads, f"{name}.{member}"
    return count


# refusals

TEXT = "(float[N,4] x) => (float[N,4] y) { a = MatMul(x, w) y = Relu(a) }"
WEIGHT = np.eye(4, dtype=np.float32) * 2


class World:
    """The double's objects, set up by hand."""

    def __init__(self, major, text=TEXT, **weights):
        self.double = Double(major, driver)
        self.trt = trt = self.double.module
        self.said = said = []

        class Log(trt.ILogger):
            def log(self, severity, msg):
                if severity.name == "ERROR":
                    said.append(msg)

        self.logger = Log()
        self.builder = trt.Builder(self.logger)
        typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        self.network = self.builder.create_network(typed)
        self.parser = trt.OnnxParser(self.network, self.logger)
        self.config = self.builder.create_builder_config()
        proto = model(text, **(weights or {"w": WEIGHT}))
        self.model = proto.SerializeToString()

    def profile(self, low=1, high=8):
        profile = self.builder.create_optimization_profile()
        profile.set_shape("x", (low, 4), (low, 4), (high, 4))
        self.config.add_optimization_profile(profile)
        return self

    def plan(self):
        assert self.parser.parse(self.model), self.told()
        made = self.builder.build_serialized_network(self.network, self.config)
        return None if made is None else bytes(made)

    def told(self):
        return [self.parser.get_error(i).desc() for i in range(self.parser.num_errors)]

    def context(self):
        runtime = self.trt.Runtime(self.logger)
        engine = runtime.deserialize_cuda_engine(self.profile().plan())
        kinds = self.trt.ExecutionContextAllocationStrategy
        return engine.create_execution_context(kinds.USER_MANAGED)


@pytest.fixture(params=[10, 11])
def world(request, card):
    return World(request.param)


def test_operators_outside_of_the_list_are_refused(card):
    world = World(11, "(float[2] x) => (float[2] y) { y = Swish(x) }", w=WEIGHT)
    assert not world.parser.parse(world.model)
    assert "No importer registered for op: Swish" in world.told()


def test_mixed_types_are_refused(card):
    text = "(float[2,2] x, float16[2,2] z) => (float[2,2] y) { y = MatMul(x, z) }"
    world = World(10, text, w=WEIGHT)
    assert not world.parser.parse(world.model)
    assert any("mixed types: MatMul" in told for told in world.told())


def test_ten_wants_to_be_told_that_a_network_is_strongly_typed(card):
    world = World(10)
    world.network = world.builder.create_network()
    world.parser = world.trt.OnnxParser(world.network, world.logger)
    assert world.profile().plan() is None
    assert world.said == ["the network is not strongly typed"]


def test_open_shapes_want_a_profile(world):
    assert world.plan() is None
    assert world.said == ["x: dynamic or shape inputs, but no profile"]


def test_a_logger_that_was_not_initialised_is_refused(world):
    class Log(world.trt.ILogger):
        def __init__(self):
            pass

    with pytest.raises(TypeError, match="__init__"):
        world.trt.Builder(Log())


def test_shapes_outside_of_the_profile_are_refused(world):
    context = world.context()
    assert context.set_input_shape("x", (8, 4))
    assert not context.set_input_shape("x", (9, 4))
    assert not context.set_input_shape("x", (8, 5))
    assert "is outside of the profile" in world.said[0]


def test_what_is_not_bound_is_refused(world):
    context, device = world.context(), driver()
    stream = device.stream()
    assert not context.execute_async_v3(stream)
    context.set_device_memory(device.allocate(4096), 4096)
    context.set_input_shape("x", (2, 4))
    context.set_tensor_address("x", device.allocate(32))
    assert not context.execute_async_v3(stream)
    assert world.said == [
        "the context has no memory to work in",
        "y is bound to no address",
    ]


def test_two_runs_at_once_in_one_context_are_refused(world):
    context = world.context()
    context._busy.acquire()
    assert not context.execute_async_v3(1)
    assert not context.set_tensor_address("x", 256)
    assert not context.set_input_shape("x", (2, 4))
    assert world.said[0] == "two runs at once in one context"


def test_a_shape_is_captured_only_after_it_has_run(world):
    context, device = world.context(), driver()
    stream = device.stream()
    context.set_device_memory(device.allocate(4096), 4096)
    context.set_input_shape("x", (2, 4))
    x, y = device.allocate(32), device.allocate(32)
    device.upload(x, np.ones((2, 4), np.float32), stream)
    context.set_tensor_address("x", x)
    context.set_tensor_address("y", y)
    with device.recording(stream):
        assert not context.execute_async_v3(stream)
    assert world.said == ["a shape is captured that was not run before"]
    assert context.execute_async_v3(stream)
    got = np.empty((2, 4), np.float32)
    device.download(got, y, stream)
    np.testing.assert_array_equal(got, np.full((2, 4), 2, np.float32))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"version": "10.3.0"}, "the plan is of version 10.3.0"),
        ({"sm": 80}, "the plan is for compute capability 80"),
    ],
)
def test_plans_of_others_are_refused(world, change, told):
    head, inner = plans.read(world.profile().plan())
    runtime = world.trt.Runtime(world.logger)
    data = plans.written({**head, **change}, inner)
    assert runtime.deserialize_cuda_engine(data) is None
    assert told in world.said[-1]
    assert runtime.deserialize_cuda_engine(data[:-1]) is None
    assert world.said[-1] == "the plan is damaged"
    assert runtime.deserialize_cuda_engine(b"junk") is None
