"""Whole nets on the CUDA engine, its device emulated, against the CPU engine."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nets
import numpy as np
import pytest
from databases import numbered, write_images
from emulator.driver import EmulatorDriver
from google.protobuf import text_format
from nets import conv, fc, loss, pool, relu

import cvgg
from cvgg.engine import Engine, open_engine
from cvgg.engine.cuda import CudaEngine
from cvgg.errors import TrainingError, UnavailableError, UsageError
from cvgg.layers.base import SourceLayer
from cvgg.netdef.prototxt import read_solver
from cvgg.plan import Step
from cvgg.testing import OneLayer

SEEDS = range(5)


def emulated(seed: int = 0, **device: Any) -> CudaEngine:
    return CudaEngine(EmulatorDriver(seed, **device), threads=2)


def cpu() -> Engine:
    return open_engine("cpu:direct", threads=2)


def block(name: str, bottom: str, outputs: int) -> str:
    return conv(name, bottom, outputs) + relu(f"relu_{name}", name)


def batch_norm(name: str, bottom: str) -> str:
    return f"""
    layer {{ name: "{name}" type: "BatchNorm" bottom: "{bottom}" top: "{name}" }}
    layer {{ name: "scale_{name}" type: "Scale" bottom: "{name}" top: "{name}s"
      scale_param {{ bias_term: true filler {{ type: "gaussian" mean: 1 std: 0.2 }} }} }}
    """


WITH_LRN = (
    nets.dummy_data(5, channels=3, side=12, classes=4)
    + block("conv1", "data", 8)
    + """layer { name: "norm1" type: "LRN" bottom: "conv1" top: "norm1"
           lrn_param { local_size: 3 alpha: 0.5 beta: 0.75 k: 2 } }"""
    + block("conv2", "norm1", 12)
    + pool("pool2", "conv2")
    + block("conv3", "pool2", 9)
    + pool("pool3", "conv3")
    + fc("fc4", "pool3", 11)
    + relu("relu4", "fc4")
    + nets.dropout("drop4", "fc4")
    + fc("fc5", "fc4", 4)
    + loss("fc5")
)
WITH_1X1 = (
    nets.dummy_data(3, channels=3, side=10, classes=5)
    + block("conv1", "data", 6)
    + """layer { name: "conv2" type: "Convolution" bottom: "conv1" top: "conv2"
           convolution_param { num_output: 8 kernel_size: 1 weight_filler { type: "msra" } } }"""
    + relu("relu2", "conv2")
    + pool("pool2", "conv2")
    + fc("fc3", "pool2", 5)
    + loss("fc3")
)
WITH_BATCH_NORM = (
    nets.dummy_data(4, channels=3, side=8, classes=3)
    # No bias: normalisation takes it away again, and its gradient is nothing but rounding.
    + """layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
           convolution_param { num_output: 7 kernel_size: 3 pad: 1 bias_term: false
             weight_filler { type: "msra" } } }"""
    + batch_norm("bn1", "conv1")
    + relu("relu1", "bn1s")
    + pool("pool1", "bn1s")
    + conv("conv2", "pool1", 6)
    + batch_norm("bn2", "conv2")
    + """layer { name: "sum" type: "Eltwise" bottom: "conv2" bottom: "bn2s" top: "sum" }
         layer { name: "both" type: "Concat" bottom: "sum" bottom: "pool1" top: "both" }
         layer { name: "mean" type: "Pooling" bottom: "both" top: "mean"
           pooling_param { pool: AVE kernel_size: 4 } }"""
    + fc("fc3", "mean", 3)
    + loss("fc3")
)
LENET = (
    nets.dummy_data(6, channels=1, side=28, classes=10)
    + """layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
           convolution_param { num_output: 20 kernel_size: 5 weight_filler { type: "xavier" } } }
         layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
           pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
         layer { name: "conv2" type: "Convolution" bottom: "pool1" top: "conv2"
           convolution_param { num_output: 50 kernel_size: 5 weight_filler { type: "xavier" } } }
         layer { name: "pool2" type: "Pooling" bottom: "conv2" top: "pool2"
           pooling_param { pool: MAX kernel_size: 2 stride: 2 } }"""
    + fc("ip1", "pool2", 50)
    + relu("relu1", "ip1")
    + fc("ip2", "ip1", 10)
    + loss("ip2")
)
NETS = {"lrn": WITH_LRN, "1x1": WITH_1X1, "batch norm": WITH_BATCH_NORM, "lenet": LENET}


def solver(net: str, engine: Engine, seed: int, more: str = "") -> cvgg.Solver:
    text = f"""net_param {{ {net} }} random_seed: {seed} snapshot_after_train: false
      base_lr: 0.05 lr_policy: "step" gamma: 0.5 stepsize: 2 momentum: 0.9 weight_decay: 0.01
      {more}"""
    return cvgg.Solver(read_solver(text), engine=engine, memory=1 << 30)


def gradients(made: cvgg.Solver) -> list[np.ndarray]:
    return [
        np.array(blob.diff)
        for blobs in made.net.params.values()
        for blob in blobs
        if blob.diff is not None
    ]


def values(made: cvgg.Solver) -> list[np.ndarray]:
    return [np.array(blob.data) for blobs in made.net.params.values() for blob in blobs]


def distance(ours: list[np.ndarray], theirs: list[np.ndarray]) -> float:
    """The largest relative L2 of an array."""
    return max(
        float(np.linalg.norm(a - b) / np.linalg.norm(b)) for a, b in zip(ours, theirs, strict=True)
    )


@pytest.mark.parametrize("net", NETS.values(), ids=NETS.keys())
def test_a_step_gives_the_gradients_and_the_params_of_the_cpu(net: str) -> None:
    """Sums in another order: 1e-5 in the median of 5 seeds; where a maximum or a ReLU falls the
    other way by rounding, 1e-3."""
    found = []
    for seed in SEEDS:
        ours, theirs = solver(net, emulated(seed), seed), solver(net, cpu(), seed)
        ours.step(1)
        theirs.step(1)
        found.append(distance(gradients(ours), gradients(theirs)))
        assert distance(values(ours), values(theirs)) < 1e-4
    assert sorted(found)[2] < 1e-5
    assert max(found) < 1e-3


def layer_text(step: Step) -> str:
    """The blocks of a step's layers."""
    blocks = (text_format.MessageToString(node.spec) for node in step.nodes)
    return "\n".join(f"layer {{ {block} }}" for block in blocks)


def relative(ours: np.ndarray, theirs: np.ndarray) -> float:
    norm = float(np.linalg.norm(theirs))
    return float(np.linalg.norm(ours - theirs)) / norm if norm else float(np.abs(ours).max())


@pytest.mark.parametrize("net", NETS.values(), ids=NETS.keys())
def test_each_layer_equals_the_cpu_s_on_the_cpu_s_bottoms_and_top_diffs(net: str) -> None:
    """1e-5: sums of some hundred terms in another order."""
    whole = cvgg.Net(net, phase=cvgg.TRAIN, engine=cpu(), seed=5)
    whole.forward()
    whole.backward()
    for step in whole.plan.steps:
        if isinstance(step.layer, SourceLayer):
            continue
        found = []
        for engine in (emulated(), cpu()):
            one = OneLayer(
                layer_text(step),
                [whole.blobs[name].data for name in step.nodes[0].bottoms],
                params=[blob.data for blob in whole.params.get(step.name, [])],
                phase=cvgg.TRAIN,
                engine=engine,
            )
            tops = one.forward()
            diffs = [whole.blobs[name].diff for name in step.nodes[-1].tops]
            down = one.backward(
                [
                    np.zeros(top.shape) if diff is None else diff
                    for top, diff in zip(tops, diffs, strict=True)
                ]
            )
            found.append([*tops, *down, *(d for d in one.param_diffs if d is not None)])
        for ours, theirs in zip(*found, strict=True):
            assert relative(ours, theirs) < 1e-5, step.name


def test_a_recorded_step_follows_rate_seed_and_data() -> None:
    """The third step is the first from the recording, and the first at another rate."""
    ours, theirs = solver(WITH_LRN, emulated(), 1), solver(WITH_LRN, cpu(), 1)
    for _ in range(5):
        ours.step(1)
        theirs.step(1)
        assert ours.net.loss() == pytest.approx(theirs.net.loss(), rel=1e-4)
    assert distance(values(ours), values(theirs)) < 1e-4


def test_a_recorded_update_is_left_out_where_the_gradient_is_not_finite() -> None:
    net = nets.dummy_data(3) + conv("conv", "data", 4) + fc("fc", "conv", 3) + loss("fc")
    made = solver(net, emulated(), 1)
    made.step(3)
    for blob in made.net.params["conv"]:
        blob.data[...] *= 1e-37
    weights, bias = made.net.params["fc"]
    weights.data[...] = 3e38
    weights.data[1] *= -1  # back through these nothing is finite, but the loss is
    bias.data[...] = 0
    before = values(made)
    with pytest.raises(TrainingError, match=r"^iteration 3: the gradient is not .* 'conv'"):
        made.step(1)
    for was, now in zip(before, values(made), strict=True):
        np.testing.assert_array_equal(was, now)


def test_nothing_depends_on_the_order_of_threads_blocks_and_streams() -> None:
    bits = set()
    for seed in (*SEEDS, *SEEDS):
        made = solver(WITH_LRN, emulated(seed), 2)
        made.step(4)
        bits.add(b"".join(each.tobytes() for each in values(made)))
    assert len(bits) == 1


def test_dropout_drops_what_it_drops_on_the_cpu() -> None:
    """In both layouts: one layer sees images, one rows. The pass has the middle of a batch."""
    text = (
        nets.images(3, channels=5, side=4)
        + block("conv", "data", 6)
        + nets.dropout("drop", "conv", 0.4)
        + fc("fc", "conv", 9)
        + nets.dropout("drop2", "fc", 0.3)
        + loss("fc")
    )
    data = np.random.default_rng(3).uniform(1, 2, (3, 5, 4, 4)).astype(np.float32)
    dropped = []
    for engine in (cpu(), emulated()):
        net = cvgg.Net(text, phase=cvgg.TRAIN, engine=engine, seed=6)
        net.forward(data=data, label=np.zeros(3))
        dropped.append([net.blobs[name].data == 0 for name in ("conv", "fc")])
    for ours, theirs in zip(*dropped, strict=True):
        np.testing.assert_array_equal(ours, theirs)
        assert 0.1 < ours.mean() < 0.9


def database(folder: Path) -> str:
    source = write_images(folder / "lmdb", numbered(11, (3, 7, 9)), label=0)
    return f"""
    layer {{ name: "data" type: "Data" top: "data" top: "label"
      transform_param {{ crop_size: 5 mirror: true scale: 0.5
        mean_value: 10 mean_value: 20 mean_value: 30 }}
      data_param {{ source: "{source}" batch_size: 4 backend: LMDB shuffle: true }} }}
    """


@pytest.mark.parametrize("seed", SEEDS)
def test_crops_come_as_on_the_cpu_whatever_the_order_of_the_streams(
    seed: int, tmp_path: Path
) -> None:
    """The next batch is on its way while this one is computed."""
    text = database(tmp_path) + fc("fc", "data", 12) + loss("fc")
    ours, theirs = solver(text, emulated(seed), 4), solver(text, cpu(), 4)
    for _ in range(6):
        ours.step(1)
        theirs.step(1)
        assert ours.net.loss() == pytest.approx(theirs.net.loss(), rel=1e-5)
    ours.close()
    theirs.close()
    nets_of = [cvgg.Net(text, phase=0, engine=each, seed=4) for each in (emulated(seed), cpu())]
    for _ in range(3):
        for net in nets_of:
            net.forward()
        for name in ("data", "label"):
            ours_now, theirs_now = (net.blobs[name].data for net in nets_of)
            np.testing.assert_array_equal(ours_now, theirs_now)
    for net in nets_of:
        net.close()


def test_data_that_waits_for_the_next_pass_survives_a_larger_test_net(tmp_path: Path) -> None:
    """The test's batch is larger: its first run moves all blobs, labels on their way included."""
    text = database(tmp_path)
    train = text.replace('name: "data"', 'name: "data" include { phase: TRAIN }')
    test = text.replace("batch_size: 4", "batch_size: 50").replace(
        'name: "data"', 'name: "data" include { phase: TEST }'
    )
    net = train + test + fc("fc", "data", 12) + loss("fc")
    more = "test_iter: 1 test_interval: 2 test_initialization: false"
    text = f"""net_param {{ {net} }} random_seed: 4 snapshot_after_train: false
      base_lr: 0.01 lr_policy: "fixed" {more}"""
    ours, theirs = (
        cvgg.Solver(read_solver(text), engine=engine, memory=1 << 30)
        for engine in (emulated(), cpu())
    )
    for _ in range(5):
        ours.step(1)
        theirs.step(1)
        assert ours.net.loss() == pytest.approx(theirs.net.loss(), rel=1e-5)
    ours.close()
    theirs.close()


def test_a_cut_batch_gives_the_gradients_of_the_whole() -> None:
    engine = emulated()
    limit = cvgg.Net(
        WITH_LRN.replace("dim: 5 ", "dim: 2 "), phase=0, keep=False, engine=engine
    ).plan.memory.total
    whole = cvgg.Net(WITH_LRN, phase=0, keep=False, engine=engine, seed=1)
    parts = cvgg.Net(WITH_LRN, phase=0, keep=False, engine=engine, seed=1, memory=limit)
    assert len(parts.micro_batches) == 3
    found = []
    for net in (whole, parts):
        net.clear_param_diffs()
        net.run(0, draw=2, backward=True)
        found.append([np.array(b.diff) for blobs in net.params.values() for b in blobs])
    assert distance(*found) < 1e-5
    assert parts.loss() == pytest.approx(whole.loss(), rel=1e-6)


def test_a_resumed_run_gives_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = database(tmp_path) + block("conv", "data", 4) + nets.dropout("drop", "conv")
    text += fc("fc", "conv", 12) + loss("fc")
    more = 'snapshot_prefix: "s"'
    whole = solver(text, emulated(), 4, more)
    whole.step(6)
    first = solver(text, emulated(1), 4, more)
    first.step(3)
    path = first.snapshot()
    second = solver(text, emulated(2), 4, more)
    second.restore(path)
    second.step(3)
    for ours, theirs in zip(values(second), values(whole), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for each in (whole, first, second):
        each.close()


# ---- what Python users see


def test_what_users_write_into_a_blob_is_there_in_the_next_pass() -> None:
    text = nets.images(2, channels=3, side=4) + conv("conv", "data", 5) + fc("fc", "conv", 3)
    ours, theirs = (cvgg.Net(text, engine=engine, seed=3) for engine in (emulated(), cpu()))
    held = ours.blobs["data"].data, theirs.blobs["data"].data
    for number in range(3):
        for data in held:
            data[...] = np.arange(96).reshape(data.shape) % 7 - number
        for net in (ours, theirs):
            net.params["conv"][0].data[number] *= 0.5
            net.forward()
        np.testing.assert_allclose(ours.blobs["fc"].data, theirs.blobs["fc"].data, rtol=1e-5)
    np.testing.assert_array_equal(ours.params["conv"][0].data, theirs.params["conv"][0].data)


def test_a_blob_is_seen_as_the_last_pass_left_it() -> None:
    text = nets.images(2, channels=3, side=4) + block("conv", "data", 5)
    net = cvgg.Net(text, engine=emulated(), seed=3)
    seen = []
    for number in range(2):
        net.forward(data=np.full((2, 3, 4, 4), number + 1, np.float32))
        seen.append(net.blobs["conv"].data.copy())
    assert (seen[0] != seen[1]).any()
    output = net.forward(data=np.full((2, 3, 4, 4), 1, np.float32))["conv"]
    np.testing.assert_array_equal(output, seen[0])


def test_backward_gives_the_diffs_of_inputs_as_on_the_cpu() -> None:
    text = nets.images(2, channels=3, side=4) + block("conv", "data", 5) + pool("pool", "conv")
    text = "force_backward: true" + text
    found = []
    for engine in (emulated(), cpu()):
        net = cvgg.Net(text, phase=cvgg.TRAIN, engine=engine, seed=3)
        net.forward(data=np.random.default_rng(1).normal(size=(2, 3, 4, 4)))
        found.append(net.backward(pool=np.arange(40).reshape(2, 5, 2, 2))["data"])
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-4)


def test_a_blob_that_is_not_kept_says_so() -> None:
    made = solver(WITH_LRN, emulated(), 1)
    made.step(1)
    with pytest.raises(UsageError, match="blob 'conv1' is not kept: this net uses its memory"):
        made.net.blobs["conv1"]


# ---- what is missing


def test_a_net_without_room_names_its_largest_blobs() -> None:
    engine = emulated(memory=1 << 16)
    message = r"no room on cuda:0 .* the largest are conv2 34,560, conv1 23,040"
    with pytest.raises(UnavailableError, match=message):
        cvgg.Net(WITH_LRN, phase=0, engine=engine).forward()


@pytest.mark.parametrize("name", ["gpu", "cuda", "cuda:3"])
def test_a_gpu_without_cupy_is_one_line(name: str, no_cupy: Callable[[], None]) -> None:
    with pytest.raises(UnavailableError, match=r"^CuPy cannot be loaded .* install cvgg\[cuda13\]"):
        open_engine(name)


@pytest.fixture
def no_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cupy", None)
