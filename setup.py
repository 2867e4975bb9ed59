"""Builds cvgg: three folders under one import name, and the C++ module of the CPU kernels.

`netdef`, `kernels` and `prototxt` are common names, so they are installed inside the package:
cvgg.netdef and so on. The links cvgg/netdef, cvgg/kernels and cvgg/prototxt show checkers and
editors the same names."""

import platform
from collections.abc import Iterator
from glob import glob

from pybind11.setup_helpers import Pybind11Extension
from setuptools import find_packages, setup

FOLDERS = {
    "cvgg": "cvgg",
    "cvgg.netdef": "netdef",
    "cvgg.kernels": "kernels",
    "cvgg.prototxt": "prototxt",
}
LINKS = [name.partition(".")[2] for name in FOLDERS if "." in name]


def packages() -> Iterator[str]:
    for name, folder in FOLDERS.items():
        yield name
        linked = [pattern for link in LINKS for pattern in (link, f"{link}.*")]
        for sub in find_packages(folder, exclude=linked if name == "cvgg" else []):
            yield f"{name}.{sub}"


X86 = platform.machine() in ("x86_64", "AMD64")
# No -ffast-math: linked in, it would turn on flush-to-zero for the whole Python process. Nobody
# looks at floating point's exception flags; -fno-trapping-math lets a choice between two values be
# a blend instead of a branch, and changes no value.
FLAGS = ["-O3", "-fno-trapping-math", "-fno-math-errno", "-fopenmp", "-Wall", "-Wextra"]


def extension(name: str, source: str, *flags: str) -> Pybind11Extension:
    return Pybind11Extension(
        f"cvgg.kernels.cpu.{name}",
        [f"kernels/cpu/{source}"],
        depends=glob("kernels/cpu/*.h"),
        cxx_std=17,
        extra_compile_args=[*FLAGS, *flags],
        extra_link_args=["-fopenmp"],
    )


setup(
    package_dir=FOLDERS,
    packages=sorted(packages()),
    package_data={
        "cvgg": ["py.typed"],
        "cvgg.netdef": ["caffe.proto", "*.pyi"],
        "cvgg.kernels": ["cpu/*.cpp", "cpu/*.h", "cpu/*.pyi", "cuda/*.cu", "cuda/*.cuh"],
        "cvgg.prototxt": ["*.prototxt"],
    },
    ext_modules=[
        extension("_native", "native.cpp"),
        *([extension("_avx2", "avx2.cpp", "-mavx2", "-mfma")] if X86 else []),
    ],
)
