"""The table of kernels says what the .cu files declare and what the compiler makes of them, for
every architecture."""

import re
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import pytest

from cvgg.kernels.cuda.compile import FOLDER, Cubin, compile_cubin, read_source
from cvgg.kernels.cuda.launch import declarations
from cvgg.kernels.cuda.table import ARCHITECTURES, KERNELS

FILES = sorted({kernel.file for kernel in KERNELS.values()})
PAIRS = [
    (file, architecture)
    for file in FILES
    for architecture in sorted(
        {
            architecture
            for kernel in KERNELS.values()
            if kernel.file == file
            for architecture in ARCHITECTURES[kernel.tier]
        }
    )
]
MOST_SHARED = 48 << 10  # bytes of static shared memory of a block, on any card
REGISTERS = 65536  # of a multiprocessor, from Turing to Blackwell


@dataclass(frozen=True)
class Used:
    """What ptxas says of one kernel."""

    registers: int
    shared: int  # bytes
    stack: int  # bytes of a thread's stack frame
    spilled: int  # bytes stored and loaded


def used(log: str) -> dict[str, Used]:
    """Each kernel of a log of `ptxas -v`."""
    found = {}
    for part in log.split("Compiling entry function ")[1:]:
        name = part.split("'")[1]
        frame = re.search(
            r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", part
        )
        registers = re.search(r"Used (\d+) registers", part)
        assert frame, part
        assert registers, part
        shared = re.search(r"(\d+) bytes smem", part)
        stack, stores, loads = map(int, frame.groups())
        found[name] = Used(
            int(registers[1]), int(shared[1]) if shared else 0, stack, stores + loads
        )
    return found


Compiled = dict[tuple[str, str], "Future[Cubin]"]


@pytest.fixture(scope="module")
def compiled() -> Iterator[Compiled]:
    """Every file for every architecture, each compiled once. Processes: NVRTC compiles one program
    of a process at a time."""
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        sources = {file: read_source(file) for file in FILES}
        yield {pair: pool.submit(compile_cubin, sources[pair[0]], pair[1]) for pair in PAIRS}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize(("file", "architecture"), PAIRS)
def test_a_file_compiles_within_the_budgets_of_its_kernels_and_spills_nothing(
    file: str, architecture: str, compiled: Compiled
) -> None:
    cubin = compiled[file, architecture].result()
    assert cubin.code.startswith(b"\x7fELF")
    found = used(cubin.log)
    table = {name: kernel for name, kernel in KERNELS.items() if kernel.file == file}
    assert found.keys() == table.keys()
    over = {
        name: (each, "table:", table[name].registers, table[name].shared)
        for name, each in found.items()
        if each.registers > table[name].registers or each.shared > table[name].shared
    }
    assert over == {}
    assert {name: each for name, each in found.items() if each.stack or each.spilled} == {}
    # ptxas warns (C7510 and its kin) where it had to give up what a kernel counts on.
    assert "warning" not in cubin.log.lower()


@pytest.mark.parametrize("file", sorted(path.name for path in FOLDER.glob("*.cu")))
def test_a_file_declares_what_the_table_lists_with_the_threads_that_it_says(file: str) -> None:
    said = {name: each.threads for name, each in declarations(read_source(file).text).items()}
    assert said == {k.name: k.threads for k in KERNELS.values() if k.file == file}


@pytest.mark.parametrize("file", FILES)
def test_no_kernel_of_a_file_escapes_the_form_of_declarations(file: str) -> None:
    text = re.sub(r"//.*", "", read_source(file).text)
    assert text.count("__global__") == len(declarations(text))


def test_every_budget_is_one_that_a_card_can_grant() -> None:
    for kernel in KERNELS.values():
        assert kernel.registers * kernel.threads <= REGISTERS, kernel
        assert kernel.registers % 8 == 0, kernel  # cards hand them out in eights
        assert 0 <= kernel.shared <= MOST_SHARED, kernel
        assert kernel.threads % 32 == 0, kernel
        assert kernel.tier in ARCHITECTURES, kernel
