"""Operators of com.microsoft that have no kernel here, and why."""

from __future__ import annotations

_LOOP = "a whole decoding loop in one node; run the decoder step by step instead"
_COMPILED = "holds what another provider compiled"
_DEVICE = "made for one device's kernels; onnxruntime's CPU provider has none either"
_ORDERED = "quantized with the memory order of NVIDIA's tensor cores"
_TRAINING = "made by training graphs; export the model for inference"
_STANDARD = "the standard has it now; export with a newer opset"
_HASH = "part of one vendor's own models; no exporter writes it"
_PACKED = "weights in a library's own packing; use MatMulNBits"

_BY_REASON: dict[str, str] = {
    _LOOP: "BeamSearch GreedySearch Sampling WhisperBeamSearch",
    _COMPILED: "EPContext Snpe",
    _ORDERED: """
        DequantizeWithOrder QOrderedAttention QOrderedGelu QOrderedLayerNormalization
        QOrderedLongformerAttention QOrderedMatMul QuantizeWithOrder
    """,
    _TRAINING: """
        BiasDropout BifurcationDetector BitmaskBiasDropout BitmaskDropout IsAllFinite
    """,
    _STANDARD: """
        CausalConvWithState Irfft LinearAttention Rfft TorchEmbedding
    """,
    _HASH: """
        BranchwiseRMSNorm EngramGate GatedAdd GatedRMSNorm HyperConnectionLowRankMix
        HyperConnectionPostMix HyperConnectionPreMix LinearAttentionGate Mamba2Verify
        MoEGroupRouter MurmurHash3 NGramHashMapping ScaledSiLU VarlenNGramHashMapping
        WordConvEmbedding
    """,
    _PACKED: """
        DequantizeBFP GatherPacked MatMulBnb4 MatMulFpQ4 MatMulPacked MoEPacked
        QuantizeBFP
    """,
    _DEVICE: """
        BiasAdd BiasSplitGelu ComplexMul ComplexMulConj ConvStateReplay
        DecoderAttention DecoderMaskedSelfAttention DynamicSparseAttention
        FusedMatMulActivation GatedDeltaNet GatedDeltaNetStateReplay
        GatedRelativePositionBias GemmFastGelu GemmFloat8 GemmaRotaryEmbedding GroupNorm
        LongformerAttention MatMulBlockQuantizedFp4Weight MatMulBlockQuantizedFp8Weight
        MatMulNBitsMlp MatMulNBitsQLoRA MatMulNBitsQkv MulInteger PackedAttention
        PackedMultiHeadAttention PackedSparseAttentionIndexer
        PackedSparseAttentionIndexerMerge PagedAttention RMSNormRotary ReduceSumInteger
        RelativePositionBias RemovePadding RestorePadding RouterGateUpProj
        SkipGroupNorm SparseAttentionIndexer SparsePagedAttention
        SpeculativePrefixCommit VarlenCausalConvWithState
    """,
    "a cache shared between beams; use MultiHeadAttention": (
        "DecoderMaskedMultiHeadAttention"
    ),
    "block-sparse layouts are not read; use GroupQueryAttention": "SparseAttention",
    "sparse tensors do not flow between nodes": "SparseToDenseMatMul",
    "quantizes the state at every step; use LSTM with DequantizeLinear": (
        "DynamicQuantizeLSTM"
    ),
    "use EmbedLayerNormalization behind DequantizeLinear": "QEmbedLayerNormalization",
    "use RoiAlign": "CropAndResize",
    "use RotaryEmbedding": "MRotaryEmbedding",
    "use MaxPool behind Mul": "MaxpoolWithMask",
    "an example, not an operator": "SampleOp",
    "a recurrence with attention that no exporter writes": "AttnLSTM",
    "use Gather for the windows": "UnfoldTensor",
    "an alignment by dynamic programming; no exporter but Whisper's writes it": (
        "DynamicTimeWarping"
    ),
    "belongs to a decoding loop; ban repeats where the next word is chosen": (
        "NGramRepeatBlock"
    ),
}

REFUSED: dict[str, str] = {
    name: reason for reason, names in _BY_REASON.items() for name in names.split()
}
"""Why each operator of com.microsoft without a kernel is refused."""
