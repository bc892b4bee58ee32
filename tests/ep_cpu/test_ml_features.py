"""Feature engineering against plain Python, scikit-learn pipelines and onnxruntime."""

import warnings

import numpy as np
import onnx
import pytest
from evaluate import run_model, run_node
from hypothesis import given
from hypothesis import strategies as st
from peers import by_onnxruntime, run_onnxruntime
from runtime.errors import EngineError

ML = "ai.onnx.ml"
NUMBERS = st.lists(st.integers(-3, 3), min_size=1, max_size=6)


def run(op, inputs, version=1, **attributes):
    return run_node(op, inputs, attributes, version, ML)[0]


def strings(*values):
    return np.array(values, object)


def matrix(*rows, dtype=np.float32):
    return np.array(rows, dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64])
@pytest.mark.parametrize("scale", [[2.0], [2.0, 3.0, 4.0]])
def test_scaling_subtracts_then_multiplies(dtype, scale):
    x = matrix([1, 2, 3], [4, 5, 6], dtype=dtype)
    got = run("Scaler", [x], scale=scale, offset=[1.0] * len(scale))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, (x - 1) * np.array(scale))


@pytest.mark.parametrize("norm", ["MAX", "L1", "L2"])
@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_normalizing_agrees_with_onnxruntime(norm, dtype):
    x = matrix([1, -3, 2], [0, 0, 0], [4, 4, 4], dtype=dtype)
    want = by_onnxruntime("Normalizer", [x], {"norm": norm}, 1, ML)[0]
    got = run("Normalizer", [x], norm=norm)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, rtol=1e-6)
    np.testing.assert_allclose(run("Normalizer", [x[0]], norm=norm), want[0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64])
def test_binarizing_keeps_the_type(dtype):
    got = run("Binarizer", [np.array([0, 1, 2], dtype)], threshold=1.0)
    assert got.dtype == dtype
    assert got.tolist() == [0, 0, 1]


def test_one_value_is_imputed():
    x = matrix([1, -1], [-1, 2])
    got = run(
        "Imputer", [x], imputed_value_floats=[5.0, 6.0], replaced_value_float=-1.0
    )
    assert got.tolist() == [[1, 6], [5, 2]]
    holes = matrix([np.nan, 1], [2, np.nan])
    got = run(
        "Imputer",
        [holes],
        imputed_value_floats=[7.0],
        replaced_value_float=float("nan"),
    )
    assert got.tolist() == [[7, 1], [2, 7]]
    ints = matrix([0, 1], dtype=np.int64)
    got = run("Imputer", [ints], imputed_value_int64s=[9])
    assert got.dtype == np.int64
    assert got.tolist() == [[9, 1]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64])
def test_numbers_become_one_hot(dtype):
    x = np.array([[2, 9], [3, 1]], dtype)
    got = run("OneHotEncoder", [x], cats_int64s=[1, 2, 3])
    assert got.dtype == np.float32
    want = [[[0, 1, 0], [0, 0, 0]], [[0, 0, 1], [1, 0, 0]]]
    assert got.tolist() == want


def test_strings_become_one_hot():
    got = run("OneHotEncoder", [strings("b", "z")], cats_strings=["a", "b"])
    assert got.tolist() == [[0, 1], [0, 0]]
    with pytest.raises(EngineError, match="none of the categories"):
        run("OneHotEncoder", [strings("z")], cats_strings=["a", "b"], zeros=0)


def test_fractions_are_cut_before_encoding():
    got = run("OneHotEncoder", [matrix(1.7, -1.2)], cats_int64s=[1, -1])
    assert got.tolist() == [[1, 0], [0, 1]]


def test_the_first_label_encoder_indexes_a_list():
    attributes = {"classes_strings": ["a", "b"]}
    got = run("LabelEncoder", [strings("b", "q")], **attributes)
    assert got.dtype == np.int64
    assert got.tolist() == [1, -1]
    got = run("LabelEncoder", [np.array([0, 2, -1])], default_string="?", **attributes)
    assert got.tolist() == ["a", "?", "?"]


KEYS = {
    "strings": ["a", "b", "c"],
    "int64s": [3, -1, 7],
    "floats": [0.5, -1.0, 7.25],
}


@pytest.mark.parametrize("source", KEYS)
@pytest.mark.parametrize("target", KEYS)
@pytest.mark.parametrize("version", [2, 4])
def test_labels_of_any_type_map_to_any_other(source, target, version):
    types = {"strings": object, "int64s": np.int64, "floats": np.float32}
    other = {"strings": "zz", "int64s": 99, "floats": 99.0}[source]
    x = np.array([[*KEYS[source][::-1], other]], types[source])
    attributes = {f"keys_{source}": KEYS[source], f"values_{target}": KEYS[target]}
    got = run("LabelEncoder", [x], version, **attributes)
    unknown = {"strings": "_Unused", "int64s": -1, "floats": -0.0}[target]
    assert got.dtype == types[target]
    assert got.tolist() == [[*KEYS[target][::-1], unknown]]
    want = by_onnxruntime("LabelEncoder", [x], attributes, version, ML)[0]
    assert got.tolist() == want.tolist()


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float64, object])
def test_labels_may_be_tensors(dtype):
    tensor = onnx.numpy_helper.from_array
    keys = np.array(["1", "2"] if dtype is object else [1, 2], dtype)
    values = np.array(["3", "4"] if dtype is object else [3, 4], dtype)
    attributes = {"keys_tensor": tensor(keys), "values_tensor": tensor(values)}
    got = run("LabelEncoder", [keys[::-1]], 4, **attributes)
    assert got.dtype == dtype
    assert got.tolist() == values[::-1].tolist()
    attributes["default_tensor"] = tensor(values[:1])
    got = run("LabelEncoder", [values], 4, **attributes)
    assert got.tolist() == values[[0, 0]].tolist()


def test_nan_is_a_label_and_the_last_of_equal_keys_counts():
    x = np.array([np.nan, 1, 2], np.float32)
    keys = [float("nan"), 1.0, 1.0]
    got = run("LabelEncoder", [x], 4, keys_floats=keys, values_int64s=[10, 11, 12])
    assert got.tolist() == [10, 12, -1]


@given(NUMBERS, NUMBERS)
def test_label_encoding_is_a_dictionary(keys, values):
    known = dict(zip(keys, range(len(keys)), strict=True))
    x = np.array(values)
    got = run(
        "LabelEncoder", [x], 2, keys_int64s=keys, values_int64s=list(range(len(keys)))
    )
    assert got.tolist() == [known.get(value, -1) for value in values]


def test_categories_map_both_ways():
    attributes = {"cats_strings": ["a", "b"], "cats_int64s": [5, 6]}
    assert run("CategoryMapper", [strings("b", "q")], **attributes).tolist() == [6, -1]
    got = run("CategoryMapper", [np.array([5, 9])], **attributes)
    assert got.tolist() == ["a", "_Unused"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_features_stand_side_by_side(dtype):
    x, y = matrix([1, 2], [3, 4], dtype=dtype), matrix([5], [6], dtype=dtype)
    for widths in ([2, 1], [3, 1], [1, 1]):
        attributes = {"inputdimensions": widths}
        want = by_onnxruntime("FeatureVectorizer", [x, y], attributes, 1, ML)[0]
        got = run("FeatureVectorizer", [x, y], **attributes)
        assert got.dtype == np.float32
        assert got.tolist() == want.tolist()
    assert run("FeatureVectorizer", [x[0]]).tolist() == [[1, 2]]


def test_columns_are_extracted():
    x = matrix([1, 2, 3], [4, 5, 6])
    chosen = np.array([[2, 0]])
    assert run("ArrayFeatureExtractor", [x, chosen]).tolist() == [[3, 1], [6, 4]]
    assert run("ArrayFeatureExtractor", [x[0], chosen]).tolist() == [[3, 1]]
    words = strings("a", "b")
    assert run("ArrayFeatureExtractor", [words, np.array([1])]).tolist() == [["b"]]


def test_rows_become_maps():
    x = matrix([0.5, 0.25], [1, 2])
    got = run("ZipMap", [x], classlabels_strings=["a", "b"])
    assert got == [{"a": 0.5, "b": 0.25}, {"a": 1.0, "b": 2.0}]
    assert run("ZipMap", [x[0]], classlabels_int64s=[7, 8]) == [{7: 0.5, 8: 0.25}]


def test_a_map_becomes_a_row():
    row = run("DictVectorizer", [{"a": 4.0, "q": 1.0}], string_vocabulary=["b", "a"])
    assert row.dtype == np.float32
    assert row.tolist() == [[0, 4]]
    row = run("DictVectorizer", [{2: 7}], int64_vocabulary=[1, 2])
    assert row.dtype == np.int64
    row = run("DictVectorizer", [{2: "x"}], int64_vocabulary=[1, 2])
    assert row.tolist() == [["", "x"]]
    row = run("DictVectorizer", [{2: np.float64(3)}], int64_vocabulary=[1, 2])
    assert row.dtype == np.float64


def test_map_values_are_cast_in_the_order_of_their_keys():
    found = {3: -2.7, 0: 1.5}
    dense = run("CastMap", [found])
    assert dense.dtype == np.float32
    np.testing.assert_allclose(dense, [[1.5, -2.7]], rtol=1e-6)
    sparse = run("CastMap", [found], map_form="SPARSE", max_map=5, cast_to="TO_INT64")
    assert sparse.dtype == np.int64
    assert sparse.tolist() == [[1, 0, 0, -2, 0]]
    text = run("CastMap", [found], cast_to="TO_STRING")
    assert text.tolist() == [["1.500000", "-2.700000"]]
    assert run("CastMap", [{1: "2.5"}]).tolist() == [[2.5]]


def pipeline():
    compose = pytest.importorskip("sklearn.compose")
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    impute = pytest.importorskip("sklearn.impute")
    linear = pytest.importorskip("sklearn.linear_model")
    sequence = pytest.importorskip("sklearn.pipeline")
    numeric = sequence.make_pipeline(
        impute.SimpleImputer(),
        preprocessing.StandardScaler(),
        preprocessing.Normalizer(),
    )
    columns = compose.ColumnTransformer(
        [
            ("numeric", numeric, [0, 1]),
            ("binary", preprocessing.Binarizer(threshold=0.5), [2]),
            ("onehot", preprocessing.OneHotEncoder(handle_unknown="ignore"), [3]),
        ]
    )
    return sequence.make_pipeline(columns, linear.LogisticRegression())


def test_a_scikit_learn_pipeline_predicts_the_same():
    convert = pytest.importorskip("skl2onnx").to_onnx
    random = np.random.default_rng(0)
    x = random.standard_normal((80, 4)).astype(np.float32)
    x[:, 3] = random.integers(0, 3, 80)
    y = np.where(x[:, 0] + x[:, 3] > 1, "yes", "no")
    x[::7, 1] = np.nan
    estimator = pipeline()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(x, y)
        model = convert(estimator, x[:1], target_opset={"": 18, ML: 3})
    labels, maps = run_model(model, [x])
    assert labels.tolist() == estimator.predict(x).tolist()
    chances = estimator.predict_proba(x)
    got = [[row["no"], row["yes"]] for row in maps]
    np.testing.assert_allclose(got, chances, rtol=1e-3, atol=1e-5)
    theirs = run_onnxruntime(model, {model.graph.input[0].name: x})
    assert labels.tolist() == theirs[0].tolist()


X = matrix([1, 2], [3, 4])


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "message"),
    [
        ("Scaler", [X], {"scale": [1.0] * 3}, "3 values were given for 2 features"),
        ("Normalizer", [X], {"norm": "L3"}, "unknown norm"),
        ("Normalizer", [X[None]], {}, "1 or 2 dims"),
        ("Imputer", [X], {"imputed_value_int64s": [1]}, "imputed_value_floats"),
        ("Imputer", [X], {"imputed_value_floats": [1.0] * 3}, "for 2 features"),
        ("OneHotEncoder", [X], {}, "either cats_int64s or cats_strings"),
        ("OneHotEncoder", [X], {"cats_strings": ["a"]}, "keys are strings"),
        ("CategoryMapper", [X], {"cats_strings": ["a"]}, "same length"),
        ("FeatureVectorizer", [X], {"inputdimensions": [1, 2]}, "for 1 inputs"),
        ("FeatureVectorizer", [X, X[:1]], {}, "number of rows"),
        ("FeatureVectorizer", [X], {"inputdimensions": [-1]}, "holds -1"),
        ("ArrayFeatureExtractor", [X, np.array([2])], {}, "no feature 2"),
        ("ArrayFeatureExtractor", [X, np.array([-1])], {}, "no feature -1"),
        ("ZipMap", [X], {"classlabels_int64s": [1]}, "1 labels do not fit"),
        ("ZipMap", [X], {}, "class labels"),
        ("DictVectorizer", [{}], {}, "one vocabulary"),
        ("CastMap", [{1: 2.0}], {"cast_to": "TO_BOOL"}, "unknown cast_to"),
        ("CastMap", [{7: 2.0}], {"map_form": "SPARSE", "max_map": 3}, "do not fit"),
    ],
)
def test_what_cannot_be_encoded_is_explained(op, inputs, attributes, message):
    with pytest.raises(EngineError, match=message):
        run(op, inputs, **attributes)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"values_int64s": [1]}, "keys_"),
        ({"keys_int64s": [1]}, "values_"),
        ({"keys_int64s": [1], "values_int64s": [1, 2]}, "1 keys were given for 2"),
        ({"keys_strings": ["a"], "values_int64s": [1]}, "keys are strings"),
    ],
)
def test_label_encoders_that_make_no_sense_are_refused(attributes, message):
    with pytest.raises(EngineError, match=message):
        run("LabelEncoder", [X], 2, **attributes)
