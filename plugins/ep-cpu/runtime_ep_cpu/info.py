"""What is known of the CPU provider without loading a kernel."""

from runtime.plugin import HOST, Option, Probe, ProviderInfo

OPTIONS = {
    "native": Option(
        ("auto", "off", "required"),
        "auto",
        "Whether hot parts are compiled to native code: where possible, never (NumPy "
        "runs everything), or else it is an error.",
    ),
    "target": Option(
        ("auto", "avx512", "avx2", "neon", "generic"),
        "auto",
        "The processor to generate code for: the best one here, or a lesser one.",
    ),
    "winograd": Option(
        ("auto", "f2", "off"),
        "auto",
        "How convolutions of 3 by 3 filters may save multiplications: by whatever form is "
        "fastest, by the one that rounds least, or not at all.",
    ),
    "strassen": Option(
        ("auto", "off"),
        "auto",
        "Whether products of large matrices may save an eighth of their multiplications.",
    ),
}
"""Options of the CPU provider."""

info = ProviderInfo(
    name="CPUExecutionProvider",
    aliases=("cpu",),
    vendor="runtime",
    description="The host: NumPy kernels for every operator, native code for the hot ones",
    version="1.0.0",
    options=OPTIONS,
    install="pip install runtime-ep-cpu",
    probe=lambda: Probe((HOST,)),
)
