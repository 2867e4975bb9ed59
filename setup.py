"""Builds cvgg: three folders under one import name, and the C++ module of the CPU kernels.

`netdef`, `kernels` and `prototxt` are common names, so they are installed inside the package:
cvgg.netdef and so on. The links cvgg/netdef, cvgg/kernels and cvgg/prototxt show checkers and
editors the same names."""

from collections.abc import Iterator

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


setup(
    package_dir=FOLDERS,
    packages=sorted(packages()),
    package_data={
        "cvgg": ["py.typed"],
        "cvgg.netdef": ["caffe.proto", "*.pyi"],
        "cvgg.kernels": ["cpu/*.cpp", "cpu/*.pyi", "cuda/*.cu", "cuda/*.cuh"],
        "cvgg.prototxt": ["*.prototxt"],
    },
    ext_modules=[
        # No -ffast-math: linked in, it would turn on flush-to-zero for the whole Python process.
        # Nobody looks at floating point's exception flags; -fno-trapping-math lets a choice between
        # two values be a blend instead of a branch, and changes no value.
        Pybind11Extension(
            "cvgg.kernels.cpu._native",
            ["kernels/cpu/native.cpp"],
            cxx_std=17,
            extra_compile_args=["-O3", "-fno-trapping-math", "-fopenmp", "-Wall", "-Wextra"],
            extra_link_args=["-fopenmp"],
        )
    ],
)
