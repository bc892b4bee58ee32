"""Engines of one partition: taken from where they are kept, or built and kept."""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto
from onnx.helper import tensor_dtype_to_np_dtype
from runtime.cache import CompileCache
from runtime.plugin import Partition, Unsupported
from runtime.settings import Settings
from runtime_ep_cuda.driver import Driver

from runtime_ep_tensorrt.adapter import Api, Engine
from runtime_ep_tensorrt.autocast import autocast
from runtime_ep_tensorrt.carve import carved
from runtime_ep_tensorrt.info import NAME, info
from runtime_ep_tensorrt.options import Choice
from runtime_ep_tensorrt.orders import BuildFailed, Order, Ranges
from runtime_ep_tensorrt.profiles import same
from runtime_ep_tensorrt.progress import Bar
from runtime_ep_tensorrt.records import Entry, Files, Record, Store, write

logger = logging.getLogger("runtime.tensorrt")

LARGEST = 2_000_000_000
"""Bytes of a model as protobuf; weights of larger ones are handed over apart from it."""


class Engines:
    """Makes engines of a partition for ranges of shapes.

    ``facts`` is for `explain()`; ``built`` counts how many were built and not found.
    """

    def __init__(
        self,
        partition: Partition,
        settings: Settings,
        choice: Choice,
        api: Api,
        driver: Driver,
    ) -> None:
        self._choice = choice
        self._api = api
        self._driver = driver
        self._cache = CompileCache.of(settings)
        self.built = 0
        self.facts: dict[str, str] = {"engine": f"TensorRT {api.version}"}
        model = self._precise(carved(partition, partition.graph.name or "main"))
        self._weights, self._model = _apart(model, choice.apart)
        self._content = _content(self._model, self._weights)
        sm = driver.properties.sm
        self._capability = "80+" if choice.build.any_hardware else str(sm)
        self.name = self._named(partition)
        self._store = self._kept()
        if choice.dump is not None:
            write(choice.dump / f"{self.name}.onnx", self._model)

    def _precise(self, model: ModelProto) -> ModelProto:
        """Return the model in the precision that was asked for."""
        build = self._choice.build
        self.facts["precision"] = "float32"
        if build.half is None:
            return model
        try:
            made = autocast(model, build.half, build.wishes)
        except ValueError as error:
            raise Unsupported(str(error)) from error
        self.facts["precision"] = build.suffix.lstrip("_").partition("_")[0]
        self.facts["islands"] = f"{len(made.islands)} of {len(model.graph.node)} nodes"
        for name, reason in made.islands.items():
            logger.debug("%s stays in float32: %s", name, reason)
        return made.model

    def _named(self, partition: Partition) -> str:
        """Return the name of files, as onnxruntime makes it."""
        graph = re.sub(r"\W+", "_", partition.graph.name or "main")
        nodes = list(partition.graph)
        first = nodes.index(partition.nodes[0]) if partition.nodes[0] in nodes else 0
        build, digest = self._choice.build, int(self._content[:16], 16)
        begin = self._choice.prefix or f"{NAME}_TRTKernel_graph_{graph}"
        name = f"{begin}_{digest}_{first}_{first}{build.suffix}_sm{self._capability}"
        return f"{name}.stripped" if build.stripped else name

    @property
    def key(self) -> str:
        """A hash of all that an engine depends on but its ranges."""
        parts = (
            info.version, self._api.version, self._capability, self._content,
            self._choice.build, self._choice.plugins,
        )  # fmt: skip
        return hashlib.blake2b(repr(parts).encode(), digest_size=20).hexdigest()

    @property
    def place(self) -> str:
        """The key of the cache's entry: each set of told ranges has one of its own."""
        parts = (self.key, self._choice.profiles)
        return hashlib.blake2b(repr(parts).encode(), digest_size=20).hexdigest()

    def _kept(self) -> Store:
        if self._choice.files is not None:
            return Files(self._choice.files, self.name)
        return Entry(self._cache, self.place)

    def stored(self) -> Sequence[Ranges] | None:
        """Return what the engine that is kept was built for, if there is one."""
        record = self._store.get()
        return None if record is None or self._stale(record) else record.ranges

    def _stale(self, record: Record) -> str:
        """Say why an engine that is kept is of no use, or return ``""``."""
        if record.version != self._api.version:
            return f"it was built by TensorRT {record.version}"
        if record.capability != self._capability:
            return f"it was built for compute capability {record.capability}"
        return "" if record.key == self.key else "the model or the options differ"

    def make(self, ranges: Sequence[Ranges]) -> tuple[Engine, Record]:
        """Return an engine for exactly these ranges. Raises `BuildFailed`."""
        lock = self._cache.lock(self.place) if self._cache.enabled else nullcontext()
        with lock:
            record = self._store.get()
            if record is not None and (engine := self._taken(record, ranges)):
                self.facts["source"] = "loaded from the engine cache"
                return engine, record
            record = self._built(ranges)
            engine = self._load(record)
            self._store.put(record)
            self.facts["source"] = "built"
            return engine, record

    def _taken(self, record: Record, ranges: Sequence[Ranges]) -> Engine | None:
        """Return the engine that is kept, where it is what is wanted and loads."""
        stale = self._stale(record)
        if not stale and not same(record.ranges, ranges):
            stale = "its profiles are others"
        if not stale:
            try:
                return self._load(record)
            except BuildFailed as error:
                stale = str(error)
        logger.warning("the engine %s is built anew: %s", self.name, stale)
        return None

    def _load(self, record: Record) -> Engine:
        weights = self._whole() if self._choice.build.stripped else None
        with self._driver.using(0):
            trusted = self._choice.build.any_version
            return self._api.load(record.engine, weights, trusted)

    def _whole(self) -> bytes:
        """Return the model with its weights, which a stripped engine is filled from."""
        model = ModelProto.FromString(self._model)
        if sum(map(_size, model.graph.initializer)) >= LARGEST:
            raise BuildFailed(
                "an engine without weights takes them from a model of less than 2 GB; "
                "leave trt_weight_stripped_engine_enable out"
            )
        for tensor in model.graph.initializer:
            if tensor.name in self._weights:
                tensor.ClearField("external_data")
                tensor.ClearField("data_location")
                tensor.raw_data = self._weights[tensor.name].tobytes()
        whole: bytes = model.SerializeToString()
        return whole

    def _built(self, ranges: Sequence[Ranges]) -> Record:
        began, timing = time.perf_counter(), self._timing()
        order = Order(
            self._model,
            self._choice.build,
            ranges,
            self._weights,
            None if timing is None else _read(timing),
            self._choice.any_timing,
            Bar(self.name),
        )
        with self._driver.using(0):
            made = self._api.build(order)
        self.built += 1
        if timing is not None and made.timing is not None:
            write(timing, made.timing)
        seconds = time.perf_counter() - began
        logger.info("the engine %s was built in %.1f s", self.name, seconds)
        return Record(
            self.key, self._api.version, self._capability, tuple(ranges), made.engine
        )

    def _timing(self) -> Path | None:
        folder = self._choice.timing
        if folder is None:
            return None
        return folder / f"{NAME}_cache_sm{self._driver.properties.sm}.timing"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _apart(
    model: ModelProto, wanted: bool
) -> tuple[Mapping[str, np.ndarray[Any, Any]], bytes]:
    """Return weights that are handed over apart from the model, as bytes, and the model."""
    if not wanted and sum(map(_size, model.graph.initializer)) < LARGEST:
        return {}, model.SerializeToString()
    weights = {}
    for tensor in model.graph.initializer:
        if np.prod(tensor.dims) > 256 and tensor.HasField("raw_data"):
            array = np.frombuffer(tensor.raw_data, np.uint8)
            weights[tensor.name] = array
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", "weights"), ("length", str(array.nbytes))):
                tensor.external_data.add(key=key, value=value)
    return weights, model.SerializeToString()


def _size(tensor: TensorProto) -> int:
    """Return a tensor's bytes at most; protobuf tells no size that it cannot write."""
    width = int(tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
    return int(np.prod(tensor.dims, dtype=np.int64)) * width


def _content(model: bytes, weights: Mapping[str, np.ndarray[Any, Any]]) -> str:
    digest = hashlib.blake2b(model, digest_size=20)
    for name, array in weights.items():
        digest.update(name.encode())
        digest.update(array.data)
    return digest.hexdigest()
