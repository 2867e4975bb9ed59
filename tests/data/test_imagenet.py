"""Every form in which ILSVRC-2012 and its kin come gives the same images and labels."""

import io
import os
import struct
import tarfile
from pathlib import Path

import pytest

from cvgg.data.imagenet import Item, Source, read_source
from cvgg.errors import DataError, MissingInputError

# Four classes; the devkit's IDs are in another order than the synsets, and 5 is an ancestor.
IDS = {"n0300": 1, "n0100": 3, "n0400": 2, "n0200": 4, "n0001": 5}
LABELS = {"n0100": 0, "n0200": 1, "n0300": 2, "n0400": 3}
# Validation image k is of this class. Not in byte order, one class twice.
TRUTH = ["n0400", "n0100", "n0300", "n0200", "n0100"]
NAMES = [f"ILSVRC2012_val_{k:08d}.JPEG" for k in range(1, 6)]


def mat_element(kind: int, body: bytes) -> bytes:
    return struct.pack("<II", kind, len(body)) + body + bytes(-len(body) % 8)


def mat_array(array_class: int, dims: tuple[int, int], parts: bytes, name: bytes = b"") -> bytes:
    head = mat_element(6, struct.pack("<II", array_class, 0))
    return mat_element(
        14, head + mat_element(5, struct.pack("<ii", *dims)) + mat_element(1, name) + parts
    )


def meta_mat() -> bytes:
    """The struct array `synsets`, as in the devkit with fewer fields."""
    fields = b"".join(
        name.ljust(16, b"\0") for name in (b"ILSVRC2012_ID", b"WNID", b"words", b"num_children")
    )
    values = b""
    for wnid, number in sorted(IDS.items(), key=lambda entry: entry[1]):
        for array_class, kind, body in (
            (6, 2, bytes([number])),
            (4, 16, wnid.encode()),
            (4, 16, f"word {wnid}".encode()),
            (6, 2, bytes([4 if number == 5 else 0])),
        ):
            values += mat_array(array_class, (1, len(body)), mat_element(kind, body))
    parts = mat_element(5, struct.pack("<i", 16)) + mat_element(1, fields) + values
    return b"MATLAB".ljust(124) + b"\0\1IM" + mat_array(2, (len(IDS), 1), parts, b"synsets")


def tar_bytes(files: dict[str, bytes], mode: str = "w") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return stream.getvalue()


def truth_bytes() -> bytes:
    return "".join(f"{IDS[wnid]}\n" for wnid in TRUTH).encode()


@pytest.fixture
def val_tar(tmp_path: Path) -> Path:
    """Members out of order, as in the real one."""
    path = tmp_path / "ILSVRC2012_img_val.tar"
    path.write_bytes(tar_bytes({name: f"pixels of {name}".encode() for name in reversed(NAMES)}))
    return path


@pytest.fixture
def devkit(tmp_path: Path) -> Path:
    folder = "ILSVRC2012_devkit_t12"
    path = tmp_path / f"{folder}.tar.gz"
    files = {
        f"{folder}/readme.txt": b"hello",
        f"{folder}/data/meta.mat": meta_mat(),
        f"{folder}/data/ILSVRC2012_validation_ground_truth.txt": truth_bytes(),
    }
    path.write_bytes(tar_bytes(files, "w:gz"))
    return path


def folders(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def labels(source: Source) -> dict[str, int]:
    """Name of the file -> label."""
    return {item.name.rpartition("/")[2]: item.label for item in source.items}


def test_the_devkit_gives_the_labels_of_a_folder_for_each_class(
    tmp_path: Path, val_tar: Path, devkit: Path
) -> None:
    files = {f"{wnid}/{name}": b"x" for wnid, name in zip(TRUTH, NAMES, strict=True)}
    by_folder = read_source(folders(tmp_path / "val", files))
    by_devkit = read_source(val_tar, devkit)
    assert labels(by_devkit) == labels(by_folder) == {
        name: LABELS[wnid] for wnid, name in zip(TRUTH, NAMES, strict=True)
    }  # fmt: skip
    assert by_folder.classes == tuple(sorted(LABELS))
    assert by_devkit.classes == tuple(f"{wnid} word {wnid}" for wnid in sorted(LABELS))


def test_images_of_the_val_tar_come_in_order_of_their_numbers(val_tar: Path, devkit: Path) -> None:
    items = read_source(val_tar, devkit).items
    assert [item.name for item in items] == NAMES
    assert [item.read() for item in items] == [f"pixels of {name}".encode() for name in NAMES]


def test_an_unpacked_devkit_and_a_folder_of_images_give_the_same(
    tmp_path: Path, val_tar: Path, devkit: Path
) -> None:
    kit = folders(
        tmp_path / "kit",
        {
            "data/meta.mat": meta_mat(),
            "data/ILSVRC2012_validation_ground_truth.txt": truth_bytes(),
        },
    )
    flat = folders(tmp_path / "flat", dict.fromkeys(NAMES, b"x"))
    assert labels(read_source(flat, kit)) == labels(read_source(val_tar, devkit))


def test_the_solution_csv_and_a_caffe_list_give_the_same(
    tmp_path: Path, val_tar: Path, devkit: Path
) -> None:
    rows = [f"{n[:-5]},{w} 1 2 3 4 {w} 5 6 7 8 \n" for n, w in zip(NAMES, TRUTH, strict=True)]
    solution = tmp_path / "LOC_val_solution.csv"
    solution.write_text("ImageId,PredictionString\n" + "".join(reversed(rows)))
    listed = tmp_path / "val.txt"
    listed.write_text("".join(f"{n} {LABELS[w]}\n" for n, w in zip(NAMES, TRUTH, strict=True)))
    expected = labels(read_source(val_tar, devkit))
    by_csv, by_list = read_source(val_tar, solution), read_source(val_tar, listed)
    assert labels(by_csv) == labels(by_list) == expected
    assert [item.name for item in by_csv.items] == NAMES
    assert by_csv.classes == tuple(sorted(LABELS))
    assert by_list.classes == ()


def test_the_train_tar_of_tars_equals_its_unpacked_folders(tmp_path: Path) -> None:
    files = {
        "n0200/n0200_7.JPEG": b"seven",
        "n0200/n0200_10.JPEG": b"ten",
        "n0100/n0100_1.JPEG": b"one",
        "n0400/n0400_3.JPEG": b"three",
    }
    inner = {}
    for wnid in ("n0200", "n0400", "n0100"):
        members = {n.partition("/")[2]: d for n, d in files.items() if n.startswith(wnid)}
        inner[f"{wnid}.tar"] = tar_bytes(members)
    archive = tmp_path / "ILSVRC2012_img_train.tar"
    archive.write_bytes(tar_bytes(inner))
    packed, unpacked = read_source(archive), read_source(folders(tmp_path / "train", files))
    assert packed.classes == unpacked.classes == ("n0100", "n0200", "n0400")
    for source in (packed, unpacked):
        assert [(item.name, item.label, item.read()) for item in source.items] == [
            ("n0100/n0100_1.JPEG", 0, b"one"),
            ("n0200/n0200_10.JPEG", 1, b"ten"),
            ("n0200/n0200_7.JPEG", 1, b"seven"),
            ("n0400/n0400_3.JPEG", 2, b"three"),
        ]


def test_only_images_count_and_capitals_come_first(tmp_path: Path) -> None:
    root = folders(
        tmp_path / "root",
        {
            "ant/b.PNG": b"",
            "ant/deep/a.jpg": b"",
            "ant/._a.jpg": b"",
            "ant/readme.txt": b"",
            "Zebra/z.jpeg": b"",
            ".hidden/h.jpg": b"",
            "stray.jpg": b"",
        },
    )
    source = read_source(root)
    assert source.classes == ("Zebra", "ant")
    assert [(i.name, i.label) for i in source.items] == [
        ("Zebra/z.jpeg", 0),
        ("ant/b.PNG", 1),
        ("ant/deep/a.jpg", 1),
    ]


def test_a_class_file_fixes_the_labels_where_classes_are_absent(
    tmp_path: Path, val_tar: Path
) -> None:
    words = tmp_path / "synset_words.txt"
    words.write_text("".join(f"{wnid} some, words\n" for wnid in sorted(LABELS)))
    source = read_source(folders(tmp_path / "val", {"n0300/a.JPEG": b""}), classes=words)
    assert [item.label for item in source.items] == [2]
    assert len(source.classes) == 4
    solution = tmp_path / "solution.csv"
    solution.write_text(f"ImageId,PredictionString\n{NAMES[0][:-5]},n0400 1 2 3 4\n")
    assert [item.label for item in read_source(val_tar, solution, words).items] == [3]
    other = folders(tmp_path / "other", {"n0500/a.JPEG": b""})
    with pytest.raises(DataError, match="'n0500' is none of the 4 given classes"):
        read_source(other, classes=words)


def test_without_labels_a_val_tar_or_flat_folder_is_missing_an_input(
    tmp_path: Path, val_tar: Path
) -> None:
    flat = folders(tmp_path / "flat", {"a.jpg": b""})
    for place in (val_tar, flat):
        with pytest.raises(MissingInputError, match=r"--labels: ILSVRC2012_devkit") as caught:
            read_source(place)
        assert caught.value.exit_code == 66


def test_what_is_not_there_is_named(tmp_path: Path, val_tar: Path, devkit: Path) -> None:
    nowhere = tmp_path / "nowhere"
    for arguments in ((nowhere,), (val_tar, nowhere), (tmp_path, None, nowhere)):
        with pytest.raises(MissingInputError, match="nowhere: no such"):
            read_source(*arguments)
    (tmp_path / "list.txt").write_text(f"{NAMES[0]} 1\nabsent.JPEG 2\n")
    with pytest.raises(MissingInputError, match=r"list\.txt:2: absent\.JPEG is not in .*val\.tar"):
        read_source(val_tar, tmp_path / "list.txt")
    with pytest.raises(MissingInputError, match=r"no meta\.mat in it"):
        read_source(val_tar, val_tar)
    (item,) = read_source(folders(tmp_path / "root", {"a/b.jpg": b"x"})).items
    (tmp_path / "root/a/b.jpg").unlink()
    with pytest.raises(MissingInputError, match=r"a/b\.jpg: no such file"):
        item.read()


def test_an_archive_that_is_cut_off_is_an_error(
    tmp_path: Path, val_tar: Path, devkit: Path
) -> None:
    whole = val_tar.read_bytes()
    for length in (1024, 1300, len(whole) // 2 // 512 * 512, 5 * 1024):
        val_tar.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"img_val\.tar: "):
            read_source(val_tar, devkit)
    inner = tar_bytes({"a.JPEG": b"x" * 700})[:1536]  # ends behind the first member, no zeros
    outer = tmp_path / "train.tar"
    outer.write_bytes(tar_bytes({"n0100.tar": inner + b"y" * 512}))
    with pytest.raises(DataError, match=r"train\.tar: n0100\.tar: the archive has no end"):
        read_source(outer)


def test_an_archive_changed_since_it_was_read_is_an_error(val_tar: Path, devkit: Path) -> None:
    item = read_source(val_tar, devkit).items[0]
    val_tar.write_bytes(val_tar.read_bytes()[: item.offset + 5])
    with pytest.raises(DataError, match="5 of 38 bytes"):
        item.read()


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"hello " * 400, "not a tar archive"),
        (b"", "not a tar archive"),
        (tar_bytes({"a.JPEG": b"x"}, "w:gz"), "compressed: unpack it"),
    ],
)
def test_a_file_that_is_no_plain_tar_is_an_error(
    tmp_path: Path, devkit: Path, data: bytes, rule: str
) -> None:
    path = tmp_path / "images.tar"
    path.write_bytes(data)
    with pytest.raises(DataError, match=rf"images\.tar: {rule}"):
        read_source(path, devkit)


def test_a_link_in_an_archive_is_no_image(tmp_path: Path, devkit: Path) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        link = tarfile.TarInfo(NAMES[0])
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    (tmp_path / "val.tar").write_bytes(stream.getvalue())
    with pytest.raises(DataError, match="not a whole, regular file"):
        read_source(tmp_path / "val.tar", devkit)


def test_two_members_of_one_name_are_an_error(tmp_path: Path, devkit: Path) -> None:
    path = tmp_path / "val.tar"
    path.write_bytes(tar_bytes({NAMES[0]: b"a", f"test/{NAMES[0]}": b"b"}))
    with pytest.raises(DataError, match="is there twice"):
        read_source(path, devkit)


@pytest.mark.parametrize("name", ["../secret.jpg", "/etc/passwd", "link/secret.jpg"])
def test_a_list_cannot_leave_its_root(tmp_path: Path, name: str) -> None:
    root = folders(tmp_path / "root", {"a.jpg": b""})
    folders(tmp_path, {"secret.jpg": b""})
    (root / "link").symlink_to(tmp_path)
    (tmp_path / "list.txt").write_text(f"a.jpg 0\n{name} 1\n")
    with pytest.raises(DataError, match=r"list\.txt:2: .* lies outside"):
        read_source(root, tmp_path / "list.txt")


def test_line_numbers_of_kaggle_are_not_taken_for_labels(tmp_path: Path, val_tar: Path) -> None:
    (tmp_path / "val.txt").write_text("".join(f"{n[:-5]} {k}\n" for k, n in enumerate(NAMES, 1)))
    with pytest.raises(DataError, match=r"line numbers, not labels"):
        read_source(val_tar, tmp_path / "val.txt")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("ImageId,PredictionString\nx,n0100 1 2 3 4 n0200 1 2 3 4\n", ":2: 2 classes"),
        ("ImageId,PredictionString\nx,\n", ":2: 0 classes"),
        ("ImageId,PredictionString\nx,n0100 1 2 3 4\nx,n0100 1 2 3 4\n", ":3: x is there twice"),
        ("ImageId,PredictionString\n", "no image in it"),
    ],
)
def test_a_wrong_row_of_the_solution_is_named(
    tmp_path: Path, val_tar: Path, text: str, rule: str
) -> None:
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(DataError, match=rf"s\.csv.*{rule}"):
        read_source(val_tar, tmp_path / "s.csv")


@pytest.mark.parametrize("number", ["0", "5", "6", "x", "-1"])
def test_an_id_that_is_no_class_is_an_error(tmp_path: Path, val_tar: Path, number: str) -> None:
    """5 is the ancestor."""
    kit = {
        "meta.mat": meta_mat(),
        "ILSVRC2012_validation_ground_truth.txt": f"1\n{number}\n".encode(),
    }
    with pytest.raises(DataError, match=r"truth\.txt:2: .* is no class's ID"):
        read_source(val_tar, folders(tmp_path / "kit", kit))


def test_an_empty_class_or_class_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "root" / "empty").mkdir(parents=True)
    with pytest.raises(DataError, match="class 'empty' has no image"):
        read_source(tmp_path / "root")
    for text, rule in (("\n", "0 classes"), ("a\nb\na\n", "3 classes, 2 different")):
        (tmp_path / "classes.txt").write_text(text)
        with pytest.raises(DataError, match=rule):
            read_source(tmp_path / "root", classes=tmp_path / "classes.txt")


def test_a_pipe_instead_of_an_image_is_an_error_and_no_endless_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(DataError, match=r"a\.jpg: not a regular file"):
        Item("a.jpg", 0, str(tmp_path / "a.jpg")).read()
