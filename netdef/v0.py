"""Layers as they were written in 2013 (V0: `layers { layer { type: "conv" } bottom: ... }`) to V1.

Source: Caffe upgrade_proto.cpp, UpgradeV0PaddingLayers and UpgradeV0LayerParameter.
"""

from typing import NoReturn, TypeAlias

from google.protobuf.descriptor import FieldDescriptor

from ..errors import PrototxtError
from .caffe_pb2 import V1LayerParameter
from .origin import Key, Origin, did_you_mean
from .rewrite import assign, renamed

Placed: TypeAlias = tuple[V1LayerParameter, Origin]

TYPES = {
    "accuracy": "ACCURACY", "bnll": "BNLL", "concat": "CONCAT", "conv": "CONVOLUTION",
    "data": "DATA", "dropout": "DROPOUT", "euclidean_loss": "EUCLIDEAN_LOSS",
    "flatten": "FLATTEN", "hdf5_data": "HDF5_DATA", "hdf5_output": "HDF5_OUTPUT",
    "im2col": "IM2COL", "images": "IMAGE_DATA", "infogain_loss": "INFOGAIN_LOSS",
    "innerproduct": "INNER_PRODUCT", "lrn": "LRN",
    "multinomial_logistic_loss": "MULTINOMIAL_LOGISTIC_LOSS", "pool": "POOLING", "relu": "RELU",
    "sigmoid": "SIGMOID", "softmax": "SOFTMAX", "softmax_loss": "SOFTMAX_LOSS", "split": "SPLIT",
    "tanh": "TANH", "window_data": "WINDOW_DATA",
}  # fmt: skip

MESSAGES = {
    "concat": "concat_param", "conv": "convolution_param", "data": "data_param",
    "dropout": "dropout_param", "hdf5_data": "hdf5_data_param",
    "hdf5_output": "hdf5_output_param", "images": "image_data_param",
    "infogain_loss": "infogain_loss_param", "innerproduct": "inner_product_param",
    "lrn": "lrn_param", "pool": "pooling_param", "window_data": "window_data_param",
}  # fmt: skip

LEARNED, SLIDING = ("conv", "innerproduct"), ("conv", "pool")
FED = ("data", "hdf5_data", "images", "window_data")

# V0 name: (today's name inside the type's message, the types that have it)
FIELDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "num_output": ("num_output", LEARNED), "biasterm": ("bias_term", LEARNED),
    "weight_filler": ("weight_filler", LEARNED), "bias_filler": ("bias_filler", LEARNED),
    "pad": ("pad", SLIDING), "kernelsize": ("kernel_size", SLIDING),
    "stride": ("stride", SLIDING), "group": ("group", ("conv",)), "pool": ("pool", ("pool",)),
    "dropout_ratio": ("dropout_ratio", ("dropout",)),
    "local_size": ("local_size", ("lrn",)), "alpha": ("alpha", ("lrn",)),
    "beta": ("beta", ("lrn",)), "k": ("k", ("lrn",)),
    "source": ("source", (*FED, "infogain_loss")), "batchsize": ("batch_size", FED),
    "rand_skip": ("rand_skip", ("data", "images")), "shuffle_images": ("shuffle", ("images",)),
    "new_height": ("new_height", ("images",)), "new_width": ("new_width", ("images",)),
    "concat_dim": ("concat_dim", ("concat",)),
    "det_fg_threshold": ("fg_threshold", ("window_data",)),
    "det_bg_threshold": ("bg_threshold", ("window_data",)),
    "det_fg_fraction": ("fg_fraction", ("window_data",)),
    "det_context_pad": ("context_pad", ("window_data",)),
    "det_crop_mode": ("crop_mode", ("window_data",)),
}  # fmt: skip

# V0 name: where any type may have it
COMMON: dict[str, Key] = {
    "name": ("name",), "blobs": ("blobs",), "blobs_lr": ("blobs_lr",),
    "weight_decay": ("weight_decay",), "scale": ("transform_param", "scale"),
    "meanfile": ("transform_param", "mean_file"), "cropsize": ("transform_param", "crop_size"),
    "mirror": ("transform_param", "mirror"),
}  # fmt: skip


def from_v0(layers: list[Placed]) -> list[Placed]:
    """V1 layers: padding layers become the `pad` of what reads them, then each is translated."""
    for old, origin in layers:
        if not old.HasField("layer"):
            raise PrototxtError(
                origin.message(
                    "this net mixes two old formats: other `layers` blocks have a block `layer` "
                    "inside, this one has not"
                )
            )
    return [_translated(old, origin) for old, origin in _fold_padding(layers)]


def _fold_padding(layers: list[Placed]) -> list[Placed]:
    made: dict[str, Placed] = {}
    kept: list[Placed] = []
    for old, origin in layers:
        new = V1LayerParameter()
        new.CopyFrom(old)
        for index, bottom in enumerate(old.bottom):
            source, _ = made.get(bottom, (None, origin))
            if source is None or source.layer.type != "padding":
                continue
            _check_padding(source, new, origin)
            new.layer.pad = source.layer.pad
            new.bottom[index] = source.bottom[0]
        made.update((top, (old, origin)) for top in old.top)
        if old.layer.type != "padding":
            kept.append((new, origin))
    return kept


def _check_padding(padding: V1LayerParameter, user: V1LayerParameter, origin: Origin) -> None:
    """Whether the layer `user` at `origin` can take over the padding."""
    name, pad = user.layer.name, padding.layer.name
    rule = ""
    if user.layer.type not in SLIDING:
        rule = f"a {user.layer.type} layer cannot take it; only conv and pool can"
    elif user.layer.pad:
        rule = f"layer {name!r} has a pad of its own, {user.layer.pad}"
    elif len(user.bottom) != 1:
        rule = f"layer {name!r} must have 1 bottom to take it, has {len(user.bottom)}"
    elif len(padding.bottom) != 1 or len(padding.top) != 1:
        rule = (
            "a padding layer has 1 bottom and 1 top, "
            f"not {len(padding.bottom)} and {len(padding.top)}"
        )
    if rule:
        raise PrototxtError(
            origin.at("layer").message(f"layer {name!r} reads padding layer {pad!r}: {rule}")
        )


def _translated(old: V1LayerParameter, origin: Origin) -> Placed:
    """The V1 form of one layer; rules, names of blobs and the like stay."""
    v0 = old.layer
    if v0.type not in TYPES:
        known = did_you_mean(v0.type, TYPES)
        where = origin.at("layer", "type")
        raise PrototxtError(
            where.message(f"layer {v0.name!r}: no layer type {v0.type!r} in the format V0{known}")
        )
    new = V1LayerParameter()
    new.CopyFrom(old)
    new.ClearField("layer")
    new.type = V1LayerParameter.LayerType.Value(TYPES[v0.type])
    moves: dict[str, Key] = {"type": ("type",)}
    for field, value in v0.ListFields():
        if field.name == "type":
            continue
        path = _path(field, v0.type)
        if path is None:
            _refuse(field.name, old, origin)
        moves[field.name] = path
        target = getattr(new, path[0]) if len(path) == 2 else new
        assign(target, path[-1], value)

    def move(key: Key) -> Key:
        inner = key[1:]
        if key[0] != "layer" or not inner:
            return key
        return (*moves.get(inner[0], inner[:1]), *inner[1:])

    return new, renamed(origin, move)


def _path(field: FieldDescriptor, type: str) -> Key | None:
    """Where a V0 field of a layer of that type stands in V1; None if the type has no such field."""
    if field.name in COMMON:
        return COMMON[field.name]
    if field.name == "hdf5_output_param" and type == "hdf5_output":
        return ("hdf5_output_param",)
    name, types = FIELDS.get(field.name, ("", ()))
    return (MESSAGES[type], name) if type in types else None


def _refuse(field: str, old: V1LayerParameter, origin: Origin) -> NoReturn:
    where = origin.at("layer", field)
    raise PrototxtError(
        where.message(
            f"layer {old.layer.name!r}: a layer of type {old.layer.type!r} has no {field}; "
            "remove it"
        )
    )
