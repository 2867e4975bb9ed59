"""The converter: what records hold, their order and keys, and what is left when it fails."""

import argparse
import hashlib
import io
import json
import os
import threading
from pathlib import Path
from types import ModuleType

import lmdb
import numpy as np
import pytest
import simplejpeg
from PIL import Image

from cvgg.commands import convert_imagenet, dataset
from cvgg.commands.progress import Progress, describe, duration
from cvgg.data.convert import (
    Form,
    as_stored,
    convert,
    exactly,
    in_order,
    resize_as_caffe,
    short_side,
)
from cvgg.data.database import open_database
from cvgg.data.datum import Datum, read_datum
from cvgg.data.imagenet import Item, Source, read_source
from cvgg.data.images import Colour, Pixels, decode, resize
from cvgg.errors import CannotCreateError, DataError, MissingInputError, UsageError

HEIGHT, WIDTH = 9, 14
# Quality 95: the largest quantisation step is 10, so a coefficient is off by at most 5, and so is
# the root mean square of a plane (the DCT is orthonormal). Blue is Y + 1.772 Cb: 5 + 1.772 * 5.
JPEG_ERROR = 13.9


def distance(a: Pixels, b: Pixels) -> float:
    """Root of the mean square of the differences."""
    return float(np.sqrt(np.mean((a.astype(float) - b) ** 2)))


def picture(seed: int, channels: int = 3) -> Pixels:
    """Smooth, so that JPEG keeps it nearly as it is; h 9, w 14."""
    rng = np.random.default_rng(seed)
    small = rng.integers(40, 216, (3, 4, channels), dtype=np.uint8)
    planes = [
        np.asarray(Image.fromarray(small[..., c]).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
        for c in range(channels)
    ]
    return np.stack(planes)


def file_bytes(image: Pixels, format: str = "JPEG", mode: str = "RGB", quality: int = 75) -> bytes:
    """A file of the image (c,h,w) in BGR."""
    pixels = image[::-1].transpose(1, 2, 0) if len(image) == 3 else image[0]
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).convert(mode).save(
        stream, format, quality=quality
    )
    return stream.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """3 classes, 5 JPEGs: a/0 b/0 b/1 c/0 c/1."""
    for number, name in enumerate(("a/0.jpg", "b/0.jpg", "b/1.jpg", "c/0.jpg", "c/1.jpg")):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file_bytes(picture(number), quality=90))
    return tmp_path / "images"


NAMES = ["a/0.jpg", "b/0.jpg", "b/1.jpg", "c/0.jpg", "c/1.jpg"]
LABELS = [0, 1, 1, 2, 2]


def records(path: Path) -> list[tuple[bytes, Datum]]:
    database = open_database(str(path))
    return [(database.key(i), read_datum(database.get(i), "")) for i in range(len(database))]


def single(tmp_path: Path, data: bytes, form: Form) -> tuple[Datum, int]:
    """The record made of one file."""
    (tmp_path / "one").write_bytes(data)
    source = Source((Item("one", 5, str(tmp_path / "one")),), ())
    target = tmp_path / f"db{len(list(tmp_path.iterdir()))}"
    result = convert(source, target, form)
    ((_, datum),) = records(target)
    assert datum.label == 5
    return datum, result.kept


def run(module: ModuleType, *words: object) -> int:
    parser = argparse.ArgumentParser()
    module.register(parser.add_subparsers())
    args = parser.parse_args([*map(str, words)])
    code: int = args.run(args)
    return code


# What a record holds


def test_records_hold_the_files_own_bytes_in_the_order_of_the_source(
    tmp_path: Path, folder: Path
) -> None:
    result = convert(read_source(folder), tmp_path / "db", Form(as_stored()), threads=3)
    assert (result.records, result.kept, result.skipped) == (5, 5, ())
    found = records(tmp_path / "db")
    assert [key.decode() for key, _ in found] == [f"{i:08d}_{n}" for i, n in enumerate(NAMES)]
    assert [datum.label for _, datum in found] == LABELS
    for name, (_, datum) in zip(NAMES, found, strict=True):
        assert datum.encoded
        assert bytes(datum.data) == (folder / name).read_bytes()


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_a_file_is_encoded_anew_only_if_its_channels_or_size_change(
    tmp_path: Path, format: str
) -> None:
    colour, grey = (file_bytes(picture(1, c), format, m) for c, m in ((3, "RGB"), (1, "L")))
    for data, wanted in ((colour, Colour.COLOUR), (grey, Colour.GREY)):
        datum, kept = single(tmp_path, data, Form(as_stored(), colour=wanted))
        assert (bytes(datum.data), kept) == (data, 1)
        datum, kept = single(tmp_path, data, Form(short_side(HEIGHT), colour=wanted))
        assert (bytes(datum.data), kept) == (data, 1)
    for data, wanted, channels in ((grey, Colour.COLOUR, 3), (colour, Colour.GREY, 1)):
        datum, kept = single(tmp_path, data, Form(as_stored(), colour=wanted))
        assert kept == 0
        assert decode(datum.data, "").shape == (channels, HEIGHT, WIDTH)
        error = distance(decode(datum.data, ""), decode(data, "", wanted))
        assert error <= (JPEG_ERROR if format == "JPEG" else 0)


def test_the_file_format_stays_and_other_formats_become_png(tmp_path: Path) -> None:
    image = picture(2)
    for kind, magic in (("JPEG", b"\xff\xd8"), ("PNG", b"\x89PNG"), ("BMP", b"\x89PNG")):
        datum, _ = single(tmp_path, file_bytes(image, kind), Form(exactly(5, 6)))
        assert bytes(datum.data).startswith(magic)
        assert decode(datum.data, "").shape == (3, 5, 6)


def test_a_palette_or_transparent_png_and_a_cmyk_jpeg_are_made_plain(tmp_path: Path) -> None:
    image = picture(3)
    for data in (
        file_bytes(image, "PNG", "P"),
        file_bytes(image, "PNG", "RGBA"),
        file_bytes(image, "JPEG", "CMYK"),
    ):
        datum, kept = single(tmp_path, data, Form(as_stored()))
        assert kept == 0
        plain = Image.open(io.BytesIO(datum.data))
        assert plain.mode == "RGB"
        assert plain.size == (WIDTH, HEIGHT)


@pytest.mark.parametrize("channels", [1, 3])
def test_raw_records_hold_planes_with_blue_first(tmp_path: Path, channels: int) -> None:
    image = picture(4, channels)
    colour = {1: Colour.GREY, 3: Colour.COLOUR}[channels]
    data = file_bytes(image, "PNG", {1: "L", 3: "RGB"}[channels])
    datum, kept = single(tmp_path, data, Form(as_stored(), colour=colour, encoding="raw"))
    assert (kept, datum.encoded) == (0, False)
    np.testing.assert_array_equal(datum.array(""), image)


def test_png_and_jpg_are_made_when_asked_for(tmp_path: Path) -> None:
    image = picture(5)
    jpeg, png = file_bytes(image, quality=90), file_bytes(image, "PNG")
    datum, kept = single(tmp_path, jpeg, Form(as_stored(), encoding="png"))
    assert kept == 0
    np.testing.assert_array_equal(decode(datum.data, ""), decode(jpeg, ""))
    datum, kept = single(tmp_path, png, Form(as_stored(), encoding="jpg"))
    assert kept == 0
    assert simplejpeg.decode_jpeg_header(bytes(datum.data))[3] == "444"
    assert distance(decode(datum.data, ""), image) <= JPEG_ERROR
    assert distance(image[::-1], image) > 2 * JPEG_ERROR  # so red for blue would be seen


# Sizes


def test_the_short_side_rule_keeps_the_ratio_and_cuts_the_fraction() -> None:
    rule = short_side(256)
    assert rule(375, 500) == (256, 341)
    assert rule(500, 375) == (341, 256)
    assert rule(332, 500) == (256, 385)  # 385.54
    assert rule(256, 256) == (256, 256)
    assert rule(100, 50) == (512, 256)


def test_resizing_is_pillows_bilinear_and_warps_when_both_sides_are_given(tmp_path: Path) -> None:
    image = picture(6)
    datum, _ = single(tmp_path, file_bytes(image, "PNG"), Form(exactly(5, 4), encoding="raw"))
    np.testing.assert_array_equal(datum.array(""), resize(image, 5, 4))
    datum, _ = single(tmp_path, file_bytes(image, "PNG"), Form(short_side(4), encoding="raw"))
    np.testing.assert_array_equal(datum.array(""), resize(image, 4, 6))  # 4 * 14 // 9


def test_the_caffe_filter_equals_opencv() -> None:
    """Values of cv2.resize (INTER_LINEAR) of OpenCV 5.0, bit for bit."""
    image = (np.arange(3 * 5 * 7) ** 2 % 251).astype(np.uint8).reshape(3, 5, 7)
    assert resize_as_caffe(image, 3, 4).tolist() == [
        [[18, 31, 49, 74], [207, 9, 69, 134], [103, 114, 68, 154]],
        [[115, 135, 56, 131], [179, 104, 66, 66], [160, 168, 171, 170]],
        [[100, 169, 140, 75], [91, 107, 192, 95], [105, 172, 151, 74]],
    ]
    assert resize_as_caffe(image, 6, 8)[1].tolist() == [
        [221, 75, 91, 156, 113, 40, 109, 175],
        [61, 76, 137, 105, 71, 113, 156, 78],
        [86, 161, 143, 123, 99, 105, 146, 26],
        [134, 220, 140, 156, 142, 99, 151, 40],
        [144, 188, 150, 160, 157, 139, 170, 120],
        [204, 103, 169, 141, 147, 186, 131, 243],
    ]


def test_a_size_that_no_image_can_have_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"one: 9x14 would become 65501x1 pixels"):
        single(tmp_path, file_bytes(picture(7)), Form(exactly(65501, 1)))


# Order and keys


def test_shuffling_depends_on_the_seed_alone(tmp_path: Path, folder: Path) -> None:
    source = read_source(folder)
    orders: list[list[str]] = []
    for name, seed, threads in (("a", 1, 1), ("b", 1, 4), ("c", 2, 1)):
        convert(source, tmp_path / name, Form(as_stored()), shuffle=seed, threads=threads)
        orders.append([key[9:].decode() for key, _ in records(tmp_path / name)])
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2]) == NAMES != orders[0]
    for key, datum in records(tmp_path / "c"):
        assert datum.label == LABELS[NAMES.index(key[9:].decode())]


def test_equal_sources_give_equal_bytes(tmp_path: Path, folder: Path) -> None:
    for name, threads in (("a", 1), ("b", 3)):
        convert(read_source(folder), tmp_path / name, Form(short_side(6)), threads=threads)
    for file in ("data.mdb", "cvgg.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_long_name_or_one_that_is_not_utf8_becomes_a_key(tmp_path: Path) -> None:
    file = tmp_path / "x.jpg"
    file.write_bytes(file_bytes(picture(8)))
    names = ("d/" * 300 + "x.jpg", "caf\udce9.jpg")
    source = Source(tuple(Item(name, 0, str(file)) for name in names), ())
    convert(source, tmp_path / "db", Form(as_stored()))
    long, odd = (key for key, _ in records(tmp_path / "db"))
    assert long == b"00000000_" + b"d/" * 251
    assert odd == b"00000001_caf\xe9.jpg"


def test_results_come_in_order_and_only_a_few_are_made_ahead() -> None:
    made = []
    gate = threading.Event()

    def slow_first(number: int) -> int:
        if number == 0:
            gate.wait(10)
        made.append(number)
        return number

    results = in_order(slow_first, iter(range(1000)), 2)
    threading.Timer(0.01, gate.set).start()
    assert next(results) == 0
    assert len(made) <= 9  # 4 a thread, and the one waited for
    assert list(results) == list(range(1, 1000))


# Facts


def test_the_facts_stand_beside_the_records(tmp_path: Path, folder: Path) -> None:
    form = Form(short_side(6), encoding="raw", about="short side 6")
    convert(read_source(folder), tmp_path / "db", form, shuffle=3)
    text = b"a/0.jpg\x000\nb/0.jpg\x001\nb/1.jpg\x001\nc/0.jpg\x002\nc/1.jpg\x002\n"
    assert json.loads((tmp_path / "db" / "cvgg.json").read_text()) == {
        "records": 5,
        "largest_label": 2,
        "counts": {"0": 1, "1": 2, "2": 2},
        "classes": ["a", "b", "c"],
        "colour": "colour",
        "size": "short side 6",
        "encoding": "raw",
        "shuffle": 3,
        "kept": 0,
        "skipped": [],
        "source": f"sha256:{hashlib.sha256(text).hexdigest()}",
    }


# Faults


def test_a_damaged_image_stops_it_and_leaves_nothing(tmp_path: Path, folder: Path) -> None:
    (folder / "b/1.jpg").write_bytes((folder / "b/1.jpg").read_bytes()[:-60])
    with pytest.raises(DataError, match=r"images/b/1\.jpg: damaged JPEG"):
        convert(read_source(folder), tmp_path / "db", Form(as_stored()), threads=2)
    assert sorted(os.listdir(tmp_path)) == ["images"]


def test_skipped_images_are_counted_and_listed_and_leave_their_numbers_free(
    tmp_path: Path, folder: Path
) -> None:
    source = read_source(folder)
    (folder / "b/0.jpg").write_bytes(b"<html>")
    (folder / "c/0.jpg").unlink()
    seen = []
    result = convert(
        source,
        tmp_path / "db",
        Form(as_stored()),
        skip_damaged=True,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert result.records == 3
    assert [reason.split(": ")[0].rpartition("images/")[2] for reason in result.skipped] == [
        "b/0.jpg",
        "c/0.jpg",
    ]
    assert [int(key[:8]) for key, _ in records(tmp_path / "db")] == [0, 2, 4]
    facts = json.loads((tmp_path / "db" / "cvgg.json").read_text())
    assert facts["skipped"] == list(result.skipped)
    assert facts["counts"] == {"0": 1, "1": 1, "2": 1}
    assert seen == [(i, 5) for i in range(1, 6)]


def test_a_missing_image_is_a_missing_input_unless_skipped(tmp_path: Path, folder: Path) -> None:
    source = read_source(folder)
    (folder / "c/0.jpg").unlink()
    with pytest.raises(MissingInputError, match=r"c/0\.jpg: no such file"):
        convert(source, tmp_path / "db", Form(as_stored()))
    assert not (tmp_path / "db").exists()


def test_nothing_but_damaged_images_is_an_error_even_when_skipping(
    tmp_path: Path, folder: Path
) -> None:
    for name in NAMES:
        (folder / name).write_bytes(b"")
    with pytest.raises(DataError, match="none of 5 images can be read"):
        convert(read_source(folder), tmp_path / "db", Form(as_stored()), skip_damaged=True)
    assert sorted(os.listdir(tmp_path)) == ["images"]


@pytest.mark.parametrize("kind", ["file", "folder", "dangling link"])
def test_an_existing_target_is_never_touched(tmp_path: Path, folder: Path, kind: str) -> None:
    target = tmp_path / "db"
    if kind == "file":
        target.write_text("mine")
    elif kind == "folder":
        target.mkdir()
    else:
        target.symlink_to("nowhere")
    before = target.lstat()
    with pytest.raises(CannotCreateError, match="db: exists") as caught:
        convert(read_source(folder), target, Form(as_stored()))
    assert caught.value.exit_code == 73
    assert target.lstat() == before
    assert not (tmp_path / "db.partial").exists()


def test_a_target_in_no_folder_is_an_error(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(CannotCreateError, match="nowhere/db: cannot be made"):
        convert(read_source(folder), tmp_path / "nowhere" / "db", Form(as_stored()))


# The commands


def test_the_command_converts_and_prints_what_it_wrote(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "db"
    (folder / "a/0.jpg").write_bytes(b"")
    words = ("convert-imagenet", folder, target, "--skip-damaged", "--threads", 2)
    assert run(convert_imagenet, *words) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == f"{target}: 4 records, 4 with the file's own bytes, 1 images skipped"
    assert out[1].startswith(f"skipped: {folder}/a/0.jpg: ")
    assert len(out) == 2


def test_the_command_takes_each_option(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "list.txt").write_text("c/1.jpg 7\na/0.jpg 3\n")
    options = {
        "short": ("--short-side", 6, "--gray", "--encoding", "raw"),
        "warp": ("--resize-width", 4, "--resize-height", 5, "--resize-filter", "caffe"),
    }
    for name, words in options.items():
        target = tmp_path / name
        words = (*words, "--labels", tmp_path / "list.txt", "--json")
        assert run(convert_imagenet, "convert-imagenet", folder, target, *words) == 0
        result = json.loads(capsys.readouterr().out)
        assert result == {"database": str(target), "records": 2, "kept": 0, "skipped": []}
        assert [datum.label for _, datum in records(target)] == [7, 3]
    grey = records(tmp_path / "short")[0][1].array("")
    expected = decode((folder / "c/1.jpg").read_bytes(), "", Colour.GREY)
    np.testing.assert_array_equal(grey, resize(np.ascontiguousarray(expected), 6, 9))
    warped = decode(records(tmp_path / "warp")[1][1].data, "")
    assert warped.shape == (3, 5, 4)
    facts = [json.loads((tmp_path / name / "cvgg.json").read_text()) for name in options]
    assert [f["size"] for f in facts] == ["short side 6, antialias", "5x4, caffe"]


def test_sizes_that_contradict_each_other_are_wrong_usage(tmp_path: Path, folder: Path) -> None:
    for words, rule in (
        (("--resize-width", 4), "go together"),
        (("--short-side", 4, "--resize-width", 4, "--resize-height", 4), "cannot go with"),
    ):
        with pytest.raises(UsageError, match=rule):
            run(convert_imagenet, "convert-imagenet", folder, tmp_path / "db", *words)


def test_dataset_info_tells_what_the_records_are(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    convert(read_source(folder), tmp_path / "db", Form(as_stored()))
    texts = []
    for _ in range(2):
        assert run(dataset, "dataset", "info", tmp_path / "db", "--json") == 0
        texts.append(json.loads(capsys.readouterr().out))
        # A database of another program has no facts: the same is found in the records.
        (tmp_path / "db" / "cvgg.json").unlink(missing_ok=True)
    made = texts[0].pop("made")
    assert made["classes"] == ["a", "b", "c"]
    assert texts[1].pop("made") == {}
    assert texts[0] == texts[1]
    assert texts[0]["records"] == 5
    assert texts[0]["first_image"] == [3, HEIGHT, WIDTH]
    assert texts[0]["first_key"] == "00000000_a/0.jpg"
    assert texts[0]["labels"] == {"least": 0, "largest": 2, "different": 3}
    assert texts[0]["images_per_class"] == {"least": 1, "most": 2}


def test_dataset_info_refuses_the_facts_of_another_database(tmp_path: Path, folder: Path) -> None:
    convert(read_source(folder), tmp_path / "db", Form(as_stored()))
    (tmp_path / "db" / "cvgg.json").write_text('{"records": 6}')
    with pytest.raises(DataError, match=r"cvgg\.json: does not belong .* 5 records"):
        run(dataset, "dataset", "info", tmp_path / "db")


def test_dataset_check_finds_every_damaged_record(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "db"
    convert(read_source(folder), path, Form(as_stored()))
    assert run(dataset, "dataset", "check", path) == 0
    assert capsys.readouterr().out == f"{path}: 5 records, 1 sizes: all can be read\n"
    environment = lmdb.open(str(path))
    with environment.begin(write=True) as transaction:
        for key in (b"00000001_b/0.jpg", b"00000003_c/0.jpg"):
            transaction.put(key, transaction.get(key)[:-30])
    environment.close()
    assert run(dataset, "dataset", "check", path, "--threads", 2) == 65
    out = capsys.readouterr().out.splitlines()
    assert [line.partition("]")[0] for line in out[:2]] == [
        f"{path}[00000001_b/0.jpg",
        f"{path}[00000003_c/0.jpg",
    ]
    assert out[2] == f"{path}: 5 records, 1 sizes: 2 faults"


def test_dataset_check_compares_labels_and_channels(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    convert(read_source(folder), tmp_path / "db", Form(as_stored()))
    facts = json.loads((tmp_path / "db" / "cvgg.json").read_text())
    facts["counts"]["1"] = 3
    (tmp_path / "db" / "cvgg.json").write_text(json.dumps(facts))
    assert run(dataset, "dataset", "check", tmp_path / "db", "--json") == 65
    assert "labels" in json.loads(capsys.readouterr().out)["faults"][0]
    (folder / "a/0.jpg").write_bytes(file_bytes(picture(0, 1), mode="L"))
    form = Form(as_stored(), colour=Colour.AS_STORED)
    convert(read_source(folder), tmp_path / "mixed", form)
    assert run(dataset, "dataset", "check", tmp_path / "mixed") == 65
    assert "images of [1, 3] channels" in capsys.readouterr().out


def test_dataset_show_draws_the_records_asked_for(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    convert(read_source(folder), tmp_path / "db", Form(as_stored()))
    sizes = {}
    for name, words in (("all", ()), ("two", ("--first", 3, "--count", 4, "--columns", 1))):
        assert run(dataset, "dataset", "show", tmp_path / "db", tmp_path / name, *words) == 0
        with Image.open(tmp_path / name) as sheet:
            sizes[name] = sheet.size
    assert sizes == {"all": (5 * 100 + 4, 114 + 4), "two": (100 + 4, 2 * 114 + 4)}
    assert capsys.readouterr().out.endswith("two: 2 of 5 images\n")
    with pytest.raises(UsageError, match="--first must lie in 0 to 4, is 5"):
        run(dataset, "dataset", "show", tmp_path / "db", tmp_path / "x", "--first", 5)


# Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_one_line_that_is_written_over() -> None:
    now = iter([0.0, 0.05, 1.0, 2.0])
    stream = Terminal()
    with Progress("images", stream=stream, clock=lambda: next(now)) as progress:
        for done in (1, 100, 200):
            progress(done, 200)
    first, last = stream.getvalue().split("\r")[1:]
    assert first == "100 of 200 images, 100/s, 0:01 left"
    assert last.rstrip(" \n") == "200 of 200 images, 100/s in 0:02"
    assert len(last) == len(first) + 1
    assert last.endswith("\n")


def test_what_was_done_before_counts_but_not_for_the_rate() -> None:
    now = iter([0.0, 1.0, 2.0])
    stream = Terminal()
    with Progress("images", stream=stream, clock=lambda: next(now)) as progress:
        progress.begin(100)
        progress(110, 120)
        progress(120, 120)
    lines = [line.strip() for line in stream.getvalue().split("\r")[1:]]
    assert lines == ["110 of 120 images, 10/s, 0:01 left", "120 of 120 images, 10/s in 0:02"]


def test_a_log_gets_a_line_every_half_minute_and_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = []
    monkeypatch.setattr(
        "cvgg.commands.progress._log.info", lambda text, *words: lines.append(text % words)
    )
    now = iter([0.0, 29.0, 31.0, 60.0, 62.0, 63.0])
    stream = io.StringIO()
    with Progress("images", stream=stream, clock=lambda: next(now)) as progress:
        for done in (1, 2, 3, 4, 5):
            progress(done, 5)
    assert lines == [
        "2 of 5 images, 0.1/s, 0:46 left",
        "4 of 5 images, 0.1/s, 0:16 left",
        "5 of 5 images, 0.1/s in 1:03",
    ]
    assert stream.getvalue() == ""


def test_rates_and_times_are_written_for_people() -> None:
    assert describe("images", 0, 10, 0.0) == "0 of 10 images"
    assert describe("records", 30, 0, 2.0) == "30 records, 15/s"
    assert describe("images", 30, 50, 2.0, first=10) == "30 of 50 images, 10/s, 0:02 left"
    assert [duration(s) for s in (6, 760, 11229)] == ["0:06", "12:40", "3:07:09"]
