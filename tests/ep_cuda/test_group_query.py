"""GroupQueryAttention on the double equals the CPU provider's, where rows are no padding."""

import numpy as np
import pytest
import runtime as ort
from models import FLOAT, model, node
from on_the_double import alone, error, opened, programs, share
from onnx import TensorProto
from single import Single, floats

HEADS, GROUPS, SIZE = 4, 2, 8
TYPES = {np.float32: 2e-6, np.float16: 4e-3}


class Case:
    """Random inputs: a first prompt of four rows, or some rows after others."""

    def __init__(
        self, *, rows=1, past=(5, 3), room=6, packed=False, rotary=True,
        dtype=np.float32, padding=0, total=None,
    ):  # fmt: skip
        random = self.random = np.random.default_rng(rows)
        self.rows, self.counts = rows, np.array(past) + rows
        total = int(self.counts.max()) if total is None else total
        self.counts[-1] -= padding
        batch = len(past)
        if packed:
            width = (HEADS + 2 * GROUPS) * SIZE
            parts = [floats(random, batch, rows, width, dtype=dtype), None, None]
        else:
            parts = [
                floats(random, batch, rows, count * SIZE, dtype=dtype)
                for count in (HEADS, GROUPS, GROUPS)
            ]
        cache = (batch, GROUPS, room, SIZE)
        caches = [floats(random, *cache, dtype=dtype) for _ in range(2)]
        angles = [floats(random, 20, SIZE // 2, dtype=dtype) for _ in range(2)]
        self.inputs = [
            *parts,
            *(caches if room else (None, None)),
            (self.counts - 1).astype(np.int32),
            np.array(total, np.int32),
            *(angles if rotary else (None, None)),
            None,
            None,
        ]
        self.attributes = {"num_heads": HEADS, "kv_num_heads": GROUPS}
        self.attributes |= {"do_rotary": 1} if rotary else {}
        self.most = TYPES[dtype]

    def check(self, **attributes):
        single = Single(
            "GroupQueryAttention", self.inputs, 3, **self.attributes | attributes
        )
        session = opened(single.model)
        assert share(session) == 1.0
        self.compare(session.run(None, single.feed), single.want)

    def compare(self, got, want):
        for ours, theirs in zip(got[1:], want[1:], strict=True):
            assert error(ours, theirs) <= self.most
        prompt = self.rows == self.inputs[6]
        for image, count in enumerate(self.counts.tolist()):
            rows = slice(0, count if prompt else self.rows)
            assert error(got[0][image, rows], want[0][image, rows]) <= self.most


PROMPT = {"rows": 4, "past": (0, 0)}


@pytest.mark.parametrize(
    ("dtype", "packed", "rotary", "rows"),
    [
        (np.float32, False, True, 1),
        (np.float32, True, False, 3),
        (np.float16, True, True, 1),
        (np.float16, False, True, 3),
    ],
)
def test_new_rows_go_behind_each_image_s_own_past(cuda, dtype, packed, rotary, rows):
    Case(rows=rows, packed=packed, rotary=rotary, dtype=dtype).check()


@pytest.mark.parametrize(
    ("room", "padding", "dtype"),
    [(0, 0, np.float16), (0, 2, np.float32), (9, 2, np.float16)],
)
def test_a_first_prompt_begins_at_key_zero(cuda, room, padding, dtype):
    Case(**PROMPT, room=room, padding=padding, dtype=dtype).check()


@pytest.mark.parametrize(
    "attributes",
    [{"softcap": 2.0, "scale": 0.1}, {"rotary_interleaved": 1, "causal": 0}],
)
@pytest.mark.parametrize("prompt", [False, True])
def test_attributes_say_how_scores_are_made(cuda, attributes, prompt):
    case = Case(**PROMPT, room=0, padding=1) if prompt else Case(rows=2)
    case.check(**attributes)


@pytest.mark.parametrize(
    ("size", "prompt"), [(1, False), (3, False), (3, True), (50, True)]
)
def test_a_window_limits_how_far_back_a_query_sees(cuda, size, prompt):
    case = Case(**PROMPT, room=0) if prompt else Case(rows=2)
    case.check(local_window_size=size)


@pytest.mark.parametrize("prompt", [False, True])
def test_a_bias_is_added_and_positions_may_be_given(cuda, prompt):
    case = Case(**PROMPT, room=0, packed=True) if prompt else Case(rows=2, room=9)
    total = int(case.inputs[6])
    case.inputs[9] = case.random.integers(0, 20, (2, case.rows))
    case.inputs[10] = floats(case.random, 1, HEADS, case.rows, total)
    case.check()


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("prompt", [False, True])
@pytest.mark.parametrize("smooth", [False, True])
def test_heads_may_have_a_sink_beside_their_scores(cuda, dtype, prompt, smooth):
    way = PROMPT | {"room": 0} if prompt else {"rows": 2}
    case = Case(**way, dtype=dtype)
    if not smooth:
        case.inputs += [floats(case.random, HEADS, dtype=dtype)]
    case.check(**{"smooth_softmax": 1} if smooth else {}, local_window_size=4)


def test_what_is_not_supported_is_refused_with_a_reason(cuda):
    case = Case()
    norms = [None, None, None, *[floats(case.random, SIZE) for _ in range(2)]]
    single = Single("GroupQueryAttention", case.inputs + norms, 3, **case.attributes)
    assert "norms of queries and keys" in single.refusal()


def decoder(room):
    """Return a model whose total is the length of a mask, as decoders are exported."""
    nodes = [
        node("ReduceSum", ["mask", "one"], ["sums"], keepdims=0),
        node("Sub", ["sums", "one"], ["less"]),
        node("Cast", ["less"], ["seqlens"], to=TensorProto.INT32),
        node("Shape", ["mask"], ["shape"]),
        node("Gather", ["shape", "place"], ["length"], axis=0),
        node("Cast", ["length"], ["total"], to=TensorProto.INT32),
    ]
    wide = (HEADS + 2 * GROUPS) * SIZE
    for layer in range(2):
        nodes.append(
            node(
                "GroupQueryAttention",
                [
                    f"q{layer}",
                    "",
                    "",
                    f"k{layer}",
                    f"v{layer}",
                    "seqlens",
                    "total",
                    "c",
                    "s",
                ],
                [f"y{layer}", f"pk{layer}", f"pv{layer}"],
                domain="com.microsoft",
                num_heads=HEADS,
                kv_num_heads=GROUPS,
                do_rotary=1,
            )
        )
    cache = ["b", GROUPS, room, SIZE]
    inputs = {"mask": (TensorProto.INT64, ["b", "t"])}
    outputs = {}
    for layer in range(2):
        inputs[f"q{layer}"] = (FLOAT, ["b", "n", wide])
        outputs[f"y{layer}"] = (FLOAT, ["b", "n", HEADS * SIZE])
        for kind in "kv":
            inputs[f"{kind}{layer}"] = (FLOAT, cache)
            outputs[f"p{kind}{layer}"] = (FLOAT, ["b", GROUPS, None, SIZE])
    random = np.random.default_rng(0)
    constants = {
        "one": np.array([1]),
        "place": np.array(1),
        "c": floats(random, 20, SIZE // 2),
        "s": floats(random, 20, SIZE // 2),
    }
    return model(
        nodes, inputs, outputs, constants, opset=21, domains={"com.microsoft": 1}
    )


def fed(random, caches, mask, rows=1):
    feed = {"mask": mask}
    wide = (HEADS + 2 * GROUPS) * SIZE
    for layer in range(2):
        feed[f"q{layer}"] = floats(random, mask.shape[0], rows, wide)
        for place, kind in enumerate("kv"):
            feed[f"{kind}{layer}"] = caches[2 * layer + place]
    return feed


def test_a_decode_step_of_a_static_buffer_is_one_plan_whatever_the_mask_holds(cuda):
    made, random = decoder(12), np.random.default_rng(1)
    session, cpu = opened(made), alone(made)
    caches = [floats(random, 2, GROUPS, 12, SIZE) for _ in range(4)]
    (program,) = programs(session)
    for past in ([3, 5], [4, 6], [8, 2]):
        mask = (np.arange(12) < np.array(past)[:, None] + 1).astype(np.int64)
        feed = fed(random, caches, mask)
        got, want = session.run(None, feed), cpu.run(None, feed)
        for ours, theirs in zip(got, want, strict=True):
            assert error(ours, theirs) < 2e-6
        caches = [want[i] for i in (1, 2, 4, 5)]
    assert len(program._plans) == 1


def test_with_a_growing_mask_attention_in_a_static_buffer_is_not_planned_anew(cuda):
    made, random = decoder(12), np.random.default_rng(1)
    session, cpu = opened(made), alone(made)
    caches = [floats(random, 1, GROUPS, 12, SIZE) for _ in range(4)]
    (program,) = programs(session)
    kinds = {group: group.label for group, _ in program._walk}
    for past in range(4, 8):
        feed = fed(random, caches, np.ones((1, past + 1), np.int64))
        got, want = session.run(None, feed), cpu.run(None, feed)
        for ours, theirs in zip(got, want, strict=True):
            assert error(ours, theirs) < 2e-6
        caches = [want[i] for i in (1, 2, 4, 5)]
    seen = {
        kinds[group]: len(records)
        for group, records in program._recall._records.items()
    }
    assert seen["GroupQueryAttention"] == 1


def test_what_layers_share_is_computed_once(cuda):
    made, random = decoder(12), np.random.default_rng(1)
    session = opened(made)
    caches = [floats(random, 1, GROUPS, 12, SIZE) for _ in range(4)]
    session.run(None, fed(random, caches, np.ones((1, 5), np.int64)))
    (program,) = programs(session)
    (plan,) = program._plans.values()
    counts = {}
    for action in plan.actions:
        if action.group is not None and action.group.label == "GroupQueryAttention":
            counts[action.group] = counts.get(action.group, 0) + 1
    first, second = counts.values()
    assert second == first - 1


def test_caches_that_are_bound_as_input_and_output_are_written_in_place(cuda):
    made, random = decoder(12), np.random.default_rng(1)
    session, cpu = opened(made), alone(made)
    kept = [floats(random, 1, GROUPS, 12, SIZE) for _ in range(4)]
    values = [ort.OrtValue.ortvalue_from_numpy(cache, "cuda", 0) for cache in kept]
    for past in range(4, 9):
        mask = (np.arange(12) < past + 1).astype(np.int64)[None]
        feed = fed(random, kept, mask)
        want = cpu.run(None, feed)
        binding = session.io_binding()
        for name in ("mask", "q0", "q1"):
            binding.bind_cpu_input(name, feed[name])
        for value, name in zip(values, ("k0", "v0", "k1", "v1"), strict=True):
            binding.bind_ortvalue_input(name, value)
            binding.bind_ortvalue_output(f"p{name}", value)
        for name in ("y0", "y1"):
            binding.bind_output(name)
        session.run_with_iobinding(binding)
        names = [output.name for output in session.get_outputs()]
        wanted = dict(zip(names, want, strict=True))
        for value, name in zip(values, ("pk0", "pv0", "pk1", "pv1"), strict=True):
            got = value.numpy()[:, :, : past + 1]
            assert error(got, wanted[name][:, :, : past + 1]) < 2e-6
        outputs = binding.get_outputs()
        shown = dict(
            zip(("pk0", "pv0", "pk1", "pv1", "y0", "y1"), outputs, strict=True)
        )
        for name in ("y0", "y1"):
            assert error(shown[name].numpy(), wanted[name]) < 2e-6
        kept = [wanted[name] for name in ("pk0", "pv0", "pk1", "pv1")]
