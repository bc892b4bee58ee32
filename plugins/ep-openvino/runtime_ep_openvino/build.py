"""Compiles a partition: converted or taken from the cache, then made ready to run."""

from __future__ import annotations

from runtime.plugin import Partition, Unsupported
from runtime.settings import Settings

from runtime_ep_openvino.frontend import model_of
from runtime_ep_openvino.options import chosen
from runtime_ep_openvino.program import Program
from runtime_ep_openvino.tensors import engine, first_line


def build(partition: Partition, settings: Settings) -> Program:
    choice = chosen(settings)
    held = [v.constant() for v in partition.constants]

    def make(shapes):
        try:
            return engine().compile_model(
                model_of(partition), choice.device, dict(choice.properties)
            )
        except RuntimeError as error:
            raise Unsupported(first_line(error)) from error

    return Program(make, partition, choice.static, {}, held)
