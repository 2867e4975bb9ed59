"""What a layer says of each blob that it learns: shape, filler, multipliers, the name it is shared
under."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import LayerError
from .caffe_pb2 import FillerParameter, LayerParameter, ParamSpec
from .shapes import Shape


@dataclass(frozen=True)
class ParamDef:
    """One param. The rate is multiplied by `lr_mult` (0: not learned), weight decay by
    `decay_mult`."""

    shape: Shape
    filler: FillerParameter
    lr_mult: float = 1.0
    decay_mult: float = 1.0
    share: str = ""  # params of one name are one array
    permissive: bool = False  # sharing asks for equal counts only, not equal shapes


def param_defs(
    spec: LayerParameter, blobs: Sequence[tuple[Shape, FillerParameter]]
) -> tuple[ParamDef, ...]:
    """Pairs the shapes and fillers of a layer with the `param` blocks of its spec, in order.

    Raises LayerError if the spec has more `param` blocks than the layer has params.
    """
    if len(spec.param) > len(blobs):
        raise LayerError(
            f"{len(spec.param)} param blocks, but the layer has {len(blobs)} params", field="param"
        )
    written = [*spec.param, *[ParamSpec()] * (len(blobs) - len(spec.param))]
    return tuple(
        ParamDef(
            shape,
            filler,
            each.lr_mult,
            each.decay_mult,
            each.name,
            each.share_mode == ParamSpec.PERMISSIVE,
        )
        for (shape, filler), each in zip(blobs, written, strict=True)
    )
