"""The CPU backend: this module has the functions of cvgg.kernels.interface.Kernels.

Loops are in native.cpp; matrix products are numpy's BLAS. Arrays are float32, C-contiguous, NCHW.
"""

from types import SimpleNamespace
from typing import Any

from . import openmp as openmp  # first: it must come before the modules that load OpenMP
from .conv import DIRECT, FAST, relu_bias_backward, relu_pool_bias_backward
from .fc import fc_backward_data, fc_backward_weights, fc_forward, fc_workspace
from .images import transform_forward
from .loss import (
    accuracy_forward,
    accuracy_per_class_forward,
    count_labels,
    softmax_backward,
    softmax_forward,
    softmax_loss_backward,
    softmax_loss_forward,
)
from .lrn import lrn_across_backward, lrn_across_forward, lrn_within_backward, lrn_within_forward
from .norm import (
    batch_norm_test_backward,
    batch_norm_test_forward,
    batch_norm_train_backward,
    batch_norm_train_forward,
    scale_backward_data,
    scale_backward_weights,
    scale_forward,
)
from .pointwise import (
    concat_backward,
    concat_forward,
    convert,
    copy,
    dropout_backward,
    dropout_forward,
    eltwise_max_backward,
    eltwise_max_forward,
    eltwise_prod_backward,
    eltwise_prod_forward,
    eltwise_sum_backward,
    eltwise_sum_forward,
    fill,
    find_nonfinite,
    relu_backward,
    relu_forward,
    split_backward,
)
from .pool import pool_ave_backward, pool_ave_forward, pool_max_backward, pool_max_forward
from .team import set_threads
from .update import clip_gradients, sgd_update

__all__ = [
    "accuracy_forward", "accuracy_per_class_forward", "batch_norm_test_backward",
    "batch_norm_test_forward", "batch_norm_train_backward", "batch_norm_train_forward",
    "clip_gradients", "concat_backward", "concat_forward", "conv_backward_data",
    "conv_backward_weights", "conv_forward", "conv_relu_forward", "conv_relu_pool_fits",
    "conv_relu_pool_forward", "conv_workspace", "convert", "copy", "count_labels",
    "dropout_backward", "dropout_forward", "eltwise_max_backward", "eltwise_max_forward",
    "eltwise_prod_backward", "eltwise_prod_forward", "eltwise_sum_backward",
    "eltwise_sum_forward", "fc_backward_data", "fc_backward_weights", "fc_forward",
    "fc_workspace", "fill", "find_nonfinite", "lrn_across_backward", "lrn_across_forward",
    "lrn_within_backward", "lrn_within_forward", "pool_ave_backward", "pool_ave_forward",
    "pool_max_backward", "pool_max_forward", "relu_backward", "relu_bias_backward",
    "relu_forward", "relu_pool_bias_backward", "scale_backward_data", "scale_backward_weights",
    "scale_forward", "set_threads", "sgd_update", "softmax_backward", "softmax_forward",
    "softmax_loss_backward", "softmax_loss_forward", "split_backward", "transform_forward",
]  # fmt: skip

_CONV = (
    "conv_workspace",
    "conv_forward",
    "conv_relu_forward",
    "conv_relu_pool_fits",
    "conv_relu_pool_forward",
    "conv_backward_data",
    "conv_backward_weights",
)
conv_workspace = FAST.conv_workspace
conv_forward = FAST.conv_forward
conv_relu_forward = FAST.conv_relu_forward
conv_relu_pool_fits = FAST.conv_relu_pool_fits
conv_relu_pool_forward = FAST.conv_relu_pool_forward
conv_backward_data = FAST.conv_backward_data
conv_backward_weights = FAST.conv_backward_weights


def direct() -> Any:
    """This backend with convolution as the sum of the products themselves: slower, more exact."""
    functions = {name: globals()[name] for name in __all__}
    return SimpleNamespace(**functions | {name: getattr(DIRECT, name) for name in _CONV})
