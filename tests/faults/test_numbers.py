"""Numbers and brackets that Python cannot hold, in files that somebody may have edited: whole
numbers of thousands of digits, numbers beyond float64, brackets in brackets without end.

Lists with them are among the inputs of reading.py.
"""

import json
from pathlib import Path

import pytest
from faults.places import Place

from cvgg.commands.training_log import read_log
from cvgg.data import imagenet
from cvgg.data.journal import Journal
from cvgg.errors import DataError

DIGITS = "1" * 5000  # Python makes no number of more than 4300
DEEP = "[" * 100_000
LARGE = '{"kept": 1e999, "counts": {}, "skipped": []}'


@pytest.mark.parametrize("facts", ['{"records": 7, "largest_label": 1e999}', DEEP])
def test_facts_of_a_database_with_such_a_number_are_refused(place: Place, facts: str) -> None:
    (place / "db/cvgg.json").write_text(facts)
    place.refuses(65, r"db/cvgg\.json: not what convert-imagenet writes")


def test_facts_that_are_no_json_are_told(place: Place) -> None:
    (place / "db/cvgg.json").write_text(DEEP)
    place.refuses(65, r"db/cvgg\.json: not JSON", "dataset", "info", "db")


@pytest.mark.parametrize("content", [LARGE, DEEP])
def test_a_journal_with_such_a_number_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "journal.json").write_text(content)
    with pytest.raises(DataError, match=r"journal\.json: damaged: remove"):
        Journal({}).take_over(tmp_path)


RECORD = json.dumps({"iter": 1, "event": "train", "loss": 2, "lr": 3, "outputs": {}})


@pytest.mark.parametrize("line", [RECORD.replace("1", "1e999"), DEEP])
def test_a_record_of_a_training_with_such_a_number_is_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "run.metrics.jsonl"
    path.write_text(f"{RECORD}\n{line}\n{RECORD}\n")
    with pytest.raises(DataError, match=r"run\.metrics\.jsonl:2: no record of a training"):
        read_log(str(path))


@pytest.mark.parametrize(
    "line", ["Iteration {}, loss = 2", "Iteration {}, lr = 2", "Iteration {}, Testing net (#0)"]
)
def test_a_line_of_caffe_with_such_a_number_is_passed_over(tmp_path: Path, line: str) -> None:
    path = tmp_path / "caffe.log"
    path.write_text(f"Iteration 5, loss = 7\n{line.format(DIGITS)}\n")
    assert read_log(str(path)).loss == {5: 7}


def test_a_class_of_the_devkit_with_such_a_number_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = {imagenet._TRUTH: DIGITS.encode(), imagenet._META: b""}
    monkeypatch.setattr(imagenet, "_devkit_files", lambda path: files)
    monkeypatch.setattr(imagenet, "_devkit_classes", lambda meta, where: {1: "n01440764 tench"})
    with pytest.raises(DataError, match="is no class's ID"):
        imagenet._devkit(Path("devkit"), ())
