"""Runs a program, or a module with ``-m``, for which onnxruntime is this runtime.

usage: python -m runtime.as_onnxruntime PROGRAM [ARGUMENT ...]
       python -m runtime.as_onnxruntime -m MODULE [ARGUMENT ...]
"""

from __future__ import annotations

import os
import runpy
import sys

from runtime.as_onnxruntime import as_onnxruntime


def main() -> int:
    """Run what the command line names; return 2 where it names nothing."""
    given = sys.argv[1:]
    if not given or given[0] in ("-h", "--help") or given == ["-m"]:
        sys.stderr.write((__doc__ or "").partition("\n\n")[2])
        return 2
    as_onnxruntime()
    if given[0] == "-m":
        sys.argv = given[1:]
        sys.path.insert(0, os.getcwd())
        runpy.run_module(given[1], run_name="__main__", alter_sys=True)
        return 0
    sys.argv = given
    sys.path.insert(0, os.path.dirname(os.path.abspath(given[0])))
    runpy.run_path(given[0], run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main())
