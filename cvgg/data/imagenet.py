"""Where images and their labels come from: folders, lists, and ILSVRC-2012 as it is handed out.

Labels are the places of the classes in byte order of their names, from 0: Caffe's numbering, and
that of the published VGG weights. The devkit numbers its classes in another order and from 1 (no
ID is its label + 1), so its numbers are never labels: they go ID -> synset -> label.
Archives are not unpacked: an image is a file, or a range of bytes of a tar.
"""

import csv
import itertools
import logging
import os
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cvgg.data.files import read_regular
from cvgg.data.lists import read_list
from cvgg.data.matlab import Value, parse_mat
from cvgg.errors import DataError, MissingInputError

_SUFFIXES = frozenset(
    (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"PK\x03\x04")
_log = logging.getLogger("cvgg")

_SHOWN = 10  # lines of warnings of one kind
_END = 1024  # bytes: an archive ends with two blocks of zeros
_META = "meta.mat"
_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
_LARGEST = 64 * 2**20  # bytes of a file of the devkit
_SOLUTION = "ImageId,PredictionString"
_NO_LABELS = (
    "nothing tells the labels (no folder or tar for each class): give them with --labels: "
    "ILSVRC2012_devkit_t12.tar.gz, LOC_val_solution.csv, or a list such as val.txt"
)


@dataclass(frozen=True, slots=True)
class Item:
    """An image and its label. name: its path inside the source, which becomes a part of the key."""

    name: str
    label: int
    file: str
    offset: int = 0
    size: int = -1  # bytes in an archive; -1: the file is the image

    def __str__(self) -> str:
        return self.file if self.size < 0 else f"{self.file}: {self.name}"

    def stored(self) -> int:
        """Bytes of the image as it is stored; 0 if it is not there."""
        if self.size >= 0:
            return self.size
        try:
            return os.stat(self.file).st_size
        except OSError:
            return 0

    def read(self) -> bytes:
        """The image as it is stored, still encoded."""
        if self.size < 0:
            return read_regular(self.file)
        with open(self.file, "rb") as stream:
            stream.seek(self.offset)
            data = stream.read(self.size)
        if len(data) != self.size:
            raise DataError(f"{self}: {len(data)} of {self.size} bytes: the archive is cut off")
        return data


@dataclass(frozen=True)
class Source:
    """Images in order. classes: a name for each label; empty if only the numbers are known."""

    items: tuple[Item, ...]
    classes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Entry:
    """A name and its label. where: file and line that say so."""

    name: str
    label: int
    where: str


def read_source(place: Path, labels: Path | None = None, classes: Path | None = None) -> Source:
    """The images of a folder or of a tar.

    labels: a Caffe list, the devkit (tar or folder) or LOC_val_solution.csv, and then their order;
    without it the classes are the folders, or the tars in the tar. classes: synsets.txt or
    synset_words.txt, which fixes the labels where not every class has images.
    MissingInputError if a file is not there, or if nothing tells the labels.
    """
    if not place.exists():
        raise MissingInputError(f"{place}: no such folder or archive (in {Path.cwd()})")
    if not place.is_dir() and not place.is_file():
        raise DataError(f"{place}: neither a folder nor a regular file")
    names = _read_classes(classes) if classes else ()
    source = _labelled(place, labels, names) if labels else _grouped(place, names)
    if not source.items:
        raise DataError(f"{labels or place}: no image in it")
    if not source.classes:
        _warn_of_labels(source.items)
    return source


def _grouped(place: Path, names: tuple[str, ...]) -> Source:
    """Folders or archives, one a class."""
    groups = dict(_folders(place) if place.is_dir() else _archives(place))
    if not groups:
        raise MissingInputError(f"{place}: {_NO_LABELS}")
    names = names or tuple(sorted(groups))
    items: list[Item] = []
    for name in sorted(groups):
        label = _label(name, _numbered(names), str(place))
        if not groups[name]:
            raise DataError(f"{place}: class {name!r} has no image")
        items += (replace(item, label=label) for item in groups[name])
    return Source(tuple(items), names)


def _labelled(place: Path, labels: Path, names: tuple[str, ...]) -> Source:
    """The images that the labels name, in the order of the labels."""
    entries, names = _read_labels(labels, names)
    if place.is_dir():
        return Source(tuple(Item(e.name, e.label, _below(place, e)) for e in entries), names)
    stored: dict[str, Item] = {}
    groups = [images for _, images in _archives(place)]
    for images in groups or [list(_members(place, 0, place.stat().st_size))]:
        for image in images:
            if stored.setdefault(image.name, image) is not image:
                raise DataError(f"{place}: {image.name} is there twice")
    for entry in entries:
        if entry.name not in stored:
            raise MissingInputError(f"{entry.where}: {entry.name} is not in {place}")
    return Source(tuple(replace(stored[e.name], label=e.label) for e in entries), names)


def _folders(place: Path) -> Iterator[tuple[str, list[Item]]]:
    """The images of each folder, in byte order; hidden files and other suffixes are left out."""
    for top in place.iterdir():
        if not top.is_dir() or top.name.startswith("."):
            continue
        found = sorted(
            os.path.join(folder, file)
            for folder, _, files in os.walk(top)
            for file in files
            if not file.startswith(".") and os.path.splitext(file)[1].lower() in _SUFFIXES
        )
        yield top.name, [Item(os.path.relpath(file, place), -1, file) for file in found]


def _archives(place: Path) -> list[tuple[str, list[Item]]]:
    """The images of each tar in a tar, in byte order of their names; [] if it holds no tar."""
    found = []
    for tar in _members(place, 0, place.stat().st_size):
        if tar.name.endswith(".tar"):
            name = tar.name.removesuffix(".tar")
            images = _members(place, tar.offset, tar.size, name)
            found.append((name, sorted(images, key=lambda item: item.name)))
    return found


def _members(place: Path, start: int, size: int, folder: str = "") -> Iterator[Item]:
    """The files of the archive in `size` bytes of a file from `start`, as items without a label.

    A name is the last part of the member's path (some archives wrap all in test/), below `folder`.
    """
    where = f"{place}: {folder}.tar" if folder else str(place)
    with open(place, "rb") as stream:
        stream.seek(start)
        if stream.read(8).startswith(_COMPRESSED):
            raise DataError(f"{where}: compressed: unpack it to a plain tar first")
        stream.seek(start)
        try:
            with tarfile.open(fileobj=stream, mode="r:") as archive:
                _check_end(stream.fileno(), start, size, where)
                for member in archive:
                    if member.isdir():
                        continue
                    end = member.offset_data + member.size
                    if not member.isfile() or member.issparse() or end > start + size:
                        raise DataError(f"{where}: {member.name}: not a whole, regular file")
                    name = os.path.join(folder, os.path.basename(member.name))
                    yield Item(name, -1, str(place), member.offset_data, member.size)
        except tarfile.TarError as error:
            raise DataError(f"{where}: not a tar archive, or damaged: {error}") from error


def _check_end(descriptor: int, start: int, size: int, where: str) -> None:
    # tarfile takes an archive that is cut off between two members for a whole one.
    tail = os.pread(descriptor, _END, start + max(0, size - _END))
    if tail != bytes(_END):
        raise DataError(f"{where}: the archive has no end: cut off")


def _below(root: Path, entry: _Entry) -> str:
    """root/name; DataError if that leaves the root, by `..`, an absolute path or a link."""
    path = os.path.join(root, entry.name)
    base = os.path.realpath(root)
    if os.path.commonpath((base, os.path.realpath(path))) != base:
        raise DataError(f"{entry.where}: {entry.name} lies outside the folder {root}")
    return path


def _read_labels(path: Path, names: tuple[str, ...]) -> tuple[list[_Entry], tuple[str, ...]]:
    """Labelled names and classes of a devkit, a solution CSV or a Caffe list, told by content."""
    if not path.exists():
        raise MissingInputError(f"{path}: no such file (in {Path.cwd()})")
    if not path.is_dir() and not path.is_file():
        raise DataError(f"{path}: not a regular file")
    if path.is_dir() or tarfile.is_tarfile(path):
        return _devkit(path, names)
    with open(path, "rb") as stream:
        solution = stream.read(len(_SOLUTION)) == _SOLUTION.encode()
    if solution:
        return _solution(path, names)
    entries = [_Entry(e.path, e.label, f"{path}:{e.line}") for e in read_list(path)]
    _warn_of_repeats(entries)
    if all(e.label == k and not os.path.splitext(e.name)[1] for k, e in enumerate(entries, 1)):
        raise DataError(
            f"{path}: its numbers are line numbers, not labels (a list of Kaggle's ImageSets): "
            "use LOC_val_solution.csv, or the folder of each class"
        )
    return entries, names


def _warn_of_repeats(entries: list[_Entry]) -> None:
    """An image that is listed twice counts twice, and perhaps with two labels."""
    first: dict[str, _Entry] = {}
    repeats = [
        f"{entry.where}: {entry.name} is there already, at {first[entry.name].where}"
        for entry in entries
        if first.setdefault(entry.name, entry) is not entry
    ]
    for repeat in repeats[:_SHOWN]:
        _log.warning("%s", repeat)
    if len(repeats) > _SHOWN:
        _log.warning("and %d images more that are listed twice", len(repeats) - _SHOWN)


def _warn_of_labels(items: Sequence[Item]) -> None:
    """Classes are counted from 0: a negative label, or one that no image has, is rarely meant."""
    labels = {item.label for item in items}
    if min(labels) < 0:
        _log.warning("the least label is %d: a loss takes 0 and up", min(labels))
    gaps = max(labels) + 1 - len([label for label in labels if label >= 0])
    if gaps > 0:
        known = itertools.islice((n for n in itertools.count() if n not in labels), 5)
        shown = ", ".join(map(str, sorted(known)[:gaps]))
        _log.warning(
            "labels go up to %d, but no image has %s%s",
            *(max(labels), shown, ", ..." if gaps > 5 else ""),
        )


def _read_classes(path: Path) -> tuple[str, ...]:
    """The lines of synsets.txt, synset_words.txt or LOC_synset_mapping.txt: label = line - 1."""
    try:
        lines = read_regular(path).decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 at byte {error.start}") from error
    names = tuple(line.strip() for line in lines if line.strip())
    if len(_numbered(names)) < len(names) or not names:
        raise DataError(f"{path}: {len(names)} classes, {len(_numbered(names))} different")
    return names


def _numbered(names: Iterable[str]) -> dict[str, int]:
    """Class -> label. "n01440764 tench, Tinca tinca" goes by its first word, the synset."""
    return {_synset(name): label for label, name in enumerate(names)}


def _synset(name: str) -> str:
    first = name.split(maxsplit=1)[0]
    return first if first[0] == "n" and first[1:].isdigit() else name


def _label(name: str, labels: dict[str, int], where: str) -> int:
    if name not in labels:
        raise DataError(f"{where}: class {name!r} is none of the {len(labels)} given classes")
    return labels[name]


def _devkit(path: Path, names: tuple[str, ...]) -> tuple[list[_Entry], tuple[str, ...]]:
    """Validation images: line k of the devkit's ground truth is the ILSVRC2012_ID of image k."""
    files = _devkit_files(path)
    known = _devkit_classes(files[_META], f"{path}: {_META}")
    names = names or tuple(sorted(known.values()))
    labels = _numbered(names)
    entries = []
    for line, word in enumerate(files[_TRUTH].split(), 1):
        where = f"{path}: {_TRUTH}:{line}"
        if not word.isdigit() or len(word) > 9 or int(word) not in known:
            raise DataError(f"{where}: {word.decode('latin-1')!r} is no class's ID in {_META}")
        label = _label(_synset(known[int(word)]), labels, where)
        entries.append(_Entry(f"ILSVRC2012_val_{line:08d}.JPEG", label, where))
    return entries, names


def _devkit_classes(meta: bytes, where: str) -> dict[int, str]:
    """ILSVRC2012_ID -> "synset words". Entries with children are ancestors of classes: left out."""
    synsets = parse_mat(meta, where).get("synsets")
    known: dict[int, str] = {}
    for entry in synsets if isinstance(synsets, list) else []:
        if not isinstance(entry, dict):
            break
        number, children = (_whole(entry, key, where) for key in ("ILSVRC2012_ID", "num_children"))
        if children == 0:
            known[number] = f"{entry.get('WNID', '')} {entry.get('words', '')}".strip()
    if not known or not all(known.values()):
        raise DataError(f"{where}: no struct array 'synsets' with the WNID of each class")
    return known


def _whole(entry: dict[str, Value], key: str, where: str) -> int:
    value = entry.get(key)
    if not isinstance(value, np.ndarray) or value.shape != (1,) or value[0] != value[0] // 1:
        raise DataError(f"{where}: {key} of a synset must be one whole number")
    return int(value[0])


def _devkit_files(path: Path) -> dict[str, bytes]:
    """The two files that count, from the archive as it is handed out or unpacked."""
    found: dict[str, bytes] = {}
    if path.is_dir():
        for file in (*path.rglob(_META), *path.rglob(_TRUTH)):
            found[file.name] = read_regular(file)
    else:
        try:
            with tarfile.open(path) as archive:
                for member in archive:
                    name = os.path.basename(member.name)
                    stream = archive.extractfile(member) if name in (_META, _TRUTH) else None
                    if stream is not None:
                        found[name] = stream.read(_LARGEST)
        except (tarfile.TarError, EOFError, OSError) as error:
            raise DataError(f"{path}: damaged archive: {error}") from error
    for name in (_META, _TRUTH):
        if name not in found:
            raise MissingInputError(f"{path}: no {name} in it: not ILSVRC2012_devkit_t12")
    return found


def _solution(path: Path, names: tuple[str, ...]) -> tuple[list[_Entry], tuple[str, ...]]:
    """Rows "ImageId,synset x y x y synset ..." of LOC_val_solution.csv, in order of the names."""
    rows: dict[str, tuple[str, str]] = {}
    with open(path, newline="", encoding="utf-8") as stream:
        for number, row in enumerate(csv.reader(stream), 1):
            if number == 1 or not row:
                continue
            where = f"{path}:{number}"
            synsets = set(row[1].split()[::5]) if len(row) == 2 else set()
            if len(synsets) != 1:
                raise DataError(f"{where}: {len(synsets)} classes where one must stand")
            if row[0] in rows:
                raise DataError(f"{where}: {row[0]} is there twice")
            rows[row[0]] = (synsets.pop(), where)
    names = names or tuple(sorted({synset for synset, _ in rows.values()}))
    labels = _numbered(names)
    return [
        _Entry(f"{name}.JPEG", _label(synset, labels, where), where)
        for name, (synset, where) in sorted(rows.items())
    ], names
