"""Folders of packages, which go with who holds them."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path


class Folder:
    """A new folder for one package; it is removed when it is closed or forgotten."""

    def __init__(self) -> None:
        made = Path(tempfile.mkdtemp(prefix="runtime-coreml-"))
        self.package = made / "model.mlpackage"
        self._remove = weakref.finalize(self, shutil.rmtree, made, True)

    def close(self) -> None:
        """Remove the folder and what is in it."""
        self._remove()
