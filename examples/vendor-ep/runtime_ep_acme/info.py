"""What is known of the provider without loading it: options, devices, availability."""

from runtime.plugin import Device, Option, Probe, ProviderInfo

DEVICES = tuple(Device("acme", index) for index in range(2))


def probe() -> Probe:
    """Look for devices; a real one asks its driver, and leaves nothing behind.

    What is missing is told as ``Probe(reason="libacme.so.1 not found", remedy="…")``.
    """
    return Probe(DEVICES)


def _is_device(index: int) -> None:
    if not 0 <= index < len(DEVICES):
        raise ValueError(f"there are devices 0 to {len(DEVICES) - 1}")


info = ProviderInfo(
    name="AcmeExecutionProvider",
    aliases=("acme",),
    vendor="Acme",
    description="MatMul + Add + Relu in one call, on a simulated device",
    api=((1, 0), (1, 999)),
    options={
        "device_id": Option(int, 0, "the device that runs the model", check=_is_device),
        "accumulate": Option(("float32", "float64"), "float32", "type of the sums"),
    },
    device_kinds=("acme",),
    install="pip install runtime-ep-acme",
    probe=probe,
)
