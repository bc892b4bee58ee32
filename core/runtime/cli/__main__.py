"""Lets ``python -m runtime.cli`` stand for ``runtime``."""

import sys

from runtime.cli import main

sys.exit(main())
