"""The CUDA backend: our kernels behind the functions of `Kernels`, on any Driver."""

from .conv import ConvKernels
from .driver import DeviceArray, Driver, DriverError, Properties
from .fc import FcKernels
from .images import ImageKernels
from .loss import LossKernels
from .lrn import LrnKernels
from .norm import NormKernels
from .pointwise import PointwiseKernels
from .pool import PoolKernels
from .update import UpdateKernels

__all__ = ["Backend", "DeviceArray", "Driver", "DriverError", "Properties"]


class Backend(
    ConvKernels,
    FcKernels,
    ImageKernels,
    LossKernels,
    LrnKernels,
    NormKernels,
    PointwiseKernels,
    PoolKernels,
    UpdateKernels,
):
    """Every function of `Kernels` on one driver."""
