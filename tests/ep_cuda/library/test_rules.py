"""What the planner is told without anything being built, and how tensors are shown."""

from dataclasses import replace

import pytest
from library.sample import sample
from library.specs import (
    attention,
    biased,
    convolution,
    image,
    product,
    rows,
    scaled,
    vector,
)
from runtime_ep_cuda import cublaslt, cudnn
from runtime_ep_cuda.cudnn_graphs import laid_out, orders_of
from runtime_ep_cuda.cudnn_rules import refusal
from runtime_ep_cuda.library import Library
from runtime_ep_cuda.library import refusal as nobody
from runtime_ep_cuda.operations import Pointwise, Spec

CONV = convolution((2, 32, 14, 14), (48, 32, 3, 3), pads=1)
WHOLE = convolution((2, 32, 14, 14), (48, 32, 3, 3), dtype="int8", out="int32")
SCALE = {"operands": (vector("float32", 48),), "epilogue": (scaled(),)}
PRODUCT = product((6, 32, 64), (6, 64, 40))
HEADS = attention((1, 4, 16, 64), (1, 4, 16, 64))
SQUEEZED = {"operands": (image("float16", 2, 48, 1, 1),), "epilogue": (scaled(),)}


def bent(spec, **changes):
    return spec._replace(**changes)


REFUSED = [
    (CONV, 90, {"x": bent(CONV.x, alignment=2)}, "not aligned"),
    (CONV, 90, {"x": image("float16", 0, 32, 14, 14)}, "empty"),
    (CONV, 75, {"x": image("bfloat16", 2, 32, 14, 14)}, "8.0"),
    (CONV, 90, {"w": image("float32", 48, 32, 3, 3)}, "float16 and float32"),
    (CONV, 90, {"y": image("bfloat16", 2, 48, 14, 14)}, "to bfloat16"),
    (CONV, 90, {"x": bent(CONV.x, strides=(1, 2, 4, 8))}, "channels innermost"),
    (CONV, 75, SQUEEZED, "neither whole"),
    (CONV, 90, {"operands": (rows("float16", 2, 48, 14, 14),), "epilogue": (biased(),)},
     "another order"),
    (CONV, 90, {"operands": (Spec("float16", (48, 1, 1), (2, 1, 1)),),
                "epilogue": (biased(),)}, "gaps"),
    (CONV, 90, {"operands": (vector("int32", 48),), "epilogue": (biased(),)}, "int32"),
    (CONV, 90, {"epilogue": (Pointwise("elu", scalar=0.5),)}, "alpha 1"),
    (WHOLE, 90, {"x": rows("int8", 2, 32, 14, 14)}, "int8 lies"),
    (WHOLE, 90, {"transposed": True}, "transposed"),
    (WHOLE, 90, {"x": image("uint8", 2, 32, 14, 14)}, "uint8 and int8"),
    (WHOLE, 90, {"epilogue": (Pointwise("relu"),)}, "int32 has no epilogue"),
    (WHOLE, 90, {"y": bent(WHOLE.y, dtype="int8")}, "int32 has no epilogue"),
    (WHOLE, 90, {"y": bent(WHOLE.y, dtype="int8"), "epilogue": (Pointwise("relu"),)},
     "begins with a scale"),
    (convolution((1, 48, 9, 9), (48, 1, 3, 3), groups=48, dtype="int8"), 90, SCALE,
     "depthwise"),
    (convolution((1, 20, 9, 9), (48, 20, 3, 3), dtype="int8"), 75, SCALE, "16 divides"),
    (PRODUCT, 90, {"a": bent(PRODUCT.a, shape=(32, 64), strides=(64, 1))}, "batch, rows"),
    (PRODUCT, 90, {"a": bent(PRODUCT.a, strides=(4096, 128, 2))}, "by rows or by columns"),
    (product((1, 8, 8), (1, 8, 8), dtype="float32"), 90, {}, "TF32 only"),
    (product((1, 8, 8), (1, 8, 8), dtype="float32", tf32=True), 75, {}, "TF32 only"),
    (product((6, 32, 64), (1, 64, 40)), 75, {}, "not shared"),
    (product((1, 32, 64), (1, 64, 48), dtype="int8", out="int32"), 75, {}, "16 divides"),
    (HEADS, 75, {}, "8.0"),
    (attention((1, 4, 16, 64), (1, 4, 16, 64), dtype="float32"), 90, {}, "TF32 only"),
    (attention((1, 4, 16, 256), (1, 4, 16, 256), dtype="float32", tf32=True), 90, {},
     "128 elements"),
    (HEADS, 90, {"v": rows("bfloat16", 1, 4, 16, 64)}, "alone"),
    (attention((1, 4, 16, 60), (1, 4, 16, 60)), 90, {}, "sizes of heads"),
    (HEADS, 90, {"q": bent(HEADS.q, strides=(4096, 1024, 1, 16))}, "side by side"),
    (HEADS, 90, {"q": bent(HEADS.q, strides=(4100, 64, 260, 1))}, "all strides"),
    (attention((1, 4, 16, 64), (1, 3, 16, 64)), 90, {}, "divide those of q"),
    (attention((1, 4, 32, 64), (1, 4, 16, 64), causal="bottom_right"), 90, {}, "last key"),
    (HEADS, 90, {"bias": rows("float16", 16, 16)}, "the bias"),
    (HEADS, 90, {"bias": rows("float16", 1, 1, 16, 1)}, "the bias"),
]  # fmt: skip


@pytest.mark.parametrize(("operation", "sm", "changes", "reason"), REFUSED)
def test_what_cudnn_is_not_asked_for_has_a_reason(operation, sm, changes, reason):
    assert reason in refusal(replace(operation, **changes), sm)


@pytest.mark.parametrize("operation", [CONV, WHOLE, PRODUCT, HEADS])
def test_plain_operations_are_not_refused(operation):
    assert refusal(operation, 90) == ""
    assert refusal(replace(CONV, **SQUEEZED), 90) == ""


def test_every_float32_product_is_for_cublaslt():
    bias = {"operands": (rows("float32", 1, 1, 8),), "epilogue": (biased(),)}
    exact = product((1, 8, 8), (1, 8, 8), dtype="float32", **bias)
    assert refusal(exact, 90)
    assert nobody(exact, 90) == ""
    odd = replace(exact, epilogue=(biased(), Pointwise("sigmoid")))
    assert "cuDNN: float32 is multiplied as TF32 only; cublasLt: " in nobody(odd, 90)
    assert nobody(CONV, 90) == ""
    assert nobody(replace(CONV, x=bent(CONV.x, alignment=2)), 90)


def test_half_of_the_sample_and_more_is_taken_everywhere():
    operations = sample().values()
    for sm in (75, 80, 86, 89, 90, 100, 120):
        taken = sum(not nobody(operation, sm) for operation in operations)
        assert taken > len(operations) * (0.5 if sm == 75 else 0.85)


def test_libraries_are_asked_in_order_and_only_for_what_they_have(monkeypatch):
    asked, steadily = [], []

    def offer(name):
        def candidates(device, operation, limit, most=None, steady=False):
            asked.append((name, limit))
            steadily.append(steady)
            return [name]

        return candidates

    monkeypatch.setattr(cudnn, "candidates", offer("cuDNN"))
    monkeypatch.setattr(cublaslt, "candidates", offer("cublasLt"))
    library = Library(90, 132, most=3)
    assert (library.cudnn.most, library.cublaslt.most) == (3, 3)
    assert library.candidates(PRODUCT, 7) == ["cublasLt", "cuDNN"]
    assert library.candidates(CONV, 8) == ["cuDNN"]
    assert not any(steadily)
    assert library.candidates(CONV, 8, 3, deterministic=True) == ["cuDNN"]
    assert steadily.pop()
    exact = product((1, 8, 8), (1, 8, 8), dtype="float32")
    assert library.candidates(exact, 9) == ["cublasLt"]
    assert asked[-1] == ("cublasLt", 9)
    assert library.accepts(exact) == ""
    assert library.accepts(replace(CONV, x=bent(CONV.x, alignment=2)))
    library.close()


def test_saved_candidates_go_back_to_the_library_they_are_of(monkeypatch):
    monkeypatch.setattr(cudnn, "restore", lambda device, saved: ("cuDNN", saved))
    monkeypatch.setattr(cublaslt, "restore", lambda device, operation, saved: "Lt")
    library = Library(90, 132)
    assert library.restore(PRODUCT, cublaslt.MARK + b"1") == "Lt"
    saved = cudnn.MARK + b"2"
    assert library.restore(PRODUCT, saved) == ("cuDNN", saved)


def test_short_axes_get_the_strides_by_which_layouts_are_told():
    filters = Spec("float16", (64, 1, 3, 3), (9, 9, 3, 1))
    assert laid_out(filters, 4, True) == ([64, 1, 3, 3], [9, 1, 3, 1])
    assert laid_out(filters, 4, False) == ([64, 1, 3, 3], [9, 9, 3, 1])
    pixel = Spec("float16", (1, 64, 1, 1), (0, 1, 0, 0))
    assert laid_out(pixel, 4, True) == ([1, 64, 1, 1], [64, 1, 64, 64])


def test_broadcast_axes_become_axes_of_one_element():
    wide = Spec("float16", (2, 64, 14, 14), (0, 1, 0, 0))
    assert laid_out(wide, 4, True) == ([1, 64, 1, 1], [64, 1, 64, 64])
    assert laid_out(Spec("float16", (5,), (1,)), 3, False) == ([1, 1, 5], [5, 5, 1])


def test_orders_are_those_that_memory_can_be_walked_in():
    assert orders_of(image("float16", 2, 3, 4, 5), 4, True) == {0}
    assert orders_of(rows("float16", 2, 3, 4, 5), 4, True) == {1}
    assert orders_of(rows("float16", 2, 1, 4, 5), 4, True) == {0, 1}
    assert orders_of(Spec("float16", (2, 3, 4), (12, 1, 3)), 3, False) == {1}
    assert orders_of(Spec("float16", (2, 3, 4), (1, 8, 2)), 3, False) == set()
