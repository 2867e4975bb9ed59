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
    registers: int = 64  # a thread may use on any architecture, none spilled
    shared: int = 0  # bytes of static shared memory that a block uses at most
    threads: int = 256  # of a block
    tile: tuple[int, ...] = ()  # what one block makes
    tier: str = "simt"


def _of(file: str, *names: str) -> tuple[Kernel, ...]:
    return tuple(Kernel(name, file) for name in names)


_CONV = (
    Kernel("conv_128x128", "conv_simt.cu", registers=144, shared=16896, tile=(128, 128)),
    Kernel("conv_128x64", "conv_simt.cu", registers=88, shared=12800, tile=(128, 64)),
    Kernel("conv_64x64", "conv_simt.cu", registers=80, shared=17408, tile=(64, 64)),
    Kernel("conv_128x64_any", "conv_simt.cu", registers=88, shared=12800, tile=(128, 64)),
    *_of("conv_simt.cu", "conv_pack_forward", "conv_pack_backward"),
)

_CONV_WEIGHTS = (
    *(
        Kernel(f"conv_weights_{name}", "conv_weights_simt.cu", registers, shared, tile=tile)
        for name, registers, shared, tile in (
            ("128x128", 152, 16896, (128, 128)),
            ("64x64", 80, 17408, (64, 64)),
            ("64x64_any", 80, 17408, (64, 64)),
        )
    ),
    *_of("conv_weights_simt.cu", "conv_weights_add", "conv_bias_add"),
    *(
        Kernel(name, "conv_weights_simt.cu", shared=1024)
        for name in ("conv_bias", "relu_bias_backward", "relu_pool_bias_backward")
    ),
)

_FC = (
    *(
        Kernel(name, "fc_simt.cu", registers=72, shared=17408, tile=(64, 64))
        for kind in ("rows", "columns", "weights")
        for name in (f"fc_{kind}", f"fc_{kind}_any")
    ),
    *_of("fc_simt.cu", "fc_add", "fc_bias"),
)

# file, registers, bytes of shared memory, names
_SMALL = tuple(
    Kernel(name, file, registers, shared)
    for file, registers, shared, names in (
        ("pointwise.cu", 32, 0, "concat_forward eltwise_max_forward fill"),
        (
            "pointwise.cu", 40, 0,
            "relu_forward relu_backward concat_backward eltwise_sum_forward eltwise_sum_backward "
            "eltwise_prod_forward eltwise_prod_backward eltwise_max_backward split_backward copy",
        ),
        ("pointwise.cu", 40, 64, "find_nonfinite"),
        ("pointwise.cu", 40, 4224, "convert"),
        ("pointwise.cu", 64, 0, "dropout_forward dropout_backward"),
        ("pool.cu", 48, 0, "pool_max_forward pool_ave_backward"),
        ("pool.cu", 56, 0, "pool_max_backward"),
        ("pool.cu", 64, 0, "pool_ave_forward"),
        ("lrn.cu", 32, 0, "lrn_within_forward lrn_within_backward"),
        ("lrn.cu", 48, 0, "lrn_across_backward"),
        ("lrn.cu", 56, 0, "lrn_across_forward"),
        (
            "norm.cu", 40, 0,
            "batch_norm_forward batch_norm_train_backward batch_norm_test_backward scale_forward "
            "scale_backward_data",
        ),
        ("norm.cu", 40, 2048, "batch_norm_sums"),
        ("norm.cu", 48, 0, "batch_norm_test_coefficients"),
        ("norm.cu", 48, 2048, "batch_norm_backward_sums scale_backward_weights_sums"),
        ("norm.cu", 56, 2048, "batch_norm_squares"),
        (
            "norm.cu", 64, 0,
            "batch_norm_train_coefficients batch_norm_backward_coefficients "
            "scale_backward_weights",
        ),
        ("loss.cu", 24, 64, "count_labels_sums"),
        ("loss.cu", 40, 0, "softmax_loss_backward"),
        ("loss.cu", 40, 64, "softmax_loss_sums"),
        ("loss.cu", 48, 0, "softmax_forward"),
        (
            "loss.cu", 48, 64,
            "count_labels parts_over_count accuracy_sums accuracy_per_class_forward",
        ),
        ("loss.cu", 56, 0, "softmax_backward"),
        ("images.cu", 40, 0, "transform_forward_uint8 transform_forward_float32"),
        ("update.cu", 24, 0, "sgd_update"),
        ("update.cu", 40, 64, "clip_gradients_sums"),
        ("update.cu", 48, 64, "clip_gradients"),
    )
    for name in names.split()
)  # fmt: skip

_ALL = (
    *_CONV,
    *_CONV_WEIGHTS,
    *_FC,
    *_SMALL,
)

KERNELS = {kernel.name: kernel for kernel in _ALL}
