"""List, check, empty and fill the compile cache."""

from runtime.cli.cache import ls, rm, verify, warm

VERBS = (ls, rm, verify, warm)
ABOUT = """Everything about the compile cache, the folder where providers keep what they
compiled: what is in it, whether it is whole, and making it smaller or ready."""
EXAMPLES = """  runtime cache ls
  runtime cache rm --older-than 30
  runtime cache verify --remove
  runtime cache warm model.onnx -p cpu"""
