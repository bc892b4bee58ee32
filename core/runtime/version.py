"""The version, read from nowhere at import."""

__version__ = "1.0.0"
