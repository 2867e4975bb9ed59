"""include and exclude: which layers a phase, a level and stages leave in the net."""

import pytest
from google.protobuf import text_format

from cvgg.errors import GraphError
from cvgg.netdef.caffe_pb2 import TEST, TRAIN, LayerParameter, NetState, NetStateRule
from cvgg.netdef.origin import Origin
from cvgg.netdef.prototxt import read_net
from cvgg.netdef.rules import belongs, describe_state, holds

STATE = NetState(phase=TEST, level=3, stage=["deploy", "fast"])


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("", True),
        ("phase: TEST", True),
        ("phase: TRAIN", False),
        ("min_level: 3", True),
        ("min_level: 4", False),
        ("max_level: 3", True),
        ("max_level: 2", False),
        ("stage: 'fast'", True),
        ("stage: 'fast' stage: 'deploy'", True),
        ("stage: 'fast' stage: 'exact'", False),
        ("not_stage: 'exact'", True),
        ("not_stage: 'exact' not_stage: 'fast'", False),
        ("phase: TEST min_level: 1 max_level: 5 stage: 'fast' not_stage: 'exact'", True),
        ("phase: TRAIN stage: 'fast'", False),
    ],
)
def test_a_rule_holds_if_all_that_it_says_is_true(rule: str, *, expected: bool) -> None:
    assert holds(text_format.Parse(rule, NetStateRule()), STATE) is expected


def test_a_level_that_is_not_written_bounds_nothing() -> None:
    assert holds(NetStateRule(), NetState(level=-7))
    assert not holds(NetStateRule(min_level=0), NetState(level=-7))


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ("", True),
        ("include { phase: TRAIN } include { stage: 'fast' }", True),
        ("include { phase: TRAIN } include { stage: 'exact' }", False),
        ("exclude { phase: TRAIN } exclude { stage: 'fast' }", False),
        ("exclude { phase: TRAIN } exclude { stage: 'exact' }", True),
    ],
)
def test_one_rule_is_enough_to_include_or_to_exclude(rules: str, *, expected: bool) -> None:
    layer = text_format.Parse(rules, LayerParameter())
    assert belongs(layer, STATE, Origin("<text>")) is expected


def test_include_and_exclude_together_are_an_error_at_the_second() -> None:
    net = read_net('layer { name: "a"\n include { phase: TEST }\n exclude { min_level: 1 } }')
    with pytest.raises(GraphError, match=r"^<text>:3:2: layer 'a' has include and exclude"):
        belongs(net.message.layer[0], STATE, net.layers[0])


def test_a_state_is_described_by_what_it_has() -> None:
    assert describe_state(STATE) == "phase TEST, level 3, stages deploy fast"
    assert describe_state(NetState(phase=TRAIN)) == "phase TRAIN"
