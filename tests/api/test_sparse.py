"""SparseTensor: what goes in comes out, in every layout, alone and as an OrtValue."""

import numpy as np
import pytest
import runtime as ort

VALUES = np.array([1, 2, 3], np.float32)
DENSE = np.array([[0, 1, 0], [0, 0, 2], [0, 0, 3]], np.float32)
PLACE = ort.OrtDevice.make("cpu", 0)
MADE = [
    ort.SparseTensor.sparse_coo_from_numpy([3, 3], VALUES, np.array([1, 5, 8]), PLACE),
    ort.SparseTensor.sparse_coo_from_numpy(
        [3, 3], VALUES, np.array([[0, 1], [1, 2], [2, 2]]), PLACE
    ),
    ort.SparseTensor.sparse_csr_from_numpy(
        [3, 3], VALUES, np.array([1, 2, 2]), np.array([0, 1, 2, 3]), PLACE
    ),
]


@pytest.mark.parametrize("tensor", MADE)
def test_the_same_tensor_is_told_in_every_layout(tensor):
    assert tensor.numpy().tolist() == DENSE.tolist()
    assert tensor.values().tolist() == [1, 2, 3]
    assert tensor.dense_shape() == [3, 3]
    assert tensor.data_type() == "sparse_tensor(float)"
    with pytest.raises(ValueError, match="read-only"):
        tensor.values()[0] = 0


@pytest.mark.parametrize("tensor", MADE)
def test_a_value_holds_a_sparse_tensor_and_gives_it_back(tensor):
    value = ort.OrtValue.ort_value_from_sparse_tensor(tensor)
    assert value.as_sparse_tensor() is tensor
    assert value.is_sparse_tensor()
    assert not value.is_tensor()
    with pytest.raises(RuntimeError, match="sparse"):
        value.numpy()
    with pytest.raises(RuntimeError, match="no sparse tensor"):
        ort.OrtValue.ortvalue_from_numpy(VALUES).as_sparse_tensor()


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (
            lambda s: s.sparse_coo_from_numpy([3, 3], VALUES, np.array([1, 2])),
            "2 coord",
        ),
        (
            lambda s: s.sparse_coo_from_numpy([3, 3], VALUES, np.array([1, 2, 9])),
            "outsi",
        ),
        (lambda s: s.sparse_coo_from_numpy([9], VALUES, np.ones((3, 2))), "two dims"),
        (
            lambda s: s.sparse_csr_from_numpy(
                [3, 3], VALUES, np.array([1, 2]), np.array([0, 1, 2, 3])
            ),
            "2 columns",
        ),
        (
            lambda s: s.sparse_csr_from_numpy(
                [3, 3], VALUES, np.array([1, 2, 2]), np.array([0, 3])
            ),
            "row starts",
        ),
    ],
)
def test_indices_that_do_not_fit_are_refused(make, match):
    with pytest.raises(RuntimeError, match=match):
        make(ort.SparseTensor)
