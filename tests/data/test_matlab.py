"""The MAT reader against a file that SciPy wrote, and against damaged ones."""

import base64
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from cvgg.data.matlab import parse_mat, read_mat
from cvgg.errors import DataError

# scipy.io.savemat(..., do_compression=True) of a struct array `synsets` with three entries and a
# cell `mixed` with the matrix [[1.5, -2], [3, 4]] and a text. From byte 124 on.
SCIPY = bytes(124) + base64.b64decode(
    "AAFJTQ8AAAD1AAAAeJzjY2BgMGBhYGAD0hxAzMQAAaxQPjMQM0IxOxAXV+YVp5YUA+VZGPig4m5A7OkTHBbkbGRg"
    "aBTv6cIQ7gck4KA8vyilGM7LK82NT87IzEkpSs1jYECwIABkpgUDwj1saO5hRMIgwAkVhwIHdP0sWPSzIukXgPLz"
    "DAwMzaH2OxDQz4+mH8TPzixRSMuv0FEIK80pSC0Gm2OAZA43AX+wQEMeXR82/zOg+Z/ycPtgT0G4GZhisR+bfhYs"
    "+pMT0w6vxOLvwR1eHJSkMwMjIsOLDU0/iJ+Yl5mbmENeeDExYKZvbP5mQvO3ANzfYK0MoPQCAJEfK40PAAAAVwAA"
    "AHic42NgYDgAxGxAzAHEjAwQwIrEZ4LSILHczIrUFCDNB8QBSPrY0PQxIekDAU4gVmCAgR/2EJrDASpwAEIJOIDM"
    "NUAylwWLe5iRzBUA8krK8xkAF+kIFg=="
)
DOUBLE, TEXT = 6, 4  # MATLAB's array classes
UINT8, INT8, INT32, UINT32, MATRIX, COMPRESSED = 2, 1, 5, 6, 14, 15  # types of elements


def element(kind: int, body: bytes) -> bytes:
    return struct.pack("<II", kind, len(body)) + body + bytes(-len(body) % 8)


def matrix(array_class: int, dims: tuple[int, ...], part: bytes, flags: int = 0) -> bytes:
    return element(
        MATRIX,
        element(UINT32, struct.pack("<II", array_class | flags, 0))
        + element(INT32, struct.pack(f"<{len(dims)}i", *dims))
        + element(INT8, b"x")
        + part,
    )


def mat_file(elements: bytes, *, order: bytes = b"IM") -> bytes:
    return b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01" + order + elements


def test_a_compressed_struct_array_of_scipy_is_read(tmp_path: Path) -> None:
    (tmp_path / "meta.mat").write_bytes(SCIPY)
    synsets = read_mat(tmp_path / "meta.mat")["synsets"]
    assert [entry["WNID"] for entry in synsets] == ["n0017", "n0005", "n0002"]
    assert [entry["words"] for entry in synsets] == ["kit fox, Vulpes", "café", "animal"]
    assert [entry["ILSVRC2012_ID"].tolist() for entry in synsets] == [[2.0], [1.0], [3.0]]
    assert [entry["num_children"].tolist() for entry in synsets] == [[0.0], [0.0], [2.0]]
    assert [entry["children"].tolist() for entry in synsets] == [[], [], [2.0, 1.0]]


def test_a_cell_gives_its_values_and_a_matrix_its_columns() -> None:
    numbers, text = parse_mat(SCIPY, "x.mat")["mixed"]
    np.testing.assert_array_equal(numbers, [1.5, 3.0, -2.0, 4.0])
    assert text == "two"


def test_numbers_stored_as_bytes_become_floats() -> None:
    file = mat_file(matrix(DOUBLE, (3, 1), element(UINT8, bytes([7, 200, 0]))))
    np.testing.assert_array_equal(parse_mat(file, "x.mat")["x"], [7.0, 200.0, 0.0])


def test_the_short_form_of_an_element_holds_its_body_in_the_tag() -> None:
    short = struct.pack("<HH", UINT8, 3) + bytes([7, 200, 0, 99])
    file = mat_file(matrix(DOUBLE, (3, 1), short))
    np.testing.assert_array_equal(parse_mat(file, "x.mat")["x"], [7.0, 200.0, 0.0])


def test_a_big_endian_file_is_read() -> None:
    parts = b"".join(
        struct.pack(">II", kind, len(body)) + body
        for kind, body in (
            (UINT32, struct.pack(">II", DOUBLE, 0)),
            (INT32, struct.pack(">ii", 1, 2)),
            (INT8, b"big_name"),
            (9, struct.pack(">dd", 1.5, -2.5)),
        )
    )
    file = mat_file(struct.pack(">II", MATRIX, len(parts)) + parts, order=b"MI")
    np.testing.assert_array_equal(parse_mat(file, "x.mat")["big_name"], [1.5, -2.5])


@pytest.mark.parametrize(
    ("file", "rule"),
    [
        (b"", "not a MATLAB version 5 file"),
        (b"hello" * 40, "not a MATLAB version 5 file"),
        (b"MATLAB 7.3 MAT-file".ljust(200), "version 5"),
        (mat_file(b"\x0e\0\0"), "a tag needs 8 bytes"),
        (mat_file(struct.pack("<II", MATRIX, 4096)), "an element of 4096 bytes, 0 are left"),
        (mat_file(struct.pack("<HHI", UINT8, 5, 0)), "a short element of 5 bytes"),
        (mat_file(element(9, bytes(8))), "element of type 9"),
        (mat_file(element(MATRIX, element(UINT32, bytes(8)))), "a matrix of 1 parts"),
        (mat_file(matrix(DOUBLE, (2, 2), element(UINT8, b"abc"))), "3 values, its size says 4"),
        (mat_file(matrix(DOUBLE, (2, -2), element(UINT8, b"abcd"))), "bad array flags"),
        (mat_file(matrix(DOUBLE, (1, 1), element(9, bytes(7)))), "7 bytes of numbers of 8"),
        (mat_file(matrix(DOUBLE, (1, 1), element(UINT8, b"a"), 0x800)), "complex"),
        (mat_file(matrix(5, (1, 1), element(UINT8, b"a"))), "array of class 5"),
        (mat_file(matrix(TEXT, (1, 1), element(16, b"\xff"))), "not utf-8"),
        (mat_file(element(COMPRESSED, b"not zlib")), "compressed data"),
        (mat_file(element(COMPRESSED, zlib.compress(b"a" * 99)[:-3])), "end early"),
    ],
)
def test_a_file_that_breaks_a_rule_is_an_error_that_names_it(file: bytes, rule: str) -> None:
    with pytest.raises(DataError, match=rf"^odd\.mat: .*{rule}"):
        parse_mat(file, "odd.mat")


def test_structs_nested_without_end_are_an_error() -> None:
    inner = matrix(DOUBLE, (1, 1), element(UINT8, b"a"))
    for _ in range(20):
        inner = matrix(1, (1, 1), inner)
    with pytest.raises(DataError, match="more than 16 deep"):
        parse_mat(mat_file(inner), "odd.mat")


def test_no_cut_of_a_good_file_escapes_as_another_error() -> None:
    """A cut may fall between two variables; every other one is a DataError."""
    whole = 0
    for length in range(128, len(SCIPY)):
        try:
            parse_mat(SCIPY[:length], "cut.mat")
            whole += 1
        except DataError:
            continue
    assert whole == 2  # the header alone, and the first variable
