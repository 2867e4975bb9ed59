"""The shipped nets: what the paper's table 1 says, and that text, tool and solvers agree."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from google.protobuf import text_format

from cvgg import lr_policy
from cvgg.layers import infer
from cvgg.layers.base import Setting
from cvgg.netdef.caffe_pb2 import TEST, TRAIN, FillerParameter, LayerParameter, NetParameter
from cvgg.netdef.graph import build
from cvgg.netdef.params import ParamDef
from cvgg.netdef.prototxt import NetDef, read_net, read_solver

ROOT = Path(__file__).resolve().parents[2]
PROTOTXT = ROOT / "prototxt"

PARAMS = {
    "A": 132_863_336,
    "A-LRN": 132_863_336,
    "B": 133_047_848,
    "C": 133_638_952,
    "D": 138_357_544,
    "E": 143_667_240,
}
# Table 1: the widths of the convolutions of each block; a width at a window of 1 is negative.
TABLE = {
    "A": [[64], [128], [256] * 2, [512] * 2, [512] * 2],
    "A-LRN": [[64], [128], [256] * 2, [512] * 2, [512] * 2],
    "B": [[64] * 2, [128] * 2, [256] * 2, [512] * 2, [512] * 2],
    "C": [[64] * 2, [128] * 2, [256, 256, -256], [512, 512, -512], [512, 512, -512]],
    "D": [[64] * 2, [128] * 2, [256] * 3, [512] * 3, [512] * 3],
    "E": [[64] * 2, [128] * 2, [256] * 4, [512] * 4, [512] * 4],
}
SHAPE = (1, 3, 224, 224)
OWN_NETS = ("demo_vgg", "demo_linear")


def prototxt(kind: str, net: str) -> Path:
    """The file of a net of the paper or of the demo."""
    return PROTOTXT / (f"{net}_{kind}.prototxt" if net in OWN_NETS else f"{kind}_{net}.prototxt")


def tool() -> ModuleType:
    """tools/make_vgg.py, which is not installed."""
    spec = importlib.util.spec_from_file_location("make_vgg", ROOT / "tools" / "make_vgg.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def params_of(net: NetDef, phase: int) -> dict[str, tuple[ParamDef, ...]]:
    graph = build(net, phase=phase)
    layers = infer(graph, Setting(phase))
    found = zip(graph.nodes, layers, strict=True)
    return {node.name: tuple(layer.params) for node, layer in found if layer.params}


def numbers(params: dict[str, tuple[ParamDef, ...]]) -> int:
    """How many numbers the params hold."""
    total = 0
    for layer in params.values():
        for param in layer:
            size = 1
            for length in param.shape:
                size *= length
            total += size
    return total


def learning(net: str) -> dict[str, tuple[ParamDef, ...]]:
    """The params of a train_val net, with an Input in the place of its databases."""
    message = NetParameter()
    message.CopyFrom(read_net(prototxt("train_val", net)).message)
    side = message.layer[0].transform_param.crop_size
    shapes = f"shape {{ dim: 1 dim: 3 dim: {side} dim: {side} }} shape {{ dim: 1 }}"
    text = f'name: "in" type: "Input" top: "data" top: "label" input_param {{ {shapes} }}'
    source = text_format.Parse(text, LayerParameter())
    rest = [layer for layer in message.layer if layer.type != "Data"]
    return params_of(read_net(NetParameter(layer=[source, *rest])), TRAIN)


def summary(layer: LayerParameter) -> tuple[object, ...]:
    """What train_val and deploy must agree in."""
    conv, fc = layer.convolution_param, layer.inner_product_param
    window = tuple(conv.kernel_size), tuple(conv.pad), conv.num_output, fc.num_output
    others = str(layer.pooling_param), str(layer.lrn_param), str(layer.dropout_param)
    return layer.name, layer.type, tuple(layer.bottom), tuple(layer.top), window, others


def test_the_files_are_what_the_tool_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["make_vgg.py", "--out", str(tmp_path)])
    tool().main()
    written = {path.name: path.read_text() for path in tmp_path.iterdir()}
    shipped = {path.name: path.read_text() for path in PROTOTXT.glob("*.prototxt")}
    paper = {name: text for name, text in shipped.items() if not name.startswith(OWN_NETS)}
    assert written == paper
    assert len(paper) == 3 * len(PARAMS)


@pytest.mark.parametrize("net", PARAMS)
def test_a_deploy_net_has_as_many_params_as_the_paper_counts(net: str) -> None:
    assert numbers(params_of(read_net(prototxt("deploy", net)), TEST)) == PARAMS[net]


@pytest.mark.parametrize("net", TABLE)
def test_the_layers_are_those_of_table_1_under_the_released_names(net: str) -> None:
    expected: list[tuple[str, str, int, int, int]] = []
    for block, widths in enumerate(TABLE[net], start=1):
        for place, width in enumerate(widths, start=1):
            window = 3 if width > 0 else 1
            name = f"conv{block}_{place}"
            expected.append((name, "Convolution", abs(width), window, window // 2))
            expected.append((f"relu{block}_{place}", "ReLU", 0, 0, 0))
        if net == "A-LRN" and block == 1:
            expected.append(("norm1", "LRN", 0, 0, 0))
        expected.append((f"pool{block}", "Pooling", 0, 2, 0))
    for number, width in ((6, 4096), (7, 4096)):
        expected.append((f"fc{number}", "InnerProduct", width, 0, 0))
        expected.append((f"relu{number}", "ReLU", 0, 0, 0))
        expected.append((f"drop{number}", "Dropout", 0, 0, 0))
    expected.append(("fc8", "InnerProduct", 1000, 0, 0))

    found = []
    for layer in read_net(prototxt("deploy", net)).message.layer[1:-1]:
        conv, pool = layer.convolution_param, layer.pooling_param
        width = conv.num_output or layer.inner_product_param.num_output
        window = (conv.kernel_size or [pool.kernel_size])[0]
        assert pool.stride == (2 if layer.type == "Pooling" else 1)
        found.append((layer.name, layer.type, width, window, (conv.pad or [0])[0]))
    assert found == expected


def released(net: str) -> str:
    """The deploy file in the form of 2014, as the paper's authors gave it out."""
    at, blocks = "data", [f'name: "VGG-{net}" input: "data"', *map("input_dim: {}".format, SHAPE)]

    def layer(name: str, kind: str, settings: str = "", *, in_place: bool = False) -> None:
        nonlocal at
        top = at if in_place else name
        blocks.append(
            f'layers {{ bottom: "{at}" top: "{top}" name: "{name}" type: {kind} {settings} }}'
        )
        at = top

    for block, widths in enumerate(TABLE[net], start=1):
        for place, width in enumerate(widths, start=1):
            window = "pad: 1 kernel_size: 3"
            settings = f"convolution_param {{ num_output: {width} {window} }}"
            layer(f"conv{block}_{place}", "CONVOLUTION", settings)
            layer(f"relu{block}_{place}", "RELU", in_place=True)
        layer(f"pool{block}", "POOLING", "pooling_param { pool: MAX kernel_size: 2 stride: 2 }")
    for number, width in (6, 4096), (7, 4096), (8, 1000):
        layer(f"fc{number}", "INNER_PRODUCT", f"inner_product_param {{ num_output: {width} }}")
        if number < 8:
            layer(f"relu{number}", "RELU", in_place=True)
            drop = "dropout_param { dropout_ratio: 0.5 }"
            layer(f"drop{number}", "DROPOUT", drop, in_place=True)
    layer("prob", "SOFTMAX")
    return "\n".join(blocks)


@pytest.mark.parametrize("net", ["D", "E"])
def test_the_released_form_of_2014_is_the_same_net(net: str) -> None:
    today = read_net(prototxt("deploy", net)).message
    upgraded = read_net(released(net)).message
    assert upgraded.layer[0].name == "input"  # the form of 2014 has no name for it
    upgraded.layer[0].name = "data"
    assert upgraded == today


@pytest.mark.parametrize("net", [*PARAMS, "demo_vgg"])
def test_deploy_and_train_val_are_one_net_from_data_to_scores(net: str) -> None:
    trained = read_net(prototxt("train_val", net)).message.layer
    used = read_net(prototxt("deploy", net)).message.layer
    middle = [summary(layer) for layer in used[1:-1]]
    assert [summary(layer) for layer in trained[2 : 2 + len(middle)]] == middle
    assert trained[2 + len(middle)].name == "loss"
    assert (used[-1].type, list(used[-1].top)) == ("Softmax", ["prob"])


@pytest.mark.parametrize("net", PARAMS)
def test_a_net_starts_as_the_paper_says_and_its_biases_do_not_decay(net: str) -> None:
    weights = FillerParameter(type="xavier", variance_norm=FillerParameter.AVERAGE)
    if net in ("A", "A-LRN"):
        weights = FillerParameter(type="gaussian", std=0.01)
    biases = FillerParameter(type="constant", value=0)
    for weight, bias in learning(net).values():
        assert (weight.filler, weight.lr_mult, weight.decay_mult) == (weights, 1, 1)
        assert (bias.filler, bias.lr_mult, bias.decay_mult) == (biases, 2, 0)


def test_the_normalisation_has_the_paper_s_numbers_in_caffe_s_way() -> None:
    nodes = build(read_net(prototxt("deploy", "A-LRN")), phase=TEST).nodes
    (lrn,) = [node.spec.lrn_param for node in nodes if node.type == "LRN"]
    # alpha 1e-4 an image plane; Caffe divides by local_size. Both are floats of 24 bits.
    assert lrn.alpha / lrn.local_size == pytest.approx(1e-4, rel=1e-6)
    assert (lrn.local_size, lrn.beta, lrn.k) == (5, 0.75, 2)


@pytest.mark.parametrize("net", PARAMS)
def test_the_databases_are_cropped_to_224_and_mirrored_in_training_only(net: str) -> None:
    train, test = read_net(prototxt("train_val", net)).message.layer[:2]
    sizes = [(TRAIN, "train", 256, True), (TEST, "val", 50, False)]
    for layer, (phase, folder, batch, mirror) in zip((train, test), sizes, strict=True):
        transform, data = layer.transform_param, layer.data_param
        assert [rule.phase for rule in layer.include] == [phase]
        assert (data.source, data.batch_size) == (f"data/imagenet_{folder}_lmdb", batch)
        assert (transform.crop_size, transform.mirror) == (224, mirror)
        mean = list(transform.mean_value)  # blue, green, red
        assert mean == pytest.approx([103.939, 116.779, 123.68], rel=1e-6)  # floats of 24 bits


@pytest.mark.parametrize("net", [*PARAMS, *OWN_NETS])
def test_training_gives_a_loss_and_testing_the_accuracies(net: str) -> None:
    text = read_net(prototxt("train_val", net))
    accuracies = ("accuracy",) if net in OWN_NETS else ("accuracy", "accuracy_top5")
    assert build(text, phase=TRAIN).outputs == ("loss",)
    graph = build(text, phase=TEST)
    assert graph.outputs == (*accuracies, "loss")
    ranks = [node.spec.accuracy_param.top_k for node in graph.nodes if node.type == "Accuracy"]
    assert ranks == [1, 5][: len(accuracies)]


@pytest.mark.parametrize("net", PARAMS)
def test_a_solver_holds_the_paper_s_training(net: str) -> None:
    solver = read_solver(prototxt("solver", net)).message
    lr_policy.check(solver)
    settings = (solver.base_lr, solver.momentum, solver.weight_decay, solver.gamma)
    assert settings == pytest.approx((0.01, 0.9, 5e-4, 0.1), rel=1e-6)  # floats of 24 bits
    assert (solver.lr_policy, solver.plateau_drops, solver.type) == ("plateau", 3, "SGD")
    train, test = read_net(ROOT / solver.net).message.layer[:2]
    images = solver.max_iter * train.data_param.batch_size
    assert images / 1_281_167 == pytest.approx(74, abs=0.5)  # the paper's epochs, rounded
    assert list(solver.test_iter) == [50_000 // test.data_param.batch_size]
    assert not solver.test_initialization
    assert solver.plateau_output in build(read_net(ROOT / solver.net), phase=TEST).outputs


@pytest.mark.parametrize("net", [*PARAMS, *OWN_NETS])
def test_a_solver_names_its_own_net_and_snapshots(net: str) -> None:
    solver = read_solver(prototxt("solver", net)).message
    lr_policy.check(solver)
    assert ROOT / solver.net == prototxt("train_val", net)
    assert solver.snapshot_prefix == (net if net in OWN_NETS else f"vgg_{net}")


@pytest.mark.parametrize(("net", "count"), [("demo_vgg", 337_050), ("demo_linear", 30_730)])
def test_the_demo_s_nets_learn_from_what_the_demo_draws(net: str, count: int) -> None:
    assert numbers(learning(net)) == count
    train, test = read_net(prototxt("train_val", net)).message.layer[:2]
    assert train.data_param.source == "data/shapes/train_lmdb"
    assert test.data_param.source == "data/shapes/test_lmdb"
    assert (train.data_param.batch_size, train.transform_param.crop_size) == (64, 32)
