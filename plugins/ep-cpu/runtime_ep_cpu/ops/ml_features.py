"""Feature engineering of ai.onnx.ml: scaling, encoding, and maps to and from tensors."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from runtime.kernels import KernelTable
from runtime.valuetypes import MapType, TensorType, numpy_dtype

from runtime_ep_cpu.limits import check_size
from runtime_ep_cpu.ops._lookup import Lookup, lookup
from runtime_ep_cpu.ops._scores import class_labels

table = KernelTable()

ML = "ai.onnx.ml"
UNUSED = "_Unused"


@table("Scaler", since=1, domain=ML)
@np.errstate(all="ignore")
def scaler(x, /, *, offset=None, scale=None):
    """Scaler-1: (x - offset) × scale in float32, per feature or for all."""
    wide = x if x.dtype == np.float32 else x.astype(np.float64)
    scaled = (wide - _per_feature(offset, x, 0.0)) * _per_feature(scale, x, 1.0)
    return scaled.astype(np.float32, copy=False)


def _per_feature(values: Any, x: Any, default: float) -> np.ndarray:
    array = np.array([default] if values is None else values, np.float32)
    features = x.shape[-1] if x.ndim else 1
    if len(array) not in (1, features):
        raise ValueError(f"{len(array)} values were given for {features} features")
    return array


@table("Normalizer", since=1, domain=ML)
@np.errstate(all="ignore")
def normalizer(x, /, *, norm="MAX"):
    """Normalizer-1: float32 rows divided by their maximum, L1 or L2 norm, if not 0."""
    if x.ndim not in (1, 2):
        raise ValueError(f"Normalizer takes 1 or 2 dims, found {x.ndim}")
    wide = x if x.dtype == np.float32 else x.astype(np.float64)
    if norm == "MAX":
        divisor = wide.max(axis=-1, keepdims=True, initial=-np.inf)
    elif norm == "L1":
        divisor = np.abs(wide).sum(axis=-1, keepdims=True)
    elif norm == "L2":
        divisor = np.sqrt((wide * wide).sum(axis=-1, keepdims=True))
    else:
        raise ValueError(f"unknown norm {norm!r}")
    scaled = wide / np.where(divisor == 0, np.ones_like(divisor), divisor)
    return scaled.astype(np.float32, copy=False)


@table("Binarizer", since=1, domain=ML)
def binarizer(x, /, *, threshold=0.0):
    """Binarizer-1: 1 above the threshold, else 0, in the input's type."""
    return (x > threshold).astype(x.dtype)


@table("Imputer", since=1, domain=ML)
@np.errstate(all="ignore")
def imputer(
    x,
    /,
    *,
    imputed_value_floats=None,
    imputed_value_int64s=None,
    replaced_value_float=0.0,
    replaced_value_int64=0,
):
    """Imputer-1: one value, NaN included, is replaced by each feature's own."""
    floating = x.dtype.kind == "f"
    values = imputed_value_floats if floating else imputed_value_int64s
    replaced = replaced_value_float if floating else replaced_value_int64
    if not values:
        kind = "floats" if floating else "int64s"
        raise ValueError(f"Imputer needs imputed_value_{kind} for {x.dtype} inputs")
    features = x.shape[-1] if x.ndim else 1
    if len(values) not in (1, features):
        raise ValueError(f"{len(values)} values were given for {features} features")
    missing = np.isnan(x) if replaced != replaced else x == x.dtype.type(replaced)
    return np.where(missing, np.array(values, x.dtype), x)


@table("OneHotEncoder", since=1, domain=ML)
@np.errstate(all="ignore")
def one_hot_encoder(x, /, *, cats_int64s=None, cats_strings=None, zeros=1):
    """OneHotEncoder-1: float32 with one dim more; numbers are cut to integers."""
    if bool(cats_int64s) == bool(cats_strings):
        raise ValueError("OneHotEncoder needs either cats_int64s or cats_strings")
    categories = cats_int64s or cats_strings
    keys = lookup(categories)
    found = keys.find(x if x.dtype.kind in "OUSiu" else np.trunc(x))
    if not zeros and (found < 0).any():
        worst = x.reshape(-1)[int(found.reshape(-1).argmin())]
        raise ValueError(f"{worst!r} is none of the categories")
    check_size((*x.shape, len(categories)), np.float32)
    result = np.zeros((found.size, len(categories)), np.float32)
    rows = np.flatnonzero(found >= 0)
    result[rows, found.reshape(-1)[rows]] = 1
    return result.reshape(*x.shape, len(categories))


@table("LabelEncoder", since=1, domain=ML)
def label_encoder_1(
    x, /, *, classes_strings=None, default_int64=-1, default_string=UNUSED
):
    """LabelEncoder-1: strings to their place in a list, or places to strings."""
    classes = classes_strings or ()
    if x.dtype.kind in "OUS":
        found = lookup(classes).find(x) if classes else np.full(x.shape, -1)
        return np.where(found < 0, default_int64, found)
    known = (x >= 0) & (x < len(classes))
    found = np.where(known, x, -1)
    return _chosen(found, _strings(classes), default_string)


@table("CategoryMapper", since=1, domain=ML)
def category_mapper(
    x,
    /,
    *,
    cats_int64s=None,
    cats_strings=None,
    default_int64=-1,
    default_string=UNUSED,
):
    """CategoryMapper-1: strings to integers or back, by two parallel lists."""
    if len(cats_int64s or ()) != len(cats_strings or ()) or not cats_strings:
        raise ValueError("cats_int64s and cats_strings must be of the same length")
    if x.dtype.kind in "OUS":
        found = lookup(cats_strings).find(x)
        return _chosen(found, np.array(cats_int64s, np.int64), default_int64)
    return _chosen(lookup(cats_int64s).find(x), _strings(cats_strings), default_string)


def _strings(values: Any) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _chosen(found: np.ndarray, values: np.ndarray, default: Any) -> np.ndarray:
    """Return the values at the positions found, and the default at -1."""
    last = np.empty(1, values.dtype)
    last[0] = default
    return np.concatenate([values, last]).take(found, axis=0, mode="wrap")


@table("LabelEncoder", since=2, domain=ML)
def label_encoder_2(
    x,
    /,
    *,
    default_float=-0.0,
    default_int64=-1,
    default_string=UNUSED,
    keys_floats=None,
    keys_int64s=None,
    keys_strings=None,
    values_floats=None,
    values_int64s=None,
    values_strings=None,
):
    """LabelEncoder-2: any of strings, int64 and float32 to any of them."""
    return label_encoder(
        x,
        default_float=default_float,
        default_int64=default_int64,
        default_string=default_string,
        keys_floats=keys_floats,
        keys_int64s=keys_int64s,
        keys_strings=keys_strings,
        values_floats=values_floats,
        values_int64s=values_int64s,
        values_strings=values_strings,
    )


@table("LabelEncoder", since=4, domain=ML)
def label_encoder(
    x,
    /,
    *,
    default_float=-0.0,
    default_int64=-1,
    default_string=UNUSED,
    default_tensor=None,
    keys_floats=None,
    keys_int64s=None,
    keys_strings=None,
    keys_tensor=None,
    values_floats=None,
    values_int64s=None,
    values_strings=None,
    values_tensor=None,
):
    """LabelEncoder-4: keys and values may be tensors of more types."""
    keys = _key_lookup(keys_floats, keys_int64s, keys_strings, keys_tensor)
    if values_tensor is not None:
        values = values_tensor.reshape(-1)
        default = _default(values, default_tensor)
    elif values_strings is not None:
        values, default = _strings(values_strings), default_string
    elif values_int64s is not None:
        values, default = np.array(values_int64s, np.int64), default_int64
    elif values_floats is not None:
        values, default = np.array(values_floats, np.float32), default_float
    else:
        raise ValueError("LabelEncoder needs one of the values_* attributes")
    if len(values) != keys.count:
        raise ValueError(f"{keys.count} keys were given for {len(values)} values")
    return _chosen(keys.find(x), values, default)


def _key_lookup(floats: Any, ints: Any, strings: Any, tensor: Any) -> Lookup:
    if tensor is not None:
        return lookup(tensor)
    if strings is not None:
        return lookup(strings)
    if ints is not None:
        return lookup(ints, np.int64)
    if floats is not None:
        return lookup(floats, np.float32)
    raise ValueError("LabelEncoder needs one of the keys_* attributes")


def _default(values: np.ndarray, given: Any) -> Any:
    if given is not None and given.size:
        return given.reshape(-1)[0]
    if values.dtype.kind in "OUS":
        return UNUSED
    return -0.0 if values.dtype.kind == "f" else -1


@table("FeatureVectorizer", since=1, domain=ML)
def feature_vectorizer(*columns, inputdimensions=None):
    """FeatureVectorizer-1: inputs side by side, cut or padded to given widths."""
    widths = inputdimensions or [column.shape[-1] for column in columns]
    if not columns or len(widths) != len(columns):
        raise ValueError(f"{len(widths)} inputdimensions for {len(columns)} inputs")
    tables = [column[None] if column.ndim == 1 else column for column in columns]
    if any(part.ndim != 2 or len(part) != len(tables[0]) for part in tables):
        raise ValueError("the inputs must be 2-D, with the same number of rows")
    if min(widths) < 0:
        raise ValueError(f"inputdimensions holds {min(widths)}")
    shape = (len(tables[0]), sum(widths))
    check_size(shape, np.float32)
    result = np.zeros(shape, np.float32)
    first = 0
    for part, width in zip(tables, widths, strict=True):
        used = min(width, part.shape[1])
        result[:, first : first + used] = part[:, :used]
        first += width
    return result


@table("ArrayFeatureExtractor", since=1, domain=ML, traits=("moves",))
def array_feature_extractor(x, indices, /):
    """ArrayFeatureExtractor-1: columns by number; a vector counts as one row."""
    rows = x[None] if x.ndim == 1 else x
    if not x.ndim:
        raise ValueError("a scalar has no features")
    chosen = indices.reshape(-1)
    outside = (chosen < 0) | (chosen >= rows.shape[-1])
    if outside.any():
        raise IndexError(
            f"there is no feature {int(chosen[outside][0])} among {rows.shape[-1]}"
        )
    return rows.take(chosen, axis=-1)


@table("ZipMap", since=1, domain=ML, traits=("moves",))
def zip_map(x, /, *, classlabels_int64s=None, classlabels_strings=None):
    """ZipMap-1: each row becomes a map from labels to its values."""
    labels = class_labels(classlabels_int64s, classlabels_strings).tolist()
    rows = x[None] if x.ndim == 1 else x
    if rows.ndim != 2 or rows.shape[1] != len(labels):
        raise ValueError(f"{len(labels)} labels do not fit a {list(x.shape)} input")
    made: list[dict[Any, Any]] = _mapping(tuple(labels))(rows.tolist())
    return made


@cache
def _mapping(labels: tuple[Any, ...]) -> Callable[[list[Any]], list[Any]]:
    """Return what turns rows into maps from labels, which are written out as in a display
    of a dict: five times as fast as pairing them row by row, and as safe as their repr."""
    names = ", ".join(f"v{i}" for i in range(len(labels)))
    pairs = ", ".join(f"{label!r}: v{i}" for i, label in enumerate(labels))
    function: Callable[[list[Any]], list[Any]] = eval(
        f"lambda rows: [{{{pairs}}} for {names}, in rows]"
    )
    return function


@table("DictVectorizer", since=1, domain=ML, traits=("moves",))
def dict_vectorizer(x, /, *, int64_vocabulary=None, string_vocabulary=None, call=None):
    """DictVectorizer-1: a map to one row [1, vocabulary], absent keys being 0.

    The standard says 1-D; the row is what onnxruntime gives and converters count on.
    """
    if bool(int64_vocabulary) == bool(string_vocabulary):
        raise ValueError("DictVectorizer needs one vocabulary: of ints or of strings")
    vocabulary = int64_vocabulary or string_vocabulary
    dtype = _value_type(x, call)
    empty = "" if dtype.kind == "O" else 0
    row = np.empty((1, len(vocabulary)), dtype)
    row[0] = [x.get(key, empty) for key in vocabulary]
    return row


def _value_type(mapping: Any, call: Any) -> Any:
    """Return the element type of a map's values: declared, or by their looks."""
    declared = call.node.inputs[0].type if call is not None else None
    if isinstance(declared, MapType) and isinstance(declared.value, TensorType):
        return numpy_dtype(declared.value.dtype)
    value = next(iter(mapping.values()), 0.0)
    if isinstance(value, str):
        return np.dtype(object)
    if isinstance(value, np.generic):
        return value.dtype
    return np.dtype(np.int64 if isinstance(value, int) else np.float32)


@table("CastMap", since=1, domain=ML, traits=("moves",))
def cast_map(x, /, *, cast_to="TO_FLOAT", map_form="DENSE", max_map=1):
    """CastMap-1: a map's values as one row [1, values], ordered by their keys.

    ``SPARSE`` puts each value at its key, in a row of ``max_map``.
    """
    casts = {"TO_FLOAT": np.float32, "TO_INT64": np.int64, "TO_STRING": object}
    if cast_to not in casts or map_form not in ("DENSE", "SPARSE"):
        raise ValueError(f"unknown cast_to {cast_to!r} or map_form {map_form!r}")
    keys = sorted(x)
    sparse = map_form == "SPARSE"
    if sparse and keys and not 0 <= keys[0] <= keys[-1] < max_map:
        raise IndexError(f"keys {keys[0]} to {keys[-1]} do not fit a row of {max_map}")
    width = max_map if sparse else len(keys)
    check_size((1, width), casts[cast_to])
    row = np.full((1, width), "0" if cast_to == "TO_STRING" else 0, casts[cast_to])
    row[0, keys if sparse else slice(None)] = [_cast(x[k], cast_to) for k in keys]
    return row


def _cast(value: Any, cast_to: str) -> Any:
    if cast_to == "TO_STRING":
        return value if isinstance(value, str) else f"{value:f}"
    number = float(value)
    return int(number) if cast_to == "TO_INT64" else number
