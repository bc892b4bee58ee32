"""Steps: one module per kind of group, each planning it for given shapes."""

from __future__ import annotations

from collections.abc import Callable

from runtime_ep_cpu.codegen.target import Target
from runtime_ep_cpu.native.forms import Forms
from runtime_ep_cpu.native.group import Group
from runtime_ep_cpu.native.planner import Step
from runtime_ep_cpu.native.steps.affine import AffineStep
from runtime_ep_cpu.native.steps.attention import AttentionStep
from runtime_ep_cpu.native.steps.blocks import BlocksStep
from runtime_ep_cpu.native.steps.concat import ConcatStep
from runtime_ep_cpu.native.steps.convolution import ConvolutionStep
from runtime_ep_cpu.native.steps.cumulative import CumulativeStep, TriangleStep
from runtime_ep_cpu.native.steps.depthwise import DepthwiseStep, is_depthwise
from runtime_ep_cpu.native.steps.elementwise import ElementwiseStep
from runtime_ep_cpu.native.steps.gather import GatherStep
from runtime_ep_cpu.native.steps.grid_sample import GridSampleStep
from runtime_ep_cpu.native.steps.group_norm import GroupNormStep
from runtime_ep_cpu.native.steps.indexed import IndexedStep
from runtime_ep_cpu.native.steps.learned import STEPS as LEARNED
from runtime_ep_cpu.native.steps.pad import PadStep
from runtime_ep_cpu.native.steps.pooling import PoolStep
from runtime_ep_cpu.native.steps.product import ProductStep
from runtime_ep_cpu.native.steps.recurrence import RecurrenceStep
from runtime_ep_cpu.native.steps.reduction import ReductionStep
from runtime_ep_cpu.native.steps.resize import ResizeStep
from runtime_ep_cpu.native.steps.response import ResponseStep
from runtime_ep_cpu.native.steps.roi import RoiStep
from runtime_ep_cpu.native.steps.rotary import RotaryStep
from runtime_ep_cpu.native.steps.rows import NormStep, SoftmaxStep
from runtime_ep_cpu.native.steps.suppression import SuppressionStep
from runtime_ep_cpu.native.steps.top_k import TopKStep
from runtime_ep_cpu.native.steps.transposed import TransposedStep
from runtime_ep_cpu.native.steps.view import ViewStep
from runtime_ep_cpu.native.steps.winograd import WinogradStep, size_for


def step_of(group: Group, target: Target, forms: Forms | None = None) -> Step:
    """Return the step that plans a group; ``forms`` are what the options say."""
    forms = forms or Forms()
    if group.kind == "convolution":
        return _convolution(group, target, forms.winograd)
    if group.kind == "product":
        return ProductStep(group, target, forms.strassen)
    if group.kind == "recurrence":
        return RecurrenceStep(group, target, forms.strassen)
    if group.kind in _TUNED:
        return _TUNED[group.kind](group, target)
    return _STEPS[group.kind](group)


def _convolution(group: Group, target: Target, winograd: str) -> Step:
    """Return the step that convolves fastest."""
    if group.anchor is not None:
        if is_depthwise(group.anchor, target):
            return DepthwiseStep(group, target)
        size = size_for(group.anchor, target, winograd)
        if size is not None:
            return WinogradStep(group, target, size)
    return ConvolutionStep(group, target)


_TUNED: dict[str, Callable[[Group, Target], Step]] = {
    "transposed": TransposedStep,
    "attention": AttentionStep,
}


_STEPS: dict[str, Callable[[Group], Step]] = {
    "view": ViewStep,
    "elementwise": ElementwiseStep,
    "norm": NormStep,
    "softmax": SoftmaxStep,
    "concat": ConcatStep,
    "gather": GatherStep,
    "indexed": IndexedStep,
    "grid_sample": GridSampleStep,
    "regions": RoiStep,
    "suppression": SuppressionStep,
    "cumulative": CumulativeStep,
    "triangle": TriangleStep,
    "top_k": TopKStep,
    "reduce": ReductionStep,
    "pool": PoolStep,
    "resize": ResizeStep,
    "pad": PadStep,
    "blocks": BlocksStep,
    "affine": AffineStep,
    "group_norm": GroupNormStep,
    "response": ResponseStep,
    "rotary": RotaryStep,
    **LEARNED,
}
