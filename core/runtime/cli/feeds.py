"""Turns what the command line says of inputs into arrays to feed."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from runtime.cli.exits import Stop
from runtime.cli.random_inputs import random_input
from runtime.errors import near
from runtime.valuetypes import code_of_name, numpy_dtype


@dataclass(slots=True)
class Case:
    """One set of inputs, and what the outputs should be where that is known."""

    label: str
    feeds: dict[str, Any] = field(default_factory=dict)
    expected: dict[str, Any] = field(default_factory=dict)


def cases(args: Namespace, session: Any) -> list[Case]:
    """Return the cases that ``--inputs`` gives, at least one, each complete.

    Raises `Stop` for a source that cannot be read or does not fit the model.
    """
    folders = [source for source in args.inputs if Path(source).is_dir()]
    if folders:
        if len(folders) < len(args.inputs):
            raise Stop("a test_data_set folder holds every input; give no other source")
        return [case for one in folders for case in _data_sets(Path(one), session)]
    case, words = Case("inputs"), []
    for source in args.inputs:
        if source == "random":
            words.append(source)
            continue
        case.feeds.update(_from_file(source, session))
        words.append(Path(source).name)
    args_in = session.get_inputs()
    known = {arg.name: arg for arg in args_in}
    known |= {arg.name: arg for arg in session.get_overridable_initializers()}
    for name, array in case.feeds.items():
        if name not in known:
            raise Stop(f"the model has no input {name!r}{_choice(name, known)}")
        case.feeds[name] = as_declared(array, known[name].type)
    needed = [arg for arg in args_in if not arg.type.startswith("optional")]
    missing = [arg for arg in needed if arg.name not in case.feeds]
    if missing and args.inputs and "random" not in args.inputs:
        raise Stop(
            f"no data for input{'s' * (len(missing) > 1)} "
            f"{', '.join(arg.name for arg in missing)}; give NAME=file.npy, or add "
            "--inputs random"
        )
    case.feeds |= _generated(args, missing, args_in)
    case.label = ", ".join(words) if words else f"random, seed {args.seed}"
    return [case]


def _choice(name: str, known: Mapping[str, Any]) -> str:
    return near(name, known) or f" (it has {', '.join(known) or 'none'})"


def _generated(
    args: Namespace, missing: Sequence[Any], declared: Sequence[Any]
) -> dict[str, Any]:
    names = {arg.name for arg in declared}
    for name, _ in args.shapes:
        if name not in names:
            raise Stop(f"--shape: the model has no input {name!r}{near(name, names)}")
    symbols = {dim for arg in declared for dim in arg.shape if isinstance(dim, str)}
    for symbol, _ in args.dims:
        if symbol not in symbols and not any(symbol in each for each in symbols):
            told = near(symbol, symbols) or f" (it has {', '.join(sorted(symbols))})"
            raise Stop(
                f"--dim: the model's inputs have no symbolic dim {symbol!r}"
                f"{told if symbols else ': all their dims are fixed'}"
            )
    rng = np.random.default_rng(args.seed)
    shapes, dims = dict(args.shapes), dict(args.dims)
    return {
        arg.name: random_input(arg, rng, dims, shapes.get(arg.name)) for arg in missing
    }


def _from_file(source: str, session: Any) -> dict[str, Any]:
    """Return what one file holds, by input."""
    name, equals, file = source.partition("=")
    path = Path(file if equals else source)
    if not path.exists():
        hint = "" if path.suffix else "; give a file, a folder, NAME=file.npy or random"
        raise Stop(f"--inputs {source}: {path} does not exist{hint}")
    if path.suffix == ".npz":
        return {f"{name}": array for name, array in read_npz(path).items()}
    if path.suffix not in (".npy", ".pb"):
        raise Stop(f"--inputs {source}: {path} is no .npz, .npy or .pb file")
    inputs = session.get_inputs()
    if not equals:
        if len(inputs) != 1:
            names = ", ".join(arg.name for arg in inputs)
            raise Stop(f"{source} is for which input ({names})? Write NAME={source}")
        name = inputs[0].name
    if path.suffix == ".npy":
        return {name: _read_npy(path)}
    kinds = {arg.name: arg.type for arg in inputs}
    return {name: read_pb(path, kinds.get(name, "tensor(float)"))}


def read_npz(path: Path) -> dict[str, Any]:
    """Return the arrays of an npz file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception as error:
        raise Stop(f"{path} is no readable .npz file: {error}") from error


def _read_npy(path: Path) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except Exception as error:
        raise Stop(f"{path} is no readable .npy file: {error}") from error


def read_pb(path: Path, kind: str) -> Any:
    """Return the value of a protobuf file, which the model declares as ``kind``."""
    import onnx
    from onnx import numpy_helper as helper

    data = path.read_bytes()
    try:
        if kind.startswith("optional"):
            return helper.to_optional(onnx.OptionalProto.FromString(data))
        if kind.startswith("seq(map"):
            return [
                helper.to_dict(value)
                for value in onnx.SequenceProto.FromString(data).map_values
            ]
        if kind.startswith("seq"):
            return helper.to_list(onnx.SequenceProto.FromString(data))
        if kind.startswith("map"):
            return helper.to_dict(onnx.MapProto.FromString(data))
        return helper.to_array(onnx.TensorProto.FromString(data))
    except Exception as error:
        raise Stop(f"{path} holds no {kind}: {error}") from error


def _data_sets(folder: Path, session: Any) -> list[Case]:
    """Read a ``test_data_set_N`` folder, or every one in a folder, as ONNX lays it out."""
    if any(folder.glob("*_0.pb")):
        return [_data_set(folder, session)]
    found = sorted(
        (each for each in folder.glob("test_data_set_*") if each.is_dir()),
        key=lambda each: (len(each.name), each.name),
    )
    if not found:
        raise Stop(f"{folder} holds neither input_0.pb nor a test_data_set_0 folder")
    return [_data_set(each, session) for each in found]


def _data_set(folder: Path, session: Any) -> Case:
    inputs, outputs = session.get_inputs(), session.get_outputs()
    return Case(
        folder.name,
        _numbered(folder, "input", inputs),
        _numbered(folder, "output", outputs),
    )


def _numbered(folder: Path, word: str, declared: Sequence[Any]) -> dict[str, Any]:
    found = {}
    for path in folder.glob(f"{word}_*.pb"):
        number = path.stem.removeprefix(f"{word}_")
        if not number.isdecimal() or int(number) >= len(declared):
            raise Stop(f"{path}: the model has {len(declared)} {word}s, counted from 0")
        arg = declared[int(number)]
        found[arg.name] = read_pb(path, arg.type)
    return found


def as_declared(array: Any, kind: str) -> Any:
    """Give an array its declared type where NumPy's own files could not keep it."""
    if not kind.startswith("tensor(") or getattr(array, "dtype", None) is None:
        return array
    want = numpy_dtype(code_of_name(kind[7:-1]))
    if array.dtype.kind == "V" and array.dtype.itemsize == want.itemsize:
        return array.view(want)
    return array


def described(value: Any) -> tuple[str, str]:
    """Return a value's type and shape, for tables."""
    if isinstance(value, np.ndarray):
        name = "string" if value.dtype.kind in "OUST" else str(value.dtype)
        return name, "×".join(map(str, value.shape)) or "scalar"
    if isinstance(value, (list, tuple)):
        return "sequence", f"{len(value)} long"
    if isinstance(value, dict):
        return "map", f"{len(value)} keys"
    return type(value).__name__, ""
