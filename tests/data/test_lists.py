"""Caffe's list files."""

from pathlib import Path

import pytest

from cvgg.data.lists import Entry, read_list
from cvgg.errors import DataError, MissingInputError


def test_the_label_stands_behind_the_last_run_of_blanks(tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(
        b"\xef\xbb\xbfa.jpg 3\r\n\nn01/b c.jpg \t 12 \n  \nd\xff.jpg -1\ne.jpg 007"
    )
    assert read_list(tmp_path / "list") == [
        Entry("a.jpg", 3, 1),
        Entry("n01/b c.jpg", 12, 3),
        Entry("d\udcff.jpg", -1, 5),
        Entry("e.jpg", 7, 6),
    ]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("b.jpg", "no label behind 'b.jpg'"),
        ("7", "no label"),
        ("b.jpg cat", "must be a whole number, is 'cat'"),
        ("b.jpg 1.5", "must be a whole number, is '1.5'"),
        ("b.jpg \u00b2", "must be a whole number"),
        ("b.jpg 2147483648", "does not fit in 32 bits"),
        ("b\0.jpg 1", "a NUL byte"),
    ],
)
def test_a_bad_line_is_told_with_its_number(tmp_path: Path, line: str, why: str) -> None:
    (tmp_path / "list").write_text(f"a.jpg 1\n\n{line}\n", encoding="utf-8")
    with pytest.raises(DataError, match=f"list:3: .*{why}"):
        read_list(tmp_path / "list")


def test_an_empty_list_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("\n \n")
    with pytest.raises(DataError, match="list: the list has no entries"):
        read_list(tmp_path / "list")


def test_a_missing_list_is_a_missing_input(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="none: no such file"):
        read_list(tmp_path / "none")
