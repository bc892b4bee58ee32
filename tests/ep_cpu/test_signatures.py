"""Every kernel's signature is the standard's, in every opset version it stands for."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.defs import OpSchema
from runtime.kernels import Kernel
from runtime.schema import STRAY
from runtime_ep_cpu.ops import table

Parameter = inspect.Parameter

SCHEMAS: dict[tuple[str, str], dict[int, OpSchema]] = {}
for _schema in onnx.defs.get_all_schemas_with_history():
    _versions = SCHEMAS.setdefault((_schema.domain, _schema.name), {})
    _versions[_schema.since_version] = _schema
DOMAINS = {domain for domain, _ in SCHEMAS}

KERNELS = [
    kernel
    for kernel in table
    if kernel.domain in DOMAINS and (kernel.domain, kernel.op_type) not in STRAY
]
EACH_KERNEL = pytest.mark.parametrize(
    "kernel", KERNELS, ids=lambda k: f"{k.domain}:{k.op_type}-{k.since}".lstrip(":")
)


def covered(kernel: Kernel) -> list[OpSchema]:
    """The schema versions from a kernel's first opset to the next kernel's."""
    later = [
        other.since
        for other in KERNELS
        if (other.domain, other.op_type) == (kernel.domain, kernel.op_type)
        and other.since > kernel.since
    ]
    end = min(later, default=10**9)
    if kernel.until is not None:
        end = min(end, kernel.until + 1)
    versions = SCHEMAS.get((kernel.domain, kernel.op_type), {})
    return [
        schema
        for since, schema in sorted(versions.items())
        if kernel.since <= since < end and not schema.deprecated
    ]


def parameters(kernel: Kernel, *kinds: Any) -> list[Parameter]:
    """A kernel's parameters of some kinds, in order."""
    signature = inspect.signature(kernel.function)
    return [entry for entry in signature.parameters.values() if entry.kind in kinds]


def default_of(attribute: OpSchema.Attribute) -> Any:
    """What a kernel's keyword must default to."""
    if attribute.required:
        return Parameter.empty
    if not attribute.default_value.type:
        return None
    value = onnx.helper.get_attribute_value(attribute.default_value)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list):
        return tuple(v.decode() if isinstance(v, bytes) else v for v in value)
    return value


def same(default: Any, wanted: Any) -> bool:
    """Whether two defaults agree; floats as the float32 that ONNX stores."""
    if isinstance(wanted, float) and isinstance(default, float):
        return np.float32(default) == np.float32(wanted)
    if isinstance(wanted, tuple) and isinstance(default, tuple):
        return len(default) == len(wanted) and all(map(same, default, wanted))
    return type(default) is type(wanted) and default == wanted


@EACH_KERNEL
def test_a_kernel_begins_where_its_operator_changed(kernel):
    versions = SCHEMAS.get((kernel.domain, kernel.op_type), {})
    assert kernel.since in versions, f"{kernel.op_type} changed at {sorted(versions)}"


@EACH_KERNEL
def test_inputs_are_positional_only_and_as_many_as_the_schema_has(kernel):
    positional = parameters(kernel, Parameter.POSITIONAL_ONLY)
    variadic = parameters(kernel, Parameter.VAR_POSITIONAL)
    assert not parameters(kernel, Parameter.POSITIONAL_OR_KEYWORD)
    for schema in covered(kernel):
        options = [entry.option for entry in schema.inputs]
        is_variadic = OpSchema.FormalParameterOption.Variadic in options
        assert len(variadic) == is_variadic, f"opset {schema.since_version}"
        wanted = len(schema.inputs) - is_variadic
        assert len(positional) == wanted, f"opset {schema.since_version}"


@EACH_KERNEL
def test_inputs_that_a_node_may_omit_at_the_end_default_to_none(kernel):
    positional = parameters(kernel, Parameter.POSITIONAL_ONLY)
    for schema in covered(kernel):
        for entry in positional[schema.min_input :]:
            assert entry.default is None, f"{entry.name}, {schema.since_version}"


@EACH_KERNEL
def test_attributes_and_their_defaults_are_the_schemas(kernel):
    assert not parameters(kernel, Parameter.VAR_KEYWORD)
    keywords = {
        entry.name: entry.default
        for entry in parameters(kernel, Parameter.KEYWORD_ONLY)
        if entry.name != "call"
    }
    for schema in covered(kernel):
        wanted = {name: default_of(a) for name, a in schema.attributes.items()}
        assert keywords.keys() == wanted.keys(), f"opset {schema.since_version}"
        wrong = {
            name: (keywords[name], default)
            for name, default in wanted.items()
            if not same(keywords[name], default)
        }
        assert not wrong, f"opset {schema.since_version}: (found, wanted) {wrong}"
