"""Writes netdef/caffe_pb2.py and caffe_pb2.pyi from netdef/caffe.proto: `make proto`.

The compiler is pinned and old on purpose: code made by protoc 25 (grpcio-tools 1.62.3) runs on
every protobuf from 3.20 up, code made by today's protoc refuses older ones. It would pull protobuf
down, so it gets a virtual environment of its own, build/proto-venv."""

import argparse
import subprocess
import venv
from pathlib import Path

PINNED = ("grpcio-tools==1.62.3", "mypy-protobuf==3.6.0", "protobuf==4.25.8", "setuptools==80.9.0")
ROOT = Path(__file__).resolve().parents[1]
# Not "caffe.proto": protobuf keeps one register of file names a process, and Caffe's own file is in
# it as that.
PROTO = Path("cvgg/netdef/caffe.proto")


def tools(folder: Path) -> Path:
    """The `bin` of a virtual environment that holds PINNED; it is made if it is not there or holds
    something else."""
    stamp = folder / "pinned.txt"
    wanted = "\n".join(PINNED)
    if not stamp.exists() or stamp.read_text() != wanted:
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([folder / "bin/pip", "install", "--quiet", *PINNED], check=True)
        stamp.write_text(wanted)
    return folder / "bin"


def generate(bin: Path, out: Path) -> None:
    """Writes cvgg/netdef/caffe_pb2.py and .pyi under `out`."""
    command = [bin / "python", "-m", "grpc_tools.protoc", "-I."]
    options = [
        f"--plugin={bin / 'protoc-gen-mypy'}",
        f"--python_out={out}",
        f"--mypy_out=quiet:{out}",
    ]
    subprocess.run([*command, *options, PROTO], cwd=ROOT, check=True)


def main() -> None:
    raw = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--venv", type=Path, default=ROOT / "build/proto-venv")
    parser.add_argument("--out", type=Path, default=ROOT, help="holds cvgg/netdef")
    arguments = parser.parse_args()
    generate(tools(arguments.venv), arguments.out.resolve())


if __name__ == "__main__":
    main()
