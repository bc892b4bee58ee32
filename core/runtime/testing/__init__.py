"""The conformance kit: whether an execution provider does what the runtime relies on.

Run it against any provider, from anywhere::

    pytest -p runtime.testing.plugin --pyargs runtime.testing --ep NAME
"""
