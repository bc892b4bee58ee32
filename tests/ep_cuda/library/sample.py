"""A broad sample of operations, by name: what models ask for, and some odd ones."""

from dataclasses import replace

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
from runtime_ep_cuda.operations import Pointwise, Spec

FLOATS = {
    "float16": {"dtype": "float16"},
    "bfloat16": {"dtype": "bfloat16"},
    "float32": {"dtype": "float32"},
    "tf32": {"dtype": "float32", "tf32": True},
}
IMAGE, FILTER, RESULT = (2, 32, 14, 14), (48, 32, 3, 3), (2, 48, 14, 14)
ACTIVATIONS = {
    "relu": [Pointwise("relu")],
    "clip": [Pointwise("max", scalar=0.0), Pointwise("min", scalar=6.0)],
    "relu6": [Pointwise("relu"), Pointwise("min", scalar=6.0)],
    "sigmoid": [Pointwise("sigmoid")],
    "tanh": [Pointwise("tanh")],
    "silu": [Pointwise("swish", scalar=1.0)],
    "quick gelu": [Pointwise("swish", scalar=1.702)],
    "gelu": [Pointwise("gelu")],
    "gelu_tanh": [Pointwise("gelu_tanh")],
    "leaky_relu": [Pointwise("leaky_relu", scalar=0.1)],
    "elu": [Pointwise("elu", scalar=1.0)],
    "softplus": [Pointwise("softplus")],
    "hard_swish": [Pointwise("hard_swish")],
    "mish": [Pointwise("mish")],
}


def sample():
    """Every operation of the sample by its name."""
    return {
        **convolutions(),
        **transposed(),
        **quantized(),
        **products(),
        **attentions(),
    }


def convolutions():
    """Convolutions of floats: epilogues, then shapes, then memory."""
    found = {}
    for name, kind in FLOATS.items():
        dtype = kind["dtype"]
        bias, residual = vector(dtype, 48), image(dtype, *RESULT)
        plain = {"pads": 1, **kind}
        found[f"conv {name}"] = convolution(IMAGE, FILTER, **plain)
        for operands, steps, ending in [
            *[([bias], [biased(), *steps], end) for end, steps in ACTIVATIONS.items()],
            ([bias], [biased()], "bias"),
            ([bias], [scaled()], "scale"),
            ([], [Pointwise("relu")], "only relu"),
            ([bias, residual], [biased(), biased(1)], "residual"),
            ([bias, residual], [biased(), biased(1), Pointwise("relu")], "resnet"),
            ([bias, bias], [scaled(), biased(1), Pointwise("relu")], "scale bias relu"),
            (
                [bias, residual],
                [biased(), Pointwise("swish", scalar=1.0), biased(1)],
                "silu residual",
            ),
            (
                [bias, residual],
                [biased(), Pointwise("sigmoid"), scaled(1)],
                "gate",
            ),
            ([bias], [biased(), Pointwise("sub", scalar=0.5)], "sub"),
            ([residual], [Pointwise("max", 0)], "max of a tensor"),
        ]:
            found[f"conv {name} {ending}"] = convolution(
                IMAGE, FILTER, operands=operands, epilogue=steps, **plain
            )
        found |= shapes(name, kind, bias)
        found |= broadcast(name, kind)
    return found


def broadcast(name, kind):
    """Operands of every shape that broadcasting allows, and of other layouts."""
    dtype = kind["dtype"]
    places = {
        "of images": image(dtype, 2, 48, 1, 1),
        "of pixels": image(dtype, 1, 1, 14, 14),
        "of pixels of images": image(dtype, 2, 1, 14, 14),
        "of one image": image(dtype, 1, 48, 14, 14),
        "of rows": image(dtype, 1, 1, 14, 1),
        "of one number": rows(dtype, 1, 1, 1, 1),
        "of no axes": rows(dtype),
        "of fewer axes": rows(dtype, 48, 1, 1),
        "of strides 0": Spec(dtype, RESULT, (0, 1, 0, 0)),
        "with gaps": Spec(dtype, RESULT, (14 * 14 * 64, 1, 14 * 64, 64)),
        "in C order": rows(dtype, *RESULT),
        "in float32": image("float32", *RESULT),
    }
    found = {
        f"conv {name} operand {place}": convolution(
            IMAGE, FILTER, pads=1, operands=(operand,), epilogue=(scaled(),), **kind
        )
        for place, operand in places.items()
    }
    x = rows(dtype, *IMAGE)
    plain = convolution(IMAGE, FILTER, pads=1, **kind)
    found[f"conv {name} operand-less, x in C order"] = replace(plain, x=x)
    found[f"conv {name} operand-less, y in C order"] = replace(
        plain, y=rows(dtype, *RESULT)
    )
    found[f"conv {name} operand-less, w in C order"] = replace(
        plain, w=rows(dtype, *FILTER)
    )
    return found


def shapes(name, kind, bias):
    """Convolutions of one element type by shape, each plain and with bias and relu."""
    dtype = kind["dtype"]
    cases = {
        "1x1": (IMAGE, (48, 32, 1, 1), {}),
        "strided": (IMAGE, FILTER, {"pads": 1, "strides": 2}),
        "dilated": (IMAGE, FILTER, {"pads": 2, "dilations": 2}),
        "asymmetric": (IMAGE, FILTER, {"pads": 0, "end": 1, "strides": 2}),
        "stem": ((1, 3, 32, 32), (48, 3, 7, 7), {"pads": 3, "strides": 2}),
        "odd channels": ((2, 30, 9, 9), (50, 30, 3, 3), {"pads": 1}),
        "three to seven": ((1, 3, 9, 9), (7, 3, 1, 1), {}),
        "one channel": ((1, 1, 28, 28), (48, 1, 5, 5), {}),
        "depthwise": ((2, 48, 14, 14), (48, 1, 3, 3), {"pads": 1, "groups": 48}),
        "depthwise 7x7": ((1, 48, 14, 14), (48, 1, 7, 7), {"pads": 3, "groups": 48}),
        "groups of 4": ((2, 48, 14, 14), (48, 4, 3, 3), {"pads": 1, "groups": 12}),
        "groups of 16": ((2, 48, 14, 14), (48, 16, 3, 3), {"pads": 1, "groups": 3}),
        "multiplied": ((1, 16, 14, 14), (48, 1, 3, 3), {"pads": 1, "groups": 16}),
        "1-d": ((2, 32, 50), (48, 32, 3), {"pads": 1}),
        "1-d depthwise": ((2, 48, 50), (48, 1, 3), {"pads": 1, "groups": 48}),
        "3-d": ((1, 32, 6, 6, 6), (48, 32, 3, 3, 3), {"pads": 1}),
        "3-d depthwise": ((1, 48, 6, 6, 6), (48, 1, 3, 3, 3), {"groups": 48}),
        "C order": (IMAGE, FILTER, {"pads": 1, "lay": rows}),
        "1-d C order": ((2, 32, 50), (48, 32, 3), {"pads": 1, "lay": rows}),
    }
    found = {}
    for case, (x, w, rest) in cases.items():
        plain = convolution(x, w, **kind, **rest)
        operand = vector(dtype, plain.y.shape[1], len(x))
        steps = (biased(), Pointwise("relu"))
        found[f"conv {name} {case}"] = plain
        found[f"conv {name} {case} fused"] = replace(
            plain, operands=(operand,), epilogue=steps
        )
    gaps = Spec(dtype, IMAGE, (14 * 14 * 64, 1, 14 * 64, 64))
    plain = convolution(IMAGE, FILTER, pads=1, **kind)
    found[f"conv {name} x with gaps"] = replace(plain, x=gaps)
    wide = Spec(dtype, RESULT, (14 * 14 * 96, 1, 14 * 96, 96))
    found[f"conv {name} y with gaps"] = replace(plain, y=wide)
    steps = (biased(), Pointwise("relu"))
    found[f"conv {name} float bias"] = replace(
        plain, operands=(vector("float32", 48),), epilogue=steps
    )
    found[f"conv {name} to float32"] = replace(
        plain, y=image("float32", *RESULT), operands=(bias,), epilogue=steps
    )
    return found


def transposed():
    """Transposed convolutions."""
    found = {}
    for name, kind in FLOATS.items():
        dtype = kind["dtype"]
        base = {"transposed": True, **kind}
        x, w = (2, 32, 8, 8), (32, 48, 4, 4)
        bias = vector(dtype, 48)
        two = {"pads": 1, "strides": 2}
        plain = convolution(x, w, **two, **base)
        residual = Spec(dtype, plain.y.shape, plain.y.strides)
        relu = Pointwise("relu")
        found |= {
            f"dgrad {name}": plain,
            f"dgrad {name} bias": replace(
                plain, operands=(bias,), epilogue=(biased(),)
            ),
            f"dgrad {name} bias relu": replace(
                plain, operands=(bias,), epilogue=(biased(), relu)
            ),
            f"dgrad {name} resnet": replace(
                plain, operands=(bias, residual), epilogue=(biased(), biased(1), relu)
            ),
            f"dgrad {name} extra": convolution(
                x, (32, 48, 3, 3), extra=1, **two, **base
            ),
            f"dgrad {name} of step 1": convolution(x, w, pads=1, **base),
            f"dgrad {name} 2x2": convolution(x, (32, 48, 2, 2), strides=2, **base),
            f"dgrad {name} asymmetric": convolution(
                x, w, pads=0, end=1, strides=2, **base
            ),
            f"dgrad {name} groups": convolution(
                x, (32, 12, 4, 4), groups=4, **two, **base
            ),
            f"dgrad {name} depthwise": convolution(
                x, (32, 1, 4, 4), groups=32, **two, **base
            ),
            f"dgrad {name} odd": convolution(
                (1, 30, 8, 8), (30, 50, 4, 4), **two, **base
            ),
            f"dgrad {name} 1-d": convolution((2, 32, 30), (32, 48, 4), **two, **base),
            f"dgrad {name} 3-d": convolution(
                (1, 32, 4, 4, 4), (32, 48, 2, 2, 2), strides=2, **base
            ),
            f"dgrad {name} C order": convolution(x, w, lay=rows, **two, **base),
        }
    return found


def quantized():
    """Convolutions and products of int8."""
    found = {}
    scale = [vector("float32", 48), vector("float32", 48)]
    one = [rows("float32", 1, 1, 1, 1), vector("float32", 48)]
    endings = {
        "scale": (scale[:1], [scaled()]),
        "scale bias": (scale, [scaled(), biased(1)]),
        "scale bias relu": (scale, [scaled(), biased(1), Pointwise("relu")]),
        "one scale": (one, [scaled(), biased(1)]),
        "number": (scale[:1], [Pointwise("mul", scalar=0.01), biased()]),
        "silu": (scale, [scaled(), biased(1), Pointwise("swish", scalar=1.0)]),
        "residual": (
            [*scale, image("int8", *RESULT)],
            [scaled(), biased(1), biased(2), Pointwise("relu")],
        ),
        "rounded": (
            scale,
            [scaled(), biased(1), Pointwise("mul", scalar=0.1), Pointwise("relu")],
        ),
    }
    for out in ("int8", "float16", "bfloat16", "float32"):
        for ending, (operands, steps) in endings.items():
            found[f"conv int8 to {out} {ending}"] = convolution(
                IMAGE,
                FILTER,
                pads=1,
                dtype="int8",
                out=out,
                operands=operands,
                epilogue=steps,
            )
    for place, operand in {
        "of images": image("float32", 2, 48, 1, 1),
        "of one number": rows("float32"),
        "in float32": image("float32", *RESULT),
        "in float16": image("float16", *RESULT),
    }.items():
        found[f"conv int8 operand {place}"] = convolution(
            IMAGE,
            FILTER,
            pads=1,
            dtype="int8",
            out="float16",
            operands=(vector("float32", 48), operand),
            epilogue=(scaled(), biased(1)),
        )
    cases = {
        "": (IMAGE, FILTER, {"pads": 1}),
        "1x1": (IMAGE, (48, 32, 1, 1), {}),
        "strided": (IMAGE, FILTER, {"pads": 1, "strides": 2}),
        "asymmetric": (IMAGE, FILTER, {"pads": 0, "end": 1}),
        "stem": ((1, 3, 32, 32), (48, 3, 7, 7), {"pads": 3, "strides": 2}),
        "stem of 4": ((1, 4, 32, 32), (48, 4, 7, 7), {"pads": 3, "strides": 2}),
        "channels of 4": ((1, 20, 9, 9), (28, 20, 3, 3), {"pads": 1}),
        "odd channels": ((1, 30, 9, 9), (50, 30, 3, 3), {"pads": 1}),
        "depthwise": ((2, 48, 14, 14), (48, 1, 3, 3), {"pads": 1, "groups": 48}),
        "groups": ((2, 64, 14, 14), (64, 16, 3, 3), {"pads": 1, "groups": 4}),
        "1-d": ((2, 32, 50), (48, 32, 3), {"pads": 1}),
        "3-d": ((1, 32, 6, 6, 6), (48, 32, 3, 3, 3), {"pads": 1}),
        "C order": (IMAGE, FILTER, {"pads": 1, "lay": rows}),
        "transposed": (
            (1, 32, 8, 8),
            (32, 48, 4, 4),
            {"pads": 1, "strides": 2, "transposed": True},
        ),
    }
    for case, (x, w, rest) in cases.items():
        whole = convolution(x, w, dtype="int8", out="int32", **rest)
        found[f"conv int8 {case} to int32"] = whole
        operands = [vector("float32", whole.y.shape[1], len(x))] * 2
        for out in ("int8", "float16"):
            found[f"conv int8 {case} fused to {out}"] = convolution(
                x,
                w,
                dtype="int8",
                out=out,
                operands=operands,
                epilogue=[scaled(), biased(1), Pointwise("relu")],
                **rest,
            )
    return found


def products():
    """Products: epilogues, then shapes and memory, then integers."""
    found = {}
    a, b = (1, 60, 64), (1, 64, 96)
    for name, kind in FLOATS.items():
        dtype = kind["dtype"]
        bias, residual = rows(dtype, 96), rows(dtype, 1, 60, 96)
        found[f"mm {name}"] = product(a, b, **kind)
        for ending, steps in ACTIVATIONS.items():
            found[f"mm {name} {ending}"] = product(
                a, b, operands=(bias,), epilogue=(biased(), *steps), **kind
            )
        found |= {
            f"mm {name} bias": product(
                a, b, operands=(bias,), epilogue=(biased(),), **kind
            ),
            f"mm {name} residual": product(
                a, b, operands=(bias, residual), epilogue=(biased(), biased(1)), **kind
            ),
            f"mm {name} alpha": product(a, b, alpha=0.125, **kind),
            f"mm {name} alpha bias": product(
                a, b, alpha=0.125, operands=(bias,), epilogue=(biased(),), **kind
            ),
            f"mm {name} columns": product(a, b, columns=True, **kind),
            f"mm {name} batch": product((6, 33, 64), (6, 64, 17), **kind),
            f"mm {name} batch columns": product(
                (6, 33, 64), (6, 64, 40), columns=True, **kind
            ),
            f"mm {name} shared b": product((6, 33, 64), (1, 64, 40), **kind),
            f"mm {name} one row": product((1, 1, 64), b, **kind),
            f"mm {name} one column": product(a, (1, 64, 1), **kind),
            f"mm {name} odd": product((1, 7, 33), (1, 33, 5), **kind),
            f"mm {name} to float32": product(a, b, out="float32", **kind),
            f"mm {name} heads": headed(kind),
        }
        many, shared = (6, 33, 64), (6, 64, 40)
        for place, operand in {
            "of a batch": rows(dtype, 1, 33, 40),
            "of rows": rows(dtype, 1, 33, 1),
            "of matrices": rows(dtype, 6, 1, 1),
            "of one number": rows(dtype),
            "with gaps": Spec(dtype, (6, 33, 40), (33 * 64, 64, 1)),
            "in columns": Spec(dtype, (6, 33, 40), (33 * 40, 1, 33)),
            "in float32": rows("float32", 6, 33, 40),
        }.items():
            found[f"mm {name} operand {place}"] = product(
                many, shared, operands=(operand,), epilogue=(biased(),), **kind
            )
        found[f"mm {name} operand-less, y in columns"] = replace(
            product(many, shared, **kind),
            y=Spec(dtype, (6, 33, 40), (33 * 40, 1, 33)),
        )
        found[f"mm {name} operand-less, y of heads"] = replace(
            product(many, shared, **kind),
            y=Spec(dtype, (6, 33, 40), (40, 6 * 40, 1)),
        )
        turned = product(a, b, **kind)
        found[f"mm {name} a transposed"] = replace(
            turned, a=Spec(dtype, a, (64 * 60, 1, 60))
        )
    scale = (rows("float32", 96), rows("float32", 96))
    for out in ("int8", "float16", "float32"):
        for columns in (False, True):
            found[f"mm int8 to {out} {'columns' if columns else 'rows'}"] = product(
                a,
                b,
                dtype="int8",
                out=out,
                columns=columns,
                operands=scale,
                epilogue=(scaled(), biased(1)),
            )
    found["mm int8 operand of matrices"] = product(
        (6, 32, 64),
        (6, 64, 48),
        dtype="int8",
        out="float16",
        columns=True,
        operands=(rows("float32", 6, 1, 48),),
        epilogue=(scaled(),),
    )
    for columns in (False, True):
        ending = "columns" if columns else "rows"
        found[f"mm int8 to int32 {ending}"] = product(
            a, b, dtype="int8", out="int32", columns=columns
        )
        found[f"mm int8 to int32 odd {ending}"] = product(
            (1, 7, 33), (1, 33, 5), dtype="int8", out="int32", columns=columns
        )
    return found


def headed(kind):
    """A product whose operands are (batch, length, heads, size) in memory."""
    dtype, heads, length, size = kind["dtype"], 4, 24, 32
    q = Spec(dtype, (heads, length, size), (size, heads * size, 1))
    k = Spec(dtype, (heads, size, length), (size, 1, heads * size))
    plain = product((heads, length, size), (heads, size, length), **kind)
    return replace(plain, a=q, b=k)


def attentions():
    """Attention."""
    found = {}
    for name, one in FLOATS.items():
        q, k = (2, 4, 64, 64), (2, 4, 64, 64)
        found |= {
            f"sdpa {name}": attention(q, k, **one),
            f"sdpa {name} causal": attention(q, k, causal="top_left", **one),
            f"sdpa {name} causal, longer keys": attention(
                (1, 4, 20, 64), (1, 4, 77, 64), causal="top_left", **one
            ),
            f"sdpa {name} causal, longer queries": attention(
                (1, 4, 77, 64), (1, 4, 20, 64), causal="top_left", **one
            ),
            f"sdpa {name} bottom right": attention(
                (1, 4, 20, 64), (1, 4, 77, 64), causal="bottom_right", **one
            ),
            f"sdpa {name} bottom right, longer queries": attention(
                (1, 4, 77, 64), (1, 4, 20, 64), causal="bottom_right", **one
            ),
            f"sdpa {name} shared heads": attention(q, (2, 2, 64, 64), **one),
            f"sdpa {name} one head": attention(
                q, (2, 1, 64, 64), causal="top_left", **one
            ),
            f"sdpa {name} full bias": attention(q, k, bias=(2, 4, 64, 64), **one),
            f"sdpa {name} shared bias": attention(q, k, bias=(1, 1, 64, 64), **one),
            f"sdpa {name} key bias": attention(q, k, bias=(2, 1, 1, 64), **one),
            f"sdpa {name} head bias": attention(q, k, bias=(1, 4, 64, 64), **one),
            f"sdpa {name} causal bias": attention(
                q, k, bias=(1, 1, 64, 64), causal="top_left", **one
            ),
            f"sdpa {name} bottom right bias": attention(
                q, k, bias=(1, 1, 64, 64), causal="bottom_right", **one
            ),
            f"sdpa {name} odd bias": attention(
                (1, 4, 77, 64), (1, 4, 77, 64), bias=(1, 1, 77, 77), **one
            ),
            f"sdpa {name} float bias": replace(
                attention(q, k, bias=(1, 1, 64, 64), **one),
                bias=rows("float32", 1, 1, 64, 64),
            ),
            f"sdpa {name} decode": attention((1, 8, 1, 128), (1, 2, 777, 128), **one),
            f"sdpa {name} decode bias": attention(
                (1, 8, 1, 128), (1, 2, 777, 128), bias=(1, 1, 1, 777), **one
            ),
            f"sdpa {name} one key": attention((1, 8, 1, 64), (1, 8, 1, 64), **one),
            f"sdpa {name} C order": rowed(one),
            f"sdpa {name} packed": packed(one),
            **{
                f"sdpa {name} heads of {size}": attention(
                    (1, 4, 77, size), (1, 4, 77, size), **one
                )
                for size in (8, 33, 36, 40, 72, 80, 96, 128, 160, 256, 512)
            },
            f"sdpa {name} narrow values": attention(q, k, values=32, **one),
            f"sdpa {name} wide values": attention(q, k, values=128, **one),
        }
    return found


def rowed(kind):
    """Attention over tensors in C order."""
    spec = rows(kind["dtype"], 2, 4, 64, 64)
    return replace(
        attention((2, 4, 64, 64), (2, 4, 64, 64), **kind),
        q=spec,
        k=spec,
        v=spec,
        y=spec,
    )


def packed(kind):
    """Attention over the thirds of one (batch, length, 3, heads, size) tensor."""
    spec = Spec(kind["dtype"], (2, 4, 64, 64), (64 * 3 * 4 * 64, 64, 3 * 4 * 64, 1))
    return replace(
        attention((2, 4, 64, 64), (2, 4, 64, 64), **kind), q=spec, k=spec, v=spec
    )
