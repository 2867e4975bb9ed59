"""What a run leaves: parts, each of one kind, measured at one time. Files of parts are merged."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

KINDS = ("nets", "layers", "loader")
_KEYS = {"nets": ("net", "batch", "work"), "layers": ("label",), "loader": ()}

Part = dict[str, Any]


def command(words: Sequence[str]) -> str:
    """As a reader can give it again, from the root of the repository: where the other Pythons and
    the files lie on this machine is nobody's concern."""
    shown, before = ["python", "tools/bench_cpu.py"], ""
    for word in words:
        option, equals, value = word.rpartition("=") if word.startswith("--") else ("", "", word)
        if (option or before) in ("--torch", "--rivals"):
            value = "PYTHON"
        elif Path(value).is_absolute():
            value = Path(value).name
        shown.append(f"{option}{equals}{value}")
        before = word
    return shlex.join(shown)


def save(path: Path, parts: list[Part]) -> None:
    """Raises SystemExit if the file cannot be written."""
    try:
        path.write_text(json.dumps({"parts": parts}, indent=1))
    except OSError as error:
        raise SystemExit(f"{path}: {error.strerror}") from None


def load(path: Path) -> list[Part]:
    """Raises SystemExit if it is no file that --json wrote."""
    try:
        said = json.loads(path.read_text())
        parts: list[Part] = said["parts"]
        assert all(part["kind"] in KINDS for part in parts)
    except OSError as error:
        raise SystemExit(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AssertionError):
        raise SystemExit(f"{path}: not a file that --json wrote") from None
    return parts


def merged(parts: list[Part]) -> list[Part]:
    """By kind, and of what was measured twice only what comes last; parts with nothing left go."""
    seen: set[tuple[Any, ...]] = set()
    kept: list[Part] = []
    for part in reversed(parts):
        results = []
        for result in reversed(part["results"]):
            key = (part["kind"], *(result[name] for name in _KEYS[part["kind"]]))
            if key not in seen:
                seen.add(key)
                results.append(result)
        if results:
            kept.insert(0, {**part, "results": results[::-1]})
    return sorted(kept, key=lambda part: KINDS.index(part["kind"]))


def results(parts: list[Part], kind: str) -> list[Any]:
    return [result for part in parts if part["kind"] == kind for result in part["results"]]
