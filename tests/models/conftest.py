"""Makes `exported` and `twins` importable by the tests of exported models."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
