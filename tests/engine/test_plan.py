"""Decisions of the plan: fusion, in-place, gradients, memory, params. No array is made here."""

import pytest
from nets import TEST, VGG, accuracy, conv, dummy_data, fc, images, loss, planned, pool, relu

from cvgg.errors import GraphError, ShapeError, UnavailableError
from cvgg.plan import Plan
from cvgg.plan.arena import Life, pack
from cvgg.plan.micro import cut, obstacle

NET = dummy_data(5) + VGG + loss("fc4")


def step(plan: Plan, name: str):
    return next(each for each in plan.steps if each.name == name)


def blob(plan: Plan, name: str):
    return plan.blobs[plan.names[name]]


def test_a_convolution_and_the_relu_behind_it_become_one_step() -> None:
    plan = planned(NET)
    assert [node.name for node in step(plan, "conv1").nodes] == ["conv1", "relu1"]
    assert [node.name for node in step(plan, "fc3").nodes] == ["fc3"]
    assert "relu3" in [each.name for each in plan.steps]


def test_nothing_is_fused_where_the_backend_has_no_such_kernel() -> None:
    names = [each.name for each in planned(NET, fusions=frozenset()).steps]
    assert names[1:4] == ["conv1", "relu1", "pool1"]


def test_a_relu_under_another_name_is_fused_only_if_the_blob_between_is_not_kept() -> None:
    text = (
        images(3)
        + conv("conv1", "data", 4)
        + relu("relu1", "conv1", "out")
        + fc("f", "out", 3)
        + loss("f")
    )
    assert len(step(planned(text), "conv1").nodes) == 2
    kept = planned(text, keep=True)
    assert len(step(kept, "conv1").nodes) == 1
    assert "conv1" in kept.names


def test_a_convolution_with_two_readers_is_not_fused() -> None:
    text = images(3) + conv("conv1", "data", 2) + relu("relu1", "conv1", "out")
    text += """layer { name: "sum" type: "Eltwise" bottom: "out" bottom: "conv1" top: "sum" }"""
    text += fc("f", "sum", 3) + loss("f")
    assert len(step(planned(text), "conv1").nodes) == 1


def test_an_in_place_layer_works_in_its_bottoms_memory() -> None:
    plan = planned(NET)
    relu3 = step(plan, "relu3")
    assert relu3.bottoms == relu3.tops
    assert step(plan, "fc3").tops == relu3.tops


def test_an_in_place_layer_behind_lrn_gets_memory_of_its_own_because_lrn_reads_its_top_again() -> (
    None
):
    lrn = 'layer { name: "norm" type: "LRN" bottom: "conv1" top: "norm" }'
    text = (
        images(3)
        + conv("conv1", "data", 4)
        + lrn
        + relu("relu", "norm")
        + fc("f", "norm", 3)
        + loss("f")
    )
    plan = planned(text)
    relu_step = step(plan, "relu")
    assert relu_step.bottoms != relu_step.tops
    assert plan.names["norm"] == relu_step.tops[0]
    forward_only = step(planned(text, backward=False), "relu")
    assert forward_only.bottoms == forward_only.tops


def test_data_gets_no_diff_and_the_first_convolution_does_not_propagate_down() -> None:
    plan = planned(NET)
    assert step(plan, "conv1").propagate_down == (False,)
    assert blob(plan, "data").diff is None
    assert blob(plan, "pool1").diff is not None


def test_force_backward_brings_a_diff_to_the_data() -> None:
    plan = planned("force_backward: true " + images(3) + VGG + loss("fc4"))
    assert step(plan, "conv1").propagate_down == (True,)
    assert blob(plan, "data").diff is not None


def test_layers_with_rate_zero_below_the_last_learning_one_do_not_go_backward() -> None:
    frozen = "param { lr_mult: 0 } param { lr_mult: 0 }"
    text = dummy_data(4) + conv("conv1", "data", 4, more=frozen) + pool("pool1", "conv1")
    text += fc("fc2", "pool1", 3) + loss("fc2")
    plan = planned(text)
    assert not step(plan, "conv1").backward
    assert not step(plan, "pool1").backward
    assert step(plan, "fc2").propagate_down == (False,)
    assert plan.learned < plan.flat


def test_a_branch_without_a_loss_does_not_go_backward_and_its_split_top_has_no_diff() -> None:
    text = (
        NET
        + """layer { name: "side" type: "InnerProduct" bottom: "conv2" top: "side"
      inner_product_param { num_output: 2 } }"""
    )
    plan = planned(text)
    assert not step(plan, "side").backward
    split = next(each for each in plan.steps if each.layer.type == "Split" and "conv2" in each.name)
    assert [plan.blobs[top].diff is None for top in split.tops] == [False, True]


def test_loss_weights_are_what_the_losses_diffs_are_filled_with() -> None:
    text = dummy_data(4) + fc("fc4", "data", 3) + loss("fc4", more="loss_weight: 0.25")
    plan = planned(text)
    assert plan.loss_weights == {"loss": 0.25}
    assert plan.constant_diffs == {plan.names["loss"]: 0.25}


def test_a_layer_without_backward_under_a_loss_is_an_error_with_its_line() -> None:
    text = images(3) + fc("f", "data", 3) + accuracy("f", more="loss_weight: 1")
    with pytest.raises(GraphError, match=r"layer 'accuracy' \(Accuracy\) has no backward"):
        planned(text, phase=TEST)


def test_a_gradient_into_labels_is_an_error() -> None:
    text = images(3) + fc("f", "data", 3) + fc("made", "data", 1)
    text += loss("f").replace('"label"', '"made"')
    with pytest.raises(GraphError, match="labels have none"):
        planned(text)


def test_memory_is_reused_unless_every_blob_is_kept() -> None:
    reused, kept = planned(NET), planned(NET, keep=True)
    assert reused.memory.blobs < kept.memory.blobs
    offsets = [each.data.offset for each in kept.blobs if each.name not in ("label", "data")]
    assert len(set(offsets)) == len(offsets)


def test_a_test_plan_needs_less_memory_than_a_train_plan() -> None:
    assert planned(NET, backward=False).memory.blobs < planned(NET).memory.blobs


def test_packing_places_arrays_on_each_other_only_when_their_lives_are_apart() -> None:
    lives = [Life(100, 0, 3), Life(70, 4, 6), Life(130, 2, 5), Life(10, 6, 7)]
    offsets, end = pack(lives)
    for i, (life, at) in enumerate(zip(lives, offsets, strict=True)):
        assert at % 64 == 0
        assert at + life.bytes <= end
        for other, place in list(zip(lives, offsets, strict=True))[i + 1 :]:
            together = life.birth <= other.death and other.birth <= life.death
            assert not together or at + life.bytes <= place or place + other.bytes <= at
    assert end == 192 + 128  # 130 bytes rounded up to 192, and 100 rounded up to 128 beside it


def test_params_lie_from_the_last_layer_to_the_first_and_shared_ones_once() -> None:
    shared = 'param { name: "w" } param { name: "b" }'
    text = images(3) + conv("one", "data", 2, more=shared) + conv("two", "one", 2, more=shared)
    text += fc("fc3", "two", 3) + loss("fc3")
    plan = planned(text)
    assert [param.name for param in plan.params] == ["w", "b", "fc3[0]", "fc3[1]"]
    assert plan.params[2].offset < plan.params[0].offset
    assert step(plan, "one").params == step(plan, "two").params
    assert plan.params[0].users == (1, 2)


def test_sharing_params_of_different_shapes_is_an_error_that_names_both_layers() -> None:
    shared = 'param { name: "w" }'
    text = images(3) + conv("one", "data", 2, more=shared) + conv("two", "one", 5, more=shared)
    with pytest.raises(ShapeError, match="layer 'two' shares param 'w' with layer 'one'"):
        planned(text)


def test_segments_carry_the_multipliers_and_cover_what_is_learned() -> None:
    rates = "param { lr_mult: 1 decay_mult: 1 } param { lr_mult: 2 decay_mult: 0 }"
    plan = planned(dummy_data(4) + fc("fc1", "data", 3, more=rates) + loss("fc1"))
    assert [(s.lr_mult, s.decay_mult) for s in plan.segments] == [(1, 1), (2, 0)]
    weights, bias = plan.params
    assert plan.segments[0].stop == weights.offset + weights.size
    assert (plan.segments[1].start, plan.segments[1].stop) == (bias.offset, bias.offset + bias.size)
    assert plan.buckets[-1].stop == plan.learned


def test_a_batch_is_cut_into_the_fewest_passes_of_nearly_equal_size() -> None:
    whole = planned(dummy_data(11) + VGG + loss("fc4"))

    def make(count: int) -> Plan:
        return planned(dummy_data(11) + VGG + loss("fc4"), images=count)

    limit = make(4).memory.total
    assert make(5).memory.total > limit
    parts = cut(whole, make, limit)
    assert sorted(parts.images) == [3, 4, 4]
    assert parts.memory.total <= limit
    assert cut(whole, make, None).images == (11,)


def test_a_single_image_that_does_not_fit_is_said_before_anything_is_allocated() -> None:
    text = dummy_data(11) + VGG + loss("fc4")
    with pytest.raises(UnavailableError, match="for a single image"):
        cut(planned(text), lambda count: planned(text, images=count), 1000)


def test_a_net_that_couples_its_images_is_not_cut_and_says_which_layer() -> None:
    norm = 'layer { name: "bn" type: "BatchNorm" bottom: "data" top: "bn" }'
    text = dummy_data(6) + norm + fc("f", "bn", 3) + loss("f")
    whole = planned(text)
    assert "layer 'bn' (BatchNorm) couples the images" in obstacle(whole)
    with pytest.raises(UnavailableError, match="couples the images"):
        cut(whole, lambda count: planned(text, images=count), 1000)


def test_ignore_label_is_counted_from_the_data_layer_that_brings_the_labels() -> None:
    ignoring = "loss_param { ignore_label: 2 }"
    plan = planned(dummy_data(6) + fc("f", "data", 3) + loss("f", more=ignoring))
    (source,) = plan.label_sources.values()
    assert source == (0, 1)
    assert obstacle(plan) == ""
