"""List, describe, test and write execution providers."""

from runtime.cli.ep import info, list, new, test

VERBS = (list, info, test, new)
ABOUT = """Everything about execution providers: which are installed and usable, what one
can be told, whether it passes the conformance kit, and the start of a new one."""
EXAMPLES = """  runtime ep list
  runtime ep info cpu
  runtime ep test acme --xfails xfails.txt
  runtime ep new acme"""
