"""Every kernel: where it is, what it may use, for which cards it is compiled."""

from dataclasses import dataclass

ARCHITECTURES = {
    # Turing, Ampere, Ada, Hopper, Blackwell for servers and for desks.
    "simt": ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120"),
}


@dataclass(frozen=True)
class Kernel:
    """A kernel as it is compiled and launched."""

    name: str
    file: str
    registers: int  # a thread may use on any architecture, none spilled
    shared: int  # bytes of static shared memory that a block uses at most
    threads: int = 256  # of a block
    tile: tuple[int, ...] = ()  # what one block makes
    tier: str = "simt"


def _of(
    file: str, registers: int, shared: int, names: str, tile: tuple[int, ...] = ()
) -> tuple[Kernel, ...]:
    return tuple(Kernel(name, file, registers, shared, tile=tile) for name in names.split())


_CONV = (
    *_of("conv_simt.cu", 144, 16896, "conv_128x128", (128, 128)),
    *_of("conv_simt.cu", 96, 12800, "conv_128x64 conv_128x64_any", (128, 64)),
    *_of("conv_simt.cu", 80, 17408, "conv_64x64", (64, 64)),
    *_of("conv_simt.cu", 40, 0, "conv_pack_forward conv_pack_backward"),
    *_of("conv_weights_simt.cu", 160, 16896, "conv_weights_128x128", (128, 128)),
    *_of("conv_weights_simt.cu", 80, 17408, "conv_weights_64x64 conv_weights_64x64_any", (64, 64)),
    *_of("conv_weights_simt.cu", 48, 0, "conv_weights_add conv_bias_add"),
    *_of("conv_weights_simt.cu", 48, 1024, "conv_bias relu_bias_backward"),
    *_of("conv_weights_simt.cu", 64, 1024, "relu_pool_bias_backward"),
)

_FC = (
    *_of("fc_simt.cu", 72, 17408, "fc_rows fc_columns fc_weights", (64, 64)),
    *_of("fc_simt.cu", 72, 17408, "fc_rows_any fc_columns_any fc_weights_any", (64, 64)),
    *_of("fc_simt.cu", 48, 0, "fc_add fc_bias"),
)

_POINTWISE = (
    *_of("pointwise.cu", 32, 0, "concat_forward eltwise_max_forward fill"),
    *_of("pointwise.cu", 40, 0, "relu_forward relu_backward concat_backward copy"),
    *_of("pointwise.cu", 40, 0, "eltwise_sum_forward eltwise_sum_backward eltwise_prod_forward"),
    *_of("pointwise.cu", 40, 0, "eltwise_prod_backward eltwise_max_backward split_backward"),
    *_of("pointwise.cu", 40, 64, "find_nonfinite"),
    *_of("pointwise.cu", 40, 4224, "convert"),
    *_of("pointwise.cu", 64, 0, "dropout_forward dropout_backward"),
)

_POOL = (
    *_of("pool.cu", 48, 0, "pool_max_forward pool_ave_backward"),
    *_of("pool.cu", 56, 0, "pool_max_backward"),
    *_of("pool.cu", 64, 0, "pool_ave_forward"),
)

_NORM = (
    *_of("lrn.cu", 32, 0, "lrn_within_forward lrn_within_backward"),
    *_of("lrn.cu", 48, 0, "lrn_across_backward"),
    *_of("lrn.cu", 56, 0, "lrn_across_forward"),
    *_of("norm.cu", 40, 0, "batch_norm_forward batch_norm_train_backward batch_norm_test_backward"),
    *_of("norm.cu", 40, 0, "scale_forward scale_backward_data"),
    *_of("norm.cu", 40, 2048, "batch_norm_sums"),
    *_of("norm.cu", 48, 0, "batch_norm_test_coefficients"),
    *_of("norm.cu", 48, 2048, "batch_norm_backward_sums scale_backward_weights_sums"),
    *_of("norm.cu", 56, 2048, "batch_norm_squares"),
    *_of("norm.cu", 64, 0, "batch_norm_train_coefficients batch_norm_backward_coefficients"),
    *_of("norm.cu", 64, 0, "scale_backward_weights"),
)

_LOSS = (
    *_of("loss.cu", 24, 64, "count_labels_sums"),
    *_of("loss.cu", 40, 0, "softmax_loss_backward"),
    *_of("loss.cu", 40, 64, "softmax_loss_sums"),
    *_of("loss.cu", 48, 0, "softmax_forward"),
    *_of("loss.cu", 48, 64, "count_labels parts_over_count"),
    *_of("loss.cu", 48, 64, "accuracy_sums accuracy_per_class_forward"),
    *_of("loss.cu", 56, 0, "softmax_backward"),
)

_ENDS = (
    *_of("images.cu", 40, 0, "transform_forward_uint8 transform_forward_float32"),
    *_of("update.cu", 32, 0, "sgd_update"),
    *_of("update.cu", 40, 64, "clip_gradients_sums"),
    *_of("update.cu", 48, 64, "clip_gradients"),
)

_ALL = (*_CONV, *_FC, *_POINTWISE, *_POOL, *_NORM, *_LOSS, *_ENDS)

KERNELS = {kernel.name: kernel for kernel in _ALL}
