"""What is known of the CPU provider without loading a kernel."""

from runtime.plugin import HOST, Probe, ProviderInfo

info = ProviderInfo(
    name="CPUExecutionProvider",
    aliases=("cpu",),
    vendor="runtime",
    description="NumPy kernels on the host, for every operator",
    version="1.0.0",
    install="pip install runtime-ep-cpu",
    probe=lambda: Probe((HOST,)),
)
