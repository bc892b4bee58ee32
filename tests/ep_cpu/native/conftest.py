"""Makes `beside_numpy` importable; without llvmlite there is nothing to test."""

import importlib.util
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "codegen")]

if importlib.util.find_spec("llvmlite") is None:
    collect_ignore_glob = ["test_*.py"]
