"""How fast images come in, beside Pillow alone: 500x375 JPEGs of an LMDB, their short side brought
to 256, the middle 224 x 224 cut out, less the mean, as float32 batches (32,3,224,224).

    python tools/bench_cpu.py --loader [--photos FOLDER] [--rounds 7] [--threads N] [--torch PYTHON]

Each way runs in a process of its own, with the same number of threads; all take turns, round by
round. Images a second are counted by the clock and by the CPU time of all threads: the latter is
the rate of one core. The ways:
    cvgg         what `cvgg predict` does: libjpeg-turbo into memory that is used again, Pillow's
                 resize of only the part that is cut out
    pillow       the same steps one by one with Pillow and numpy
    pillow box   as above, cut and resized in one call
    files        a loader as PyTorch's users write it: Pillow, a file an image, stacked in the end;
                 with --torch by torch itself
"""

import argparse
import io
import statistics
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import local
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

HEIGHT, WIDTH, SHORT, CROP, BATCH = 375, 500, 256, 224, 32
MEAN = np.array([103.939, 116.779, 123.68], np.float32).reshape(3, 1, 1)  # B G R
BYTES = 87_000  # of a file, about: ImageNet's mean
WAYS = ("cvgg", "pillow", "pillow box", "files")

Batch = NDArray[np.float32]
Fill = Callable[[int, Batch], None]  # an image's number, its place in the batch


# ---- the ways
def cvgg_way(folder: Path) -> tuple[int, Fill]:
    from cvgg.commands.preparation import Preparation
    from cvgg.data.database import open_database
    from cvgg.data.datum import read_datum
    from cvgg.data.images import Scratch

    database = open_database(str(folder / "db"))
    preparation = Preparation((3, CROP, CROP), SHORT, MEAN, 1.0)
    own = local()

    def fill(i: int, out: Batch) -> None:
        if not hasattr(own, "scratch"):
            own.scratch = Scratch()
        with database.record(i) as record:
            preparation.fill(out, read_datum(record, "").data, "", own.scratch)

    return len(database), fill


def pillow_way(folder: Path, *, box: bool) -> tuple[int, Fill]:
    from cvgg.data.database import open_database
    from cvgg.data.datum import read_datum

    database = open_database(str(folder / "db"))

    def fill(i: int, out: Batch) -> None:
        image = Image.open(io.BytesIO(read_datum(database.get(i), "").data)).convert("RGB")
        cut = cut_in_one(image) if box else resized_then_cut(image)
        out[:] = np.asarray(cut)[:, :, ::-1].transpose(2, 0, 1)
        out -= MEAN

    return len(database), fill


def places(image: Image.Image) -> tuple[int, int, int, int]:
    """Width and height at the new size, left and top edge of the cut."""
    width, height = image.size
    short = min(width, height)
    width, height = width * SHORT // short, height * SHORT // short
    return width, height, (width - CROP) // 2, (height - CROP) // 2


def resized_then_cut(image: Image.Image) -> Image.Image:
    width, height, left, top = places(image)
    whole = image.resize((width, height), Image.Resampling.BILINEAR)
    return whole.crop((left, top, left + CROP, top + CROP))


def cut_in_one(image: Image.Image) -> Image.Image:
    width, height, left, top = places(image)
    across, down = image.width / width, image.height / height
    box = (left * across, top * down, (left + CROP) * across, (top + CROP) * down)
    return image.resize((CROP, CROP), Image.Resampling.BILINEAR, box)


def files_pass(folder: Path, pool: ThreadPoolExecutor) -> Callable[[], None]:
    """One pass over the files: each image an array of its own, stacked to a batch."""
    try:
        import torch
    except ImportError:
        stack: Callable[[list[Batch]], Any] = np.stack
    else:
        torch.set_num_threads(1)

        def stack(images: list[Batch]) -> Any:
            return torch.stack([torch.from_numpy(image) for image in images])

    files = sorted((folder / "files").iterdir())

    def load(file: Path) -> Batch:
        with Image.open(file) as image:
            pixels = np.asarray(resized_then_cut(image.convert("RGB")), np.float32)
        return np.ascontiguousarray(pixels[:, :, ::-1].transpose(2, 0, 1)) - MEAN

    def work() -> None:
        for start in range(0, len(files), BATCH):
            stack(list(pool.map(load, files[start : start + BATCH])))

    return work


def filling_pass(count: int, fill: Fill, pool: ThreadPoolExecutor) -> Callable[[], None]:
    """One pass over the records, into one batch."""
    batch = np.empty((BATCH, 3, CROP, CROP), np.float32)

    def work() -> None:
        for start in range(0, count, BATCH):
            numbers = range(start, min(start + BATCH, count))
            list(pool.map(fill, numbers, batch))

    return work


def serve(way: str, folder: Path, threads: int) -> None:
    """The process of one way: a pass for each line that comes in."""
    from turns import take_turns

    with ThreadPoolExecutor(threads) as pool:
        if way == "files":
            work = files_pass(folder, pool)
        else:
            given = cvgg_way(folder) if way == "cvgg" else pillow_way(folder, box="box" in way)
            work = filling_pass(*given, pool)
        take_turns(work)


# ---- the images
def make_images(folder: Path, photos: Path | None, count: int) -> float:
    """Writes folder/db and folder/files; the mean size of a file in bytes."""
    import lmdb

    from cvgg.data.datum import Datum, datum_bytes

    (folder / "files").mkdir()
    sources = sorted(photos.rglob("*.jpg")) if photos else []
    if photos and not sources:
        raise SystemExit(f"{photos}: no .jpg in it")
    total = 0
    environment = lmdb.open(str(folder / "db"), map_size=1 << 32)
    with environment.begin(write=True) as transaction:
        for i in range(count):
            picture = photo(sources[i * 7 % len(sources)]) if sources else invented(i)
            data = encoded(picture)
            (folder / "files" / f"{i:05d}.jpg").write_bytes(data)
            record = datum_bytes(Datum(data=data, label=i % 10, encoded=True))
            transaction.put(b"%05d" % i, record)
            total += len(data)
    environment.close()
    return total / count


def encoded(picture: Image.Image) -> bytes:
    """The JPEG whose size comes closest to BYTES."""
    files = []
    for quality in range(50, 99, 4):
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=quality)
        files.append(stream.getvalue())
    return min(files, key=lambda file: abs(len(file) - BYTES))


def photo(file: Path) -> Image.Image:
    return Image.open(file).convert("RGB").resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)


def invented(seed: int) -> Image.Image:
    """Noise whose strength falls with the frequency, as a photo's, under discs of one colour."""
    chance = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH)) + 0.5 / WIDTH
    waves = np.fft.rfft2(chance.standard_normal((3, HEIGHT, WIDTH))) / frequency
    noise = np.fft.irfft2(waves, (HEIGHT, WIDTH))
    pixels = 128 + 50 * noise / noise.std()
    rows, columns = np.ogrid[:HEIGHT, :WIDTH]
    for _ in range(6):
        row, column, radius = chance.integers(0, (HEIGHT, WIDTH, 90))
        inside = (rows - row) ** 2 + (columns - column) ** 2 < radius**2
        pixels[:, inside] = 0.3 * pixels[:, inside] + chance.integers(0, 180, (3, 1))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8).transpose(1, 2, 0))


# ---- the measurement
def measure(said: argparse.Namespace, start: Callable[..., Any]) -> dict[str, Any]:
    """All ways in turn. `start` makes a Runner, as in bench_cpu.py."""
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    cpu: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as place:
        size = make_images(Path(place), said.photos, said.images)
        runners = [
            start(
                way,
                said.torch if way == "files" and said.torch else sys.executable,
                "bench/loader.py",
                [way, place, str(said.threads)],
                {},
            )
            for way in WAYS
        ]
        try:
            for runner in runners:
                runner.turn()  # finds memory and code cold
            for _ in range(said.rounds):
                for runner in runners:
                    seconds[runner.name].append(runner.turn())
                    cpu[runner.name].append(runner.cpu_seconds)
        finally:
            for runner in runners:
                runner.close()
    about = {"images": said.images, "threads": said.threads, "bytes": size}
    about["source"] = "photographs" if said.photos else "invented"
    return {**about, "seconds": seconds, "cpu_seconds": cpu}


def show(result: dict[str, Any]) -> None:
    count, kib = result["images"], result["bytes"] / 1000
    print(f"{count} JPEGs of {HEIGHT}x{WIDTH}, {kib:.0f} kB each; {result['threads']} threads")
    own = statistics.median(result["cpu_seconds"]["cvgg"])
    for way in WAYS:
        cpu, clock = result["cpu_seconds"][way], result["seconds"][way]
        median = statistics.median(cpu)
        print(
            f"  {way:11}{count / median:7.0f} images a second and core (from "
            f"{count / max(cpu):.0f} to {count / min(cpu):.0f}), cvgg's are {median / own:4.2f} "
            f"times as many; {count / statistics.median(clock):5.0f} a second by the clock"
        )


if __name__ == "__main__":
    serve(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
