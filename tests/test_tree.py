"""The tree itself: names that say something, files that are made, texts that hold."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import cvgg
from cvgg.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("netdef", "kernels", "cvgg", "tools", "tests")


def test_no_file_is_called_after_nothing() -> None:
    vague = re.compile(r"(^|_)(utils?|helpers?|misc|common)(_|$)")
    found = [
        path
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*.py")
        if vague.search(path.stem)
    ]
    assert found == []


def test_every_command_has_a_module_and_stands_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    for command in COMMANDS:
        assert (ROOT / "cvgg/commands" / f"{command.replace('-', '_')}.py").is_file()
        assert f"`cvgg {command}" in readme or f"cvgg {command}" in readme, command


def test_every_folder_of_the_readme_is_there_and_every_link_leads_somewhere() -> None:
    for name in ("README.md", "CONTRIBUTING.md"):
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", (ROOT / name).read_text()):
            assert (ROOT / target).exists(), (name, target)
    for folder in re.findall(r"^    (\w+)/ ", (ROOT / "README.md").read_text(), re.M):
        assert (ROOT / folder).is_dir(), folder


def test_the_version_stands_in_one_place_and_its_copy_agrees() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    assert re.search(r'^version = "(.*)"$', text, re.M)[1] == cvgg.__version__


def test_help_is_quick_because_it_imports_nothing_heavy() -> None:
    code = (
        "import sys; from cvgg.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('numpy', 'google.protobuf', 'lmdb', 'PIL') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_the_generated_schema_is_what_the_pinned_compiler_makes(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "tools/make_proto.py", "--out", tmp_path]
    (tmp_path / "cvgg/netdef").mkdir(parents=True)
    subprocess.run([*command, "--venv", tmp_path / "venv"], check=True)
    for name in ("caffe_pb2.py", "caffe_pb2.pyi"):
        made = (tmp_path / "cvgg/netdef" / name).read_bytes()
        assert made == (ROOT / "netdef" / name).read_bytes(), f"{name}: run make proto"
