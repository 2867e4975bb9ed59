"""tools/bench_cpu.py without its rivals: who is asked, what is kept, what the report says of it."""

import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import bench_cpu
import numpy as np
import pytest
from bench import layers, vgg, whole
from bench.parts import command
from bench.problems import Problem, problems
from bench.report import report
from bench.runners import GoneError, Programs, Setting, ask_all, best_torch, closing, rounds, start
from bench.summary import Line, summary

from cvgg.engine import open_engine

BENCH = Path(bench_cpu.__file__).parent / "bench"
TINY = Problem(
    "3x3 4->5@7",
    "conv",
    "3x3",
    2,
    "forward",
    {"c": 4, "k": 5, "size": 7, "window": 3, "stride": 1, "pad": 1, "dilation": 1, "group": 1},
)
# Answers twice as runners.py wants it, then goes: what a program killed for its memory looks like.
SHORT_LIVED = """
import json, sys
for line, _ in zip(sys.stdin, range(2)):
    print(json.dumps({"seconds": 0.25, "cpu_seconds": 0.5, "peak_mib": 7.0}), flush=True)
sys.exit(3)
"""


def layer(label: str, group: str, **seconds: list[float]) -> dict[str, Any]:
    named = {name.replace("_", " "): each for name, each in seconds.items()}
    return {"label": label, "group": group, "seconds": named, "calls": {}, "failed": {}}


def net(batch: int, work: str, **seconds: list[float]) -> dict[str, Any]:
    named = {name.replace("_", " "): each for name, each in seconds.items()}
    peaks = {name: 100.0 + i for i, name in enumerate(named)}
    return {"net": "A", "batch": batch, "work": work, "seconds": named, "peak_mib": peaks} | {
        "failed": {}
    }


def part(kind: str, *results: dict[str, Any], when: str = "2026-01-02 03:04 UTC") -> dict[str, Any]:
    about = {"machine": {"CPU": "a processor"}, "versions": {"torch": "2.13"}, "missing": {}}
    said = {"kind": kind, "when": when, "command": "a command", "rounds": 3, "threads": 2}
    return {**said, **about, "results": list(results)}


# ---- what is measured
def shrunk(problem: Problem) -> Problem:
    """The same layer, small."""
    sizes = {key: min(value, 9) for key, value in problem.sizes.items()}
    if sizes.get("group", 1) > 1:
        sizes |= {"group": 2, "c": 4, "k": 6}
    return replace(problem, batch=2, sizes=sizes)


def test_every_layer_of_the_list_has_a_call_on_cvggs_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCH)
    import run_layers_cvgg

    monkeypatch.setattr(run_layers_cvgg.vgg, "params", lambda name: [(3, 2), (3,)])
    side = run_layers_cvgg.Layers(open_engine("cpu", threads=1))
    wanted = problems()
    assert len({each.label for each in wanted}) == len(wanted)
    for each in wanted:
        side.call(shrunk(each))()


def test_each_3x3_layer_is_there_at_both_batches_in_all_three_passes() -> None:
    own = [each for each in problems() if each.group == "3x3"]
    assert len(own) == 9 * 2 * 3
    shapes = {(each.sizes["c"], each.sizes["k"], each.sizes["size"]) for each in own}
    sizes = {64: 224, 128: 112, 256: 56}
    for name in vgg.LAYERS:
        last = 28
        for i, block in enumerate(vgg.blocks(name)):
            for inside, outside, window in block:
                last = 14 if i == 4 else sizes.get(outside, 28)
                assert window == 1 or (inside, outside, last) in shapes


def test_the_nets_of_the_rivals_have_the_papers_number_of_params() -> None:
    found = {name: sum(math.prod(shape) for shape in vgg.params(name)) for name in vgg.LAYERS}
    millions = {name: round(count / 1e6) for name, count in found.items()}
    assert millions == {"A": 133, "B": 133, "C": 134, "D": 138, "E": 144}  # the paper's table 2


def test_layers_take_turns_and_every_second_and_the_missing_rivals_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    second = replace(TINY, work="backward-weights")
    monkeypatch.setattr(layers, "problems", lambda only: [TINY, second])
    out, text = tmp_path / "out.json", tmp_path / "cpu.md"
    words = ["--layers", "--rounds", "3", "--threads", "1", "--json", str(out)]
    python = tmp_path / "python"
    python.write_text(
        "#!/bin/sh\necho \"ModuleNotFoundError: No module named 'torch'\" >&2; exit 1\n"
    )
    python.chmod(0o755)
    assert bench_cpu.main([*words, "--torch", str(python), "--report", str(text)]) == 0
    (kept,) = json.loads(out.read_text())["parts"]
    assert [each["label"] for each in kept["results"]] == [TINY.label, second.label]
    for each in kept["results"]:
        assert list(each["seconds"]) == ["cvgg"]
        assert len(each["seconds"]["cvgg"]) == 3
        assert all(0 < seconds < 1 for seconds in each["seconds"]["cvgg"])
        assert each["calls"]["cvgg"] > 1
    said = capsys.readouterr().out
    for name in ("torch", "torch channels_last", "torch large malloc"):
        assert f"missing: {name}: ModuleNotFoundError: No module named 'torch'" in said
        assert f"- missing: {name}: ModuleNotFoundError" in text.read_text()
    assert "PyTorch did not run." in text.read_text()


def test_calls_are_so_many_that_together_they_take_twenty_milliseconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(BENCH)
    import turns

    now, slow = [0.0], [0.5, 0.015]  # the first finds memory cold, the second is late by chance
    monkeypatch.setattr(turns.time, "perf_counter", lambda: now[0])

    def call() -> None:
        now[0] += slow.pop(0) if slow else 0.0007

    calls = turns.calls_for(call)
    assert calls * 0.0007 >= turns.LEAST_SECONDS
    assert calls * 0.0007 < 1.5 * turns.LEAST_SECONDS


def test_a_rival_that_ends_is_named_and_the_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "short.py"
    script.write_text(SHORT_LIVED)
    failed: dict[str, str] = {}
    with closing([]) as runners:
        for name in ("first", "second"):
            runners.append(start(name, sys.executable, str(script), [], {}))
        gone = runners[0]
        rounds(runners[:1], 1, failed)  # the first has one answer left, the second two
        rounds(runners, 2, failed)
        assert [runner.name for runner in runners] == ["second"]
        assert runners[0].seconds == [0.25, 0.25]
        assert gone.peak_mib == 7.0
    assert failed == {"first": "first ended with 3"}
    assert "missing: first ended with 3" in capsys.readouterr().out


def test_without_cvgg_nothing_goes_on(tmp_path: Path) -> None:
    script = tmp_path / "short.py"
    script.write_text("")
    own = start("cvgg", sys.executable, str(script), [], {})
    with closing([own]) as runners, pytest.raises(GoneError, match="cvgg ended with 0"):
        ask_all(runners, "go", {})


def test_a_module_that_is_there_is_told_with_its_version() -> None:
    programs = Programs({"numpy": sys.executable})
    asked = [Setting("one", "numpy"), Setting("two", "cv2")]
    assert [each.name for each in programs.present(asked)] == ["one"]
    assert programs.versions == {"numpy": np.__version__}
    assert programs.missing == {"two": "no Python that has cv2 was named"}


def test_nets_are_measured_without_their_rivals_forward_and_both_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "quick.py"
    script.write_text(SHORT_LIVED.replace("range(2)", "range(3)"))
    monkeypatch.setitem(whole.SCRIPTS, "", str(script))
    out = tmp_path / "out.json"
    words = ["--nets", "A,E", "--batches", "2", "--rounds", "2", "--json", str(out)]
    assert bench_cpu.main(words) == 0
    (kept,) = json.loads(out.read_text())["parts"]
    measured = [(each["net"], each["batch"], each["work"]) for each in kept["results"]]
    works = ("forward", "forward+backward")
    assert measured == [(name, 2, work) for name in "AE" for work in works]
    for each in kept["results"]:
        assert each["seconds"] == {"cvgg": [0.25, 0.25]}
        assert each["peak_mib"] == {"cvgg": 7.0}
    torch = ["torch", "torch channels_last", "torch large malloc", "torch compile"]
    assert list(kept["missing"]) == [*torch, "onnxruntime", "opencv"]
    said = capsys.readouterr().out
    assert "VGG-E, batch 2, forward+backward\n  cvgg " in said
    assert said.count("missing: torch compile") == 1


# ---- what is said of it
def test_the_best_of_torchs_settings_is_the_one_with_the_lowest_median() -> None:
    seconds = {"cvgg": [1.0], "torch": [3.0, 4.0, 9.0], "torch large malloc": [1.0, 5.0, 6.0]}
    assert best_torch(seconds) == "torch"
    assert best_torch({"cvgg": [1.0], "torch compile": [0.5]}) is None


def test_the_summary_holds_what_reaches_its_ratio_and_names_the_lowest() -> None:
    nets = part(
        "nets",
        net(8, "forward+backward", cvgg=[1.0], torch=[2.31], torch_compile=[0.9]),
        net(8, "forward", cvgg=[1.0, 2.0, 3.0], torch=[5.1, 5.1, 9.0]),
    )
    measured = part(
        "layers",
        layer("one", "convolution", cvgg=[1.0], torch=[0.7], torch_large_malloc=[0.6]),
        layer("two", "convolution", cvgg=[1.0], torch=[0.8]),
        layer("three", "3x3", cvgg=[1.0], torch=[1.25]),
    )
    loader = {"cpu_seconds": {"cvgg": [2.0], "pillow": [2.5], "pillow box": [9.0]}}
    found = {line.what: line for line in summary([nets, measured, part("loader", loader)])}

    def said(start: str) -> Line:
        (line,) = (line for what, line in found.items() if what.startswith(start))
        return line

    assert said("VGG-A, batch 8, forward+backward: PyTorch").verdict == "held"
    assert said("VGG-A, batch 8, forward: PyTorch").found == pytest.approx(2.55)
    assert said("VGG-A, batch 8, forward: PyTorch").verdict == "missed"
    assert said("VGG-A, batch 1, forward: PyTorch").verdict == "not measured"
    assert said("VGG-A, batch 8, forward+backward: torch.comp").verdict == "not reached"
    assert said("1x1, 5x5").found == pytest.approx(0.6)
    assert said("1x1, 5x5").note == "one"
    assert said("1x1, 5x5").verdict == "missed"
    assert said("every 3x3").verdict == "1 of 54 measured"  # and held as far as that goes
    assert said("peak memory").found == pytest.approx(1.01)
    assert said("images a second").found == pytest.approx(1.25)
    assert said("images a second").verdict == "missed"


def test_files_are_merged_and_what_was_measured_last_counts(tmp_path: Path) -> None:
    old, new, out = (tmp_path / name for name in ("old.json", "new.json", "cpu.md"))
    early = part(
        "layers",
        layer("again", "other", cvgg=[0.004], torch=[0.002]),
        layer("once", "other", cvgg=[0.03, 0.01, 0.02], torch=[0.04]),
    )
    late = part("layers", layer("again", "other", cvgg=[0.001], torch=[0.002]), when="later")
    old.write_text(json.dumps({"parts": [early]}))
    new.write_text(json.dumps({"parts": [late]}))
    assert bench_cpu.main(["--from", str(old), "--from", str(new), "--report", str(out)]) == 0
    text = out.read_text()
    assert "| again | 1.00 (1.00–1.00) | 2.00 (2.00–2.00) | default | 2.00 |" in text
    assert "| once | 20.0 (10.0–30.0) | 40.0 (40.0–40.0) | default | 2.00 |" in text
    assert text.count("| again |") == 1
    assert "Measured later, 3 rounds, 2 threads:" in text
    assert "Measured 2026-01-02 03:04 UTC, 3 rounds, 2 threads:" in text
    assert "Below 1.0: 0 of 2." in text


def test_the_report_names_every_layer_below_one_and_what_is_missing() -> None:
    slow = [layer(f"layer {i}", "3x3", cvgg=[1.0], torch=[0.9 - i / 10]) for i in (1, 3)]
    lines = report([part("layers", *slow)]).splitlines()
    at = lines.index("Below 1.0: 2 of 2.")
    assert lines[at + 1 : at + 3] == ["- layer 3: 0.60", "- layer 1: 0.80"]
    assert lines.count("Not measured.") == 2  # nets and loader
    forward = net(1, "forward", cvgg=[1.0])
    (row,) = (line for line in report([part("nets", forward)]).splitlines() if "1000.0" in line)
    assert row.count("missing") == 4  # PyTorch, torch.compile, onnxruntime, OpenCV


def test_the_command_can_be_given_again_elsewhere() -> None:
    words = ["--torch", "/here/bin/python", "--rivals=/there/python", "--json", "/tmp/out.json"]
    again = "python tools/bench_cpu.py --torch PYTHON --rivals=PYTHON --json out.json --nets A,E"
    assert command([*words, "--nets", "A,E"]) == again


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        (["--nets", "A,F"], "F is none of A, B, C, D, E"),
        (["--batches", "1,0"], "whole numbers above 0"),
        (["--rounds", "0"], "--rounds 0: at least 1"),
    ],
)
def test_wrong_words_are_told_before_anything_runs(
    words: list[str], rule: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        bench_cpu.main(words)
    assert rule in capsys.readouterr().err


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text("[1, 2]")
    with pytest.raises(SystemExit, match="not a file that --json wrote"):
        bench_cpu.main(["--from", str(other)])
