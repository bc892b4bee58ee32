"""Makes `driver` importable by the tests of generated code."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
