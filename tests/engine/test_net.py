"""The net: inputs, outputs, passes, micro-batches, reshape, files, diagnosis."""

import sys
from pathlib import Path

import numpy as np
import pytest
from nets import VGG, accuracy, conv, dropout, dummy_data, fc, images, loss, relu

import cvgg
from cvgg.errors import DataError, ShapeError, UnavailableError, UsageError
from cvgg.net import Net
from cvgg.plan.micro import offsets

NET = images(5) + VGG + loss("fc4")


def batch(count: int, seed: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    data = rng.standard_normal((count, 2, 6, 6)).astype(np.float32)
    return {"data": data, "label": (np.arange(count) % 3).astype(np.float32)}


def test_forward_gives_every_output_and_the_blobs_stay_to_be_looked_at() -> None:
    net = cvgg.Net(
        images(4) + conv("conv1", "data", 3) + relu("relu1", "conv1") + fc("f", "conv1", 2)
    )
    data = batch(4)["data"]
    outputs = net.forward(data=data)
    assert list(outputs) == ["f", "label"]
    weights, bias = (blob.data for blob in net.params["f"])
    hidden = net.blobs["conv1"].data
    assert (hidden >= 0).all()
    # One float32 product of 108 terms: a few units in the last place of its largest partial sum.
    expected = hidden.reshape(4, -1).astype(np.float64) @ weights.T + bias
    np.testing.assert_allclose(outputs["f"], expected, rtol=1e-5, atol=1e-5)
    assert np.shares_memory(net.blobs["data"].data, net.blobs["data"].data)
    np.testing.assert_array_equal(net.blobs["data"].data, data)


def test_an_unknown_input_or_a_wrong_shape_is_said_with_what_to_do() -> None:
    net = cvgg.Net(NET)
    with pytest.raises(UsageError, match="'image' is no input of the net; it has: data, label"):
        net.forward(image=np.zeros(3))
    with pytest.raises(ShapeError, match=r"net.reshape\(data=\(2, 2, 6, 6\)\)"):
        net.forward(data=np.zeros((2, 2, 6, 6)))


def test_backward_from_the_loss_is_the_slope_of_the_loss_along_a_direction() -> None:
    """The net is smooth (no ReLU, no max pooling), so central differences agree to O(step**2)."""
    smooth = conv("conv1", "data", 4) + fc("fc2", "conv1", 5) + dropout("drop2", "fc2")
    text = "force_backward: true " + images(5) + smooth + fc("fc4", "fc2", 3) + loss("fc4")
    net = cvgg.Net(text, phase=cvgg.TRAIN, seed=3)
    inputs = batch(5)
    net.forward(**inputs)
    gradient = net.backward()["data"].copy()
    direction = np.random.default_rng(7).standard_normal(gradient.shape).astype(np.float32)
    step = 2e-2
    losses = []
    for sign in (1, -1):
        net._batch = 0  # the same dropout mask
        moved = inputs["data"] + sign * step * direction
        losses.append(float(net.forward(data=moved, label=inputs["label"])["loss"]))
    slope = (losses[0] - losses[1]) / (2 * step)
    # A float32 loss near 1 carries 6e-8 of rounding, here divided by 4e-2; the rest is curvature.
    assert slope == pytest.approx(float((gradient * direction).sum()), rel=1e-2, abs=1e-4)


def test_backward_from_a_diff_of_an_output_that_the_caller_gives() -> None:
    net = cvgg.Net("force_backward: true " + images(2) + fc("f", "data", 3))
    net.forward(data=batch(2)["data"])
    top = np.array([[1, -2, 0.5], [0.25, 3, -1]], dtype=np.float32)
    gradient = net.backward(f=top)["data"]
    weights = net.params["f"][0].data.astype(np.float64)
    np.testing.assert_allclose(gradient.reshape(2, -1), top @ weights, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(net.params["f"][1].diff, top.sum(axis=0), rtol=1e-6)


def test_param_diffs_add_up_until_they_are_cleared() -> None:
    net = cvgg.Net(NET, phase=cvgg.TEST, seed=3)
    net.forward(**batch(5))
    net.backward()
    once = net.params["conv2"][0].diff.copy()
    assert np.abs(once).max() > 0
    net.backward()
    np.testing.assert_allclose(net.params["conv2"][0].diff, 2 * once, rtol=1e-5, atol=1e-6)
    net.clear_param_diffs()
    assert not net.params["conv2"][0].diff.any()


def cut_net(limit: int | None, seed: int, text: str) -> Net:
    return Net(text, phase=0, keep=False, memory=limit, seed=seed)


def gradients(net: Net, draw: int = 4) -> dict[str, np.ndarray]:
    net.clear_param_diffs()
    net.run(0, draw=draw, backward=True)
    return {
        f"{name}[{i}]": blob.diff.copy()
        for name, blobs in net.params.items()
        for i, blob in enumerate(blobs)
    }


def test_micro_batches_give_the_gradients_of_the_whole_batch() -> None:
    """Dropout on; sums in another order: a few rounding errors, 1e-5 in the median of 5 seeds."""
    text = dummy_data(7) + VGG + loss("fc4")
    worst: list[float] = []
    for seed in range(5):
        whole = cut_net(None, seed, text)
        limit = Net(dummy_data(2) + VGG + loss("fc4"), phase=0, keep=False).plan.memory.total
        parts = cut_net(limit, seed, text)
        assert len(parts.micro_batches) == 4
        assert parts.batch == 7
        assert parts.memory.total <= limit < parts.plan.memory.total
        ours, theirs = gradients(parts), gradients(whole)
        assert parts.loss() == pytest.approx(whole.loss(), rel=1e-6)
        distances = [
            float(np.linalg.norm(ours[name] - theirs[name]) / np.linalg.norm(theirs[name]))
            for name in theirs
        ]
        worst.append(max(distances))
    assert sorted(worst)[2] < 1e-5
    assert max(worst) < 1e-3


def test_losses_of_micro_batches_are_divided_by_the_count_of_the_whole_batch() -> None:
    """With ignore_label the parts hold different numbers of labels that count."""
    text = """
    layer { name: "data" type: "DummyData" top: "data" top: "label"
      dummy_data_param { shape { dim: 9 dim: 2 dim: 6 dim: 6 } shape { dim: 9 }
        data_filler { type: "gaussian" } data_filler { type: "constant" value: 1 } } }
    """
    text += VGG + loss("fc4", more="loss_param { ignore_label: 2 }")
    whole = cut_net(None, 1, text)
    limit = Net(text.replace("dim: 9", "dim: 4"), phase=0, keep=False).plan.memory.total
    parts = cut_net(limit, 1, text)
    assert len(parts.micro_batches) > 1
    parts.run(0, draw=0, backward=False)
    whole.run(0, draw=0, backward=False)
    assert parts.loss() == pytest.approx(whole.loss(), rel=1e-6)


def test_accuracy_of_micro_batches_is_that_of_the_whole_batch() -> None:
    text = dummy_data(7) + VGG + accuracy("fc4")
    limit = Net(text.replace("dim: 7", "dim: 3"), keep=False, backward=False).plan.memory.total
    whole = Net(text, keep=False, backward=False, seed=1)
    parts = Net(text, keep=False, backward=False, memory=limit, seed=1)
    assert len(parts.micro_batches) > 1
    ours = parts.run(0, draw=0, backward=False)["accuracy"]
    # A sum of sevenths in float32.
    assert float(ours) == pytest.approx(
        float(whole.run(0, draw=0, backward=False)["accuracy"]), abs=1e-6
    )


BRANCHES = (
    conv("conv1", "data", 4)
    + relu("relu1", "conv1")
    + """
    layer { name: "norm1" type: "LRN" bottom: "conv1" top: "norm1" lrn_param { alpha: 1 k: 2 } }
    layer { name: "pool1" type: "Pooling" bottom: "norm1" top: "pool1"
      pooling_param { pool: AVE kernel_size: 3 stride: 2 } }
    """
    + conv("left", "pool1", 3)
    + conv("right", "pool1", 3)
    + """
    layer { name: "product" type: "Eltwise" bottom: "left" bottom: "right" top: "product"
      eltwise_param { operation: PROD } }
    layer { name: "both" type: "Concat" bottom: "product" bottom: "left" top: "both" }
    layer { name: "flat" type: "Flatten" bottom: "both" top: "flat" }
    """
    + relu("relu2", "flat")
    + fc("fc4", "flat", 3)
)


@pytest.mark.parametrize("middle", [VGG, BRANCHES], ids=["chain", "branches"])
def test_reusing_memory_changes_no_bit(middle: str) -> None:
    text = dummy_data(3) + middle + loss("fc4")
    reused, kept = (Net(text, phase=0, keep=keep, seed=4) for keep in (False, True))
    assert reused.plan.memory.blobs < kept.plan.memory.blobs
    ours, theirs = gradients(reused), gradients(kept)
    for name, values in theirs.items():
        assert np.abs(values).max() > 0, name
        np.testing.assert_array_equal(ours[name], values, err_msg=name)


def test_offsets_are_where_each_pass_starts() -> None:
    assert offsets((3, 4, 4)) == (0, 3, 7)


def test_the_same_seed_gives_the_same_params_and_another_seed_others() -> None:
    one, same, other = (cvgg.net.Net(NET, seed=seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one.params["conv1"][0].data, same.params["conv1"][0].data)
    assert (one.params["conv1"][0].data != other.params["conv1"][0].data).all()


def test_reshape_keeps_the_params_and_gives_another_shape() -> None:
    text = images(1) + conv("conv1", "data", 3)
    net = cvgg.Net(text)
    weights = net.params["conv1"][0].data.copy()
    net.reshape(data=(2, 2, 5, 9))
    assert net.forward(data=np.ones((2, 2, 5, 9)))["conv1"].shape == (2, 3, 5, 9)
    np.testing.assert_array_equal(net.params["conv1"][0].data, weights)
    net.reshape(data=(1, 2, 6, 6))
    assert net.forward(data=np.ones((1, 2, 6, 6)))["conv1"].shape == (1, 3, 6, 6)


def test_reshape_to_a_shape_that_does_not_fit_the_params_leaves_the_net_as_it_was() -> None:
    net = cvgg.Net(NET)
    with pytest.raises(ShapeError, match="layer 'fc3'"):
        net.reshape(data=(5, 2, 12, 12))
    assert net.forward(**batch(5))["loss"].shape == ()


def test_save_and_copy_from_bring_every_param_back(tmp_path: Path) -> None:
    first, second = cvgg.Net(NET), cvgg.Net(NET)
    path = tmp_path / "net.caffemodel"
    first.save(path)
    second.copy_from(path)
    for name, blobs in first.params.items():
        for ours, theirs in zip(second.params[name], blobs, strict=True):
            np.testing.assert_array_equal(ours.data, theirs.data)


def test_a_model_that_does_not_fit_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "net.caffemodel"
    cvgg.Net(NET).save(path)
    other = cvgg.Net(images(5) + VGG.replace("num_output: 7", "num_output: 8") + loss("fc4"))
    before = other.params["conv1"][0].data.copy()
    with pytest.raises(ShapeError, match=r"layer 'fc3': blob 0 has shape 7 45, the net's has 8 45"):
        other.copy_from(path)
    np.testing.assert_array_equal(other.params["conv1"][0].data, before)


def test_a_model_with_no_layer_of_the_net_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "net.caffemodel"
    cvgg.Net(NET).save(path)
    with pytest.raises(DataError, match="no layer of the net"):
        cvgg.Net(images(5) + fc("elsewhere", "data", 3)).copy_from(path)


def test_a_nan_is_traced_to_the_first_blob_that_has_one() -> None:
    net = cvgg.Net(NET, seed=1)
    net.forward(**batch(5))
    assert net.find_nonfinite(0, draw=0) == ""
    net.params["fc3"][1].data[4] = np.inf
    assert net.find_nonfinite(0, draw=0) == "param 1 of layer 'fc3', element 4"
    net.params["fc3"][1].data[4] = 0
    net.params["conv1"][1].data[2] = 3e38
    net.params["conv1"][0].data[2] = 1e38
    assert "blob 'conv1' of layer 'conv1' (Convolution" in net.find_nonfinite(0, draw=0)


def test_dropout_draws_by_the_number_of_the_pass_and_the_place_in_the_batch() -> None:
    text = dummy_data(6) + dropout("drop", "data")
    net = Net(text, phase=0, seed=2)
    masks = [net.run(i, draw=draw, backward=False)["data"] == 0 for i, draw in enumerate((3, 3, 4))]
    np.testing.assert_array_equal(masks[0], masks[1])
    assert (masks[0] != masks[2]).any()
    assert (masks[0][0] != masks[0][1]).any()


def test_a_gpu_engine_without_cupy_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(UnavailableError, match=r"CuPy cannot be loaded .* install cvgg\[cuda13\]"):
        cvgg.Net(NET, engine="gpu")


def test_net_and_solver_are_the_public_names_and_import_nothing_heavy() -> None:
    import subprocess
    import sys

    code = (
        "import sys, cvgg; print([m for m in ('numpy', 'matplotlib', 'cupy') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
