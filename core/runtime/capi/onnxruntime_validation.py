"""What onnxruntime's package checks of itself when it is imported: here there is nothing."""

from runtime.api.package import cuda_version, package_name, version

__all__ = ["check_distro_info", "get_package_name_and_version_info"]


def check_distro_info() -> None:
    """Do nothing: nothing here depends on the distribution of the system."""


def get_package_name_and_version_info() -> tuple[str, str, str]:
    """Return the package's name and version, and the CUDA it was built for."""
    return package_name, version, cuda_version
