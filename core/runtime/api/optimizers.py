"""Names of onnxruntime's graph optimizers, and which passes here do the like of them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping

from runtime.errors import near

OPTIMIZERS: Mapping[str, tuple[str, ...]] = {
    "AttentionFusion": ("raise_attention",),
    "CastElimination": ("identities",),
    "CastChainElimination": ("identities",),
    "CommonSubexpressionElimination": ("cse",),
    "ConstantFolding": ("fold",),
    "ConstantFoldingDQ": ("fold",),
    "ConstantSharing": ("cse",),
    "EliminateDropout": ("identities",),
    "EliminateIdentity": ("identities",),
    "EliminateSlice": ("identities",),
    "ExpandElimination": ("identities",),
    "FastGeluFusion": ("raise_gelu",),
    "GeluFusionL1": ("raise_gelu",),
    "GeluFusionL2": ("raise_gelu",),
    "GroupQueryAttentionFusion": ("raise_attention",),
    "LayerNormFusionL1": ("raise_layernorm",),
    "LayerNormFusionL2": ("raise_layernorm",),
    "NoopElimination": ("identities",),
    "PreShapeNodeElimination": ("shapes",),
    "QuickGeluFusion": ("raise_silu",),
    "ReshapeFusion": ("shapes",),
    "SimplifiedLayerNormFusion": ("raise_rmsnorm",),
    "UnsqueezeElimination": ("identities",),
}
"""Optimizer → the passes that are left out in its place."""

_OTHERS = """BiasDropoutFusion BiasGeluFusion BiasSkipLayerNormFusion BiasSoftmaxFusion
ClipQuantFusion ConvActivationFusion ConvAddActivationFusion ConvAddFusion ConvBNFusion
ConvMulFusion DivMulFusion DoubleQDQPairsRemover DQMatMulNBitsFusion
DynamicQuantizeMatMulFusion EmbedLayerNormFusion FreeDimensionOverrideTransformer
FuseReluClip GatherSliceToSplitFusion GatherToSliceFusion GeluApproximation
GemmActivationFusion GemmSumFusion GemmTransposeFusion GqaValueLayoutTransformer
GroupQueryAttentionPreNormFusion LabelEncoderFusion MatMulActivationFusion MatMulAddFusion
MatMulIntegerToFloatFusion MatMulNBitsFusion MatMulNBitsMlpFusion MatMulNBitsQkvFusion
MatMulScaleFusion MatmulBNFusion MatmulTransposeFusion NchwcTransformer NhwcTransformer
NotWhereFusion PadFusion QDQFinalCleanupTransformer QDQPropagationTransformer
QDQS8ToU8Transformer QDQSelectorActionTransformer Avx2WeightS8ToU8Transformer
ReluQuantFusion RemoveDuplicateCastTransformer SkipLayerNormFusion
SliceConcatToSpaceToDepthFusion TransposeOptimizer"""

NONE_LIKE = frozenset(_OTHERS.split())
"""Optimizers that fuse kernels, which providers do here, or for which nothing is done."""


def passes_without(names: Iterable[str]) -> tuple[str, ...]:
    """Return the passes to leave out for optimizers and passes by name.

    A name that is neither warns with the near match.
    """
    from runtime.passes import PASSES

    left_out: dict[str, None] = {}
    for name in names:
        if name in PASSES:
            left_out[name] = None
        elif name in OPTIMIZERS:
            left_out.update(dict.fromkeys(OPTIMIZERS[name]))
        elif name not in NONE_LIKE:
            known = (*PASSES, *OPTIMIZERS, *NONE_LIKE)
            message = f"there is no optimizer {name!r} to disable{near(name, known)}"
            warnings.warn(message, stacklevel=5)
    return tuple(left_out)
