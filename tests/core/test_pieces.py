"""A file read piece by piece gives its bytes, or an error once it was written anew."""

import os

import numpy as np
import pytest
from runtime import errors
from runtime.pieces import FilePieces
from runtime.weights import split

CONTENT = np.random.default_rng(3).integers(0, 256, 40_000, np.uint8).tobytes()


@pytest.fixture
def path(tmp_path):
    found = tmp_path / "file.bin"
    found.write_bytes(CONTENT)
    return found


def test_an_index_gives_a_byte_wherever_it_lies(path):
    pieces = FilePieces(path)
    assert len(pieces) == len(CONTENT)
    for place in (0, 39_999, 16_383, 16_384, 1, 20_000):
        assert pieces[place] == CONTENT[place]
    with pytest.raises(IndexError):
        pieces[40_000]


def test_a_slice_gives_a_piece_that_is_read_when_asked_for(path):
    piece = FilePieces(path)[100:30_000]
    assert len(piece) == 29_900
    assert bytes(piece) == CONTENT[100:30_000]
    assert piece.read().tobytes() == CONTENT[100:30_000]


def test_a_piece_is_read_into_the_room_it_is_given(path):
    room = np.zeros(50, np.uint8)
    read = FilePieces(path)[7:27].read(room)
    assert np.shares_memory(read, room)
    assert room.tobytes() == CONTENT[7:27] + bytes(30)


def test_pieces_are_the_same_if_file_and_place_are(path):
    first, second = FilePieces(path), FilePieces(path)
    assert first[3:9].key == second[3:9].key
    assert first[3:9].key != first[4:9].key


def cut_short(path):
    os.truncate(path, 50)


def written_over(path):
    path.write_bytes(CONTENT[::-1])
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))


@pytest.mark.parametrize("change", [cut_short, written_over])
def test_a_file_that_changes_while_it_is_read_is_an_error(path, change):
    piece = FilePieces(path)[10:200]
    change(path)
    with pytest.raises(errors.ModelUnreadable, match="written while"):
        piece.read()


def test_a_file_replaced_by_another_is_read_as_it_was(path):
    piece = FilePieces(path)[10:200]
    other = path.with_name("other")
    other.write_bytes(b"another file")
    os.replace(other, path)
    assert bytes(piece) == CONTENT[10:200]


def test_what_is_no_model_is_refused_as_it_is_in_memory(path):
    with pytest.raises(errors.ModelUnreadable):
        split(memoryview(CONTENT))
    with pytest.raises(errors.ModelUnreadable):
        split(FilePieces(path))
