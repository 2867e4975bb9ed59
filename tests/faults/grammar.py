"""Prototxt by the grammar of its schema, as strategies of hypothesis: nets whose layers mostly fit
together, solvers, and now and then something that cannot stand where it stands."""

from functools import cache

from faults.places import SOLVER
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from hypothesis import strategies as st

from cvgg.netdef.caffe_pb2 import LayerParameter, NetParameter, SolverParameter

Text = st.SearchStrategy[str]

DEPTH = 3  # of blocks in blocks
NAMES = ("data", "label", "a", "b", "c")
USUAL = ("1", "2", "3", "5", "0", "0.5")
EDGES = (
    "-1", "4294967295", "4294967296", "-2147483649", "2147483647", "1e9", "1e400", "nan", "-inf",
    "0x1F", "017", "1.5", "99999999999999999999999", "1" * 5000, "true", '"1"', "MAX", "1f", "''",
)  # fmt: skip
MARKS = (
    "{", "}", ":", "[", "]", ",", ";", "<", ">", '"', "'", "#", "\n", "\\", "\0", "é", "\ufeff",
    "layer { ", "layers { ", "include { phase: TEST } ", '"\\777"', "'\\x'", "[1, 2, ]", "\u2028",
)  # fmt: skip
NEEDED = {
    "Convolution": "convolution_param { num_output: 4 kernel_size: 3 %s }",
    "Pooling": "pooling_param { kernel_size: 2 stride: 2 %s }",
    "InnerProduct": "inner_product_param { num_output: 5 %s }",
    "ReLU": "relu_param { %s }",
    "Dropout": "dropout_param { %s }",
    "LRN": "lrn_param { %s }",
    "Concat": "concat_param { %s }",
    "Eltwise": "eltwise_param { %s }",
    "Softmax": "softmax_param { %s }",
    "SoftmaxWithLoss": "loss_param { %s }",
    "Accuracy": "accuracy_param { %s }",
    "BatchNorm": "batch_norm_param { %s }",
    "Scale": "scale_param { %s }",
    "Flatten": "flatten_param { %s }",
    "Data": 'data_param { source: "db" batch_size: 3 backend: LMDB %s }',
    "DummyData": "dummy_data_param { shape { dim: 2 dim: 3 dim: 6 dim: 7 } %s }",
    "Input": "input_param { shape { dim: 2 dim: 3 dim: 6 dim: 7 } %s }",
    "Split": "%s",
    "Python": "python_param { %s }",
    "Nothing": "%s",
}
"""For each type of layer the block of its settings, those in it that it needs, and a place."""
BEGINNING = (
    'layer { name: "in" type: "Input" top: "data" top: "label" input_param {'
    " shape { dim: 2 dim: 3 dim: 6 dim: 7 } shape { dim: 2 } } }\n"
)


def one_in(count: int) -> st.SearchStrategy[bool]:
    """True once in so many times; the simplest is False."""
    return st.integers(0, count - 1).map(lambda number: number == count - 1)


def number() -> Text:
    return st.one_of(*[st.sampled_from(USUAL)] * 4, st.sampled_from(EDGES))


def value(field: FieldDescriptor, depth: int) -> Text:
    """What may stand behind the field's name, mark included."""
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_MESSAGE:
        return block(field.message_type, depth - 1).map(lambda inside: f" {{ {inside} }}")
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        words = st.sampled_from([each.name for each in field.enum_type.values])
    elif kind == FieldDescriptor.CPPTYPE_BOOL:
        words = st.sampled_from(("true", "false"))
    elif kind == FieldDescriptor.CPPTYPE_STRING:
        words = st.sampled_from([f'"{name}"' for name in (*NAMES, "gaussian", "msra", "SGD", "")])
    else:
        words = number()
    return st.one_of(*[words] * 5, number()).map(lambda word: f": {word}")


@cache
def field(descriptor: Descriptor, depth: int) -> Text:
    """One field of a block, of those that may still hold a block if depth is left."""
    simple = FieldDescriptor.CPPTYPE_MESSAGE
    fields = [each for each in descriptor.fields if depth or each.cpp_type != simple]

    def named(each: FieldDescriptor) -> Text:
        return value(each, depth).map(lambda text: f"{each.name}{text} ")

    return st.sampled_from(fields).flatmap(named) if fields else st.just("# \n")


@cache
def block(descriptor: Descriptor, depth: int) -> Text:
    """Fields that are all different; a second one comes from those that stand there already."""
    fields = st.lists(field(descriptor, depth), max_size=3, unique_by=lambda text: text.split()[0])
    return fields.map("".join)


@cache
def settings_of(kind: str) -> Text:
    """The block of a layer's settings, with more than it needs."""
    needed = NEEDED[kind]
    name = needed.partition(" ")[0]
    own = LayerParameter.DESCRIPTOR.fields_by_name.get(name)
    more = block(own.message_type, DEPTH - 1) if own else st.just("")
    return st.one_of(st.just(""), more).map(lambda text: needed.replace("%s", text))


@st.composite
def layer(draw: st.DrawFn, made: list[str]) -> str:
    """A layer upon blobs that are `made`, mostly; what it makes comes to them."""
    kind = draw(st.sampled_from(sorted(NEEDED)))
    name = draw(st.sampled_from(NAMES)) if draw(one_in(12)) else f"l{len(made)}"
    known = NAMES if draw(one_in(10)) else (*made[-1:], *made)
    bottom = st.sampled_from(known)
    bottoms = draw(st.lists(bottom, min_size=1, max_size=2)) if not draw(one_in(5)) else []
    top = draw(st.sampled_from((name, name, *bottoms)))
    made.append(top)
    blobs = "".join(f'bottom: "{each}" ' for each in bottoms) + f'top: "{top}" '
    more = draw(field(LayerParameter.DESCRIPTOR, DEPTH)) if draw(one_in(4)) else ""
    return f'layer {{ name: "{name}" type: "{kind}" {blobs}{draw(settings_of(kind))} {more}}}\n'


@st.composite
def spoiled(draw: st.DrawFn, text: str) -> bytes:
    """The text; once in four times with a word put in, or a piece cut out."""
    if draw(one_in(4)):
        at = draw(st.integers(0, len(text)))
        length = draw(st.sampled_from((0, 1, 7, 40)))
        text = text[:at] + draw(st.sampled_from((*MARKS, *EDGES, ""))) + text[at + length :]
    return text.encode()


@st.composite
def nets(draw: st.DrawFn) -> bytes:
    made = ["data", "label"]
    text = draw(block(NetParameter.DESCRIPTOR, DEPTH)) if draw(one_in(6)) else ""
    text += "" if draw(one_in(8)) else BEGINNING
    for _ in range(draw(st.integers(0, 4))):
        text += draw(layer(made))
    return draw(spoiled(text))


@st.composite
def solvers(draw: st.DrawFn) -> bytes:
    lines = SOLVER.splitlines(keepends=True)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        lines[at] = draw(field(SolverParameter.DESCRIPTOR, DEPTH)) + "\n"
    return draw(spoiled("".join(lines)))
