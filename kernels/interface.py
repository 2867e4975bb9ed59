"""What every backend does: the functions of `Kernels`, their argument order, shapes and meaning.

Inputs come first, then outputs, then keyword-only numbers. Outputs are assigned, except dw, db, dg
and the like (diffs of params), which are accumulated: iter_size and micro-batches need the sum.
Arrays are C-contiguous; on the CPU float32 in NCHW order, on a GPU a blob's channels may lie last
(cuda/driver.py: layout). Letters: n images, c channels, k
num_output, h w input, p q output, r s window. `b`, `db`, `dw`, `dx` may be None where the signature
says so: nobody asks for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol, TypeAlias

Array: TypeAlias = Any  # numpy.ndarray on the CPU, DeviceArray on a GPU
Pair: TypeAlias = tuple[int, int]  # (height, width)


class State(IntEnum):
    """Slots of `own.state`, an int64 array: what changes from pass to pass and random numbers
    depend on."""

    SEED = 0
    DRAW = 1  # iteration * iter_size + sub-iteration
    FIRST_IMAGE = 2  # global number of this pass's first image in the whole batch
    SLOTS = 8


class Scalars(IntEnum):
    """Slots of the float32 array that an update reads: kept in memory so that a captured step stays
    true."""

    RATE = 0
    SCALE = 1  # factor on the gradient: 1/iter_size, times the clip factor
    NONFINITE = 2  # not 0: the gradient has a NaN or infinity, and an update changes nothing
    SLOTS = 3


@dataclass(frozen=True)
class Segment:
    """A stretch of the flat parameter array with one pair of multipliers: elements start <= i <
    stop."""

    start: int
    stop: int
    lr_mult: float
    decay_mult: float


class Kernels(Protocol):
    """The functions of a backend. A module or an object may be one; there are no default bodies."""

    # ---- convolution. x (n,c,h,w)  w (k,c/group,r,s)  b (k)  y (n,k,p,q)
    def conv_workspace(
        self,
        x: tuple[int, ...],
        w: tuple[int, ...],
        *,
        stride: Pair,
        pad: Pair,
        dilation: Pair,
        group: int,
    ) -> int:
        """float32 elements of scratch that the conv functions want for these shapes and the
        backend's threads of now; needs no device."""
        ...

    def conv_forward(
        self,
        x: Array,
        w: Array,
        b: Array | None,
        y: Array,
        *,
        stride: Pair,
        pad: Pair,
        dilation: Pair,
        group: int,
        workspace: Array,
    ) -> None:
        """y = cross-correlation of x and w, plus b. p = (h + 2 pad - dilation (r-1) - 1) // stride
        + 1."""
        ...

    def conv_relu_forward(
        self,
        x: Array,
        w: Array,
        b: Array | None,
        y: Array,
        *,
        stride: Pair,
        pad: Pair,
        dilation: Pair,
        group: int,
        negative_slope: float,
        workspace: Array,
    ) -> None:
        """y = relu(conv(x)): what the plan calls where a ReLU follows at once."""
        ...

    def conv_backward_data(
        self,
        w: Array,
        dy: Array,
        dx: Array,
        *,
        stride: Pair,
        pad: Pair,
        dilation: Pair,
        group: int,
        workspace: Array,
    ) -> None:
        """dx = d(loss)/dx, assigned."""
        ...

    def conv_backward_weights(
        self,
        x: Array,
        dy: Array,
        dw: Array | None,
        db: Array | None,
        *,
        stride: Pair,
        pad: Pair,
        dilation: Pair,
        group: int,
        workspace: Array,
    ) -> None:
        """dw += d(loss)/dw, db += d(loss)/db; None: not wanted."""
        ...

    # ---- pooling. x (n,c,h,w)  y (n,c,p,q); p and q are the caller's (Caffe's ceil and clip:
    # netdef/shapes.py)
    def pool_max_forward(
        self, x: Array, y: Array, argmax: Array, *, window: Pair, stride: Pair, pad: Pair
    ) -> None:
        """y = largest of each window; argmax int32 (n,c,p,q) its place h*W+w in the plane.

        Row-major, strict >: the first of equals wins. Padding is never considered. NaN never wins:
        with nothing larger than -FLT_MAX, y is -FLT_MAX and argmax -1. Source: Caffe
        pooling_layer.cpp."""
        ...

    def pool_max_backward(
        self, dy: Array, argmax: Array, dx: Array, *, window: Pair, stride: Pair, pad: Pair
    ) -> None:
        """dx = 0, then dx[argmax] += dy; argmax -1 gets nothing. Each place that argmax names lies
        in its window, as pool_max_forward leaves it."""
        ...

    def pool_ave_forward(
        self, x: Array, y: Array, *, window: Pair, stride: Pair, pad: Pair
    ) -> None:
        """y = sum over the window inside the image / size of the window cut at h + pad, w + pad.

        The divisor counts padding, but never beyond h + pad: Caffe's rule.
        """
        ...

    def pool_ave_backward(
        self, dy: Array, dx: Array, *, window: Pair, stride: Pair, pad: Pair
    ) -> None: ...

    # ---- local response normalisation. all (n,c,h,w)
    def lrn_across_forward(
        self, x: Array, y: Array, scale: Array, *, size: int, alpha: float, beta: float, k: float
    ) -> None:
        """y = x / scale**beta, scale = k + alpha/size * (sum of x**2 over `size` channels around
        c).

        Near the ends the window is cut, the divisor stays `size`. `scale` is kept for backward.
        Source: Krizhevsky et al. 2012, section 3.3; Caffe lrn_layer.cpp.
        """
        ...

    def lrn_across_backward(
        self,
        x: Array,
        y: Array,
        scale: Array,
        dy: Array,
        dx: Array,
        *,
        size: int,
        alpha: float,
        beta: float,
    ) -> None: ...

    def lrn_within_forward(
        self, x: Array, y: Array, scale: Array, *, size: int, alpha: float, beta: float
    ) -> None:
        """y = x / scale**beta, scale = 1 + alpha * (mean of x**2 over size x size cells around,
        zeros outside).

        The mean is average pooling's with pad (size-1)/2 and stride 1, so its divisor is cut at h +
        pad."""
        ...

    def lrn_within_backward(
        self,
        x: Array,
        y: Array,
        scale: Array,
        dy: Array,
        dx: Array,
        *,
        size: int,
        alpha: float,
        beta: float,
    ) -> None: ...

    # ---- fully connected. x (n,c)  w (k,c), or (c,k) with transpose  b (k)  y (n,k)
    def fc_workspace(self, n: int, c: int, k: int) -> int:
        """float32 elements of scratch that the fc functions want; needs no device."""
        ...

    def fc_forward(
        self,
        x: Array,
        w: Array,
        b: Array | None,
        y: Array,
        *,
        transpose: bool,
        workspace: Array,
    ) -> None: ...

    def fc_backward_data(
        self, w: Array, dy: Array, dx: Array, *, transpose: bool, workspace: Array
    ) -> None: ...

    def fc_backward_weights(
        self,
        x: Array,
        dy: Array,
        dw: Array | None,
        db: Array | None,
        *,
        transpose: bool,
        workspace: Array,
    ) -> None:
        """dw += ..., db += ...; None: not wanted."""
        ...

    # ---- elementwise; x and y, dy and dx may be the same array
    def relu_forward(self, x: Array, y: Array, *, negative_slope: float) -> None:
        """y = x where x > 0, else negative_slope * x."""
        ...

    def relu_backward(self, x: Array, dy: Array, dx: Array, *, negative_slope: float) -> None:
        """dx = dy * (1 where x > 0, else negative_slope). x may be relu's own output: the sign is
        the same."""
        ...

    def relu_bias_backward(
        self, y: Array, dy: Array, dx: Array, db: Array | None, *, negative_slope: float
    ) -> None:
        """dx = dy * (1 where y > 0, else negative_slope); db += its sums over images and places. dy
        and dx may be the same array."""
        ...

    def dropout_forward(
        self, x: Array, y: Array, state: Array, *, layer: int, ratio: float
    ) -> None:
        """y = x / (1 - ratio) where kept, else 0. No mask is stored: backward draws the same
        numbers.

        Element e, counted in NCHW order over the whole batch (state FIRST_IMAGE), is kept if lane e
        % 4 of philox(counter = (e // 4, DRAW, layer, Purpose.DROPOUT), key = SEED) is >= int(ratio
        * 2**32). x's first axis counts images. `layer` is kernels.philox.hash_name(layer's name).
        """
        ...

    def dropout_backward(
        self, dy: Array, dx: Array, state: Array, *, layer: int, ratio: float
    ) -> None: ...

    # ---- softmax over the middle axis. x y (outer, c, inner)  label (outer, inner) float32, whole
    # numbers
    def softmax_forward(self, x: Array, y: Array) -> None: ...

    def softmax_backward(self, y: Array, dy: Array, dx: Array) -> None: ...

    def count_labels(self, label: Array, count: Array, *, ignore_label: int) -> None:
        """count[0] = max(1, number of labels that are not ignore_label); float32 (1,)."""
        ...

    def softmax_loss_forward(
        self,
        x: Array,
        label: Array,
        prob: Array,
        loss: Array,
        count: Array,
        *,
        ignore_label: int | None,
    ) -> None:
        """prob = softmax(x); loss[0] = sum of -log(max(prob[label], FLT_MIN)) / count[0], float64
        inside.

        A label outside 0..c-1 that is not ignore_label makes the loss NaN: the net reports it
        (Caffe reads out of bounds). loss and count: float32 (1,)."""
        ...

    def softmax_loss_backward(
        self,
        prob: Array,
        label: Array,
        dloss: Array,
        count: Array,
        dx: Array,
        *,
        ignore_label: int | None,
    ) -> None:
        """dx = (prob - 1 at the label) * dloss[0] / count[0]; 0 where ignored."""
        ...

    def accuracy_forward(
        self,
        x: Array,
        label: Array,
        y: Array,
        count: Array,
        *,
        top_k: int,
        ignore_label: int | None,
    ) -> None:
        """y[0] = (number of positions whose label is among the top_k scores) / count[0].

        A score equal to the label's counts as better (Caffe since 2017: ties count against you).
        """
        ...

    def accuracy_per_class_forward(
        self, x: Array, label: Array, y: Array, *, top_k: int, ignore_label: int | None
    ) -> None:
        """y (c,): share of each class's positions that are right; 0 for a class that does not
        occur."""
        ...

    # ---- concat along the middle axis. part (outer, c, inner)  whole (outer, total, inner)
    def concat_forward(self, part: Array, whole: Array, *, at: int) -> None:
        """whole[:, at:at+c] = part."""
        ...

    def concat_backward(self, whole: Array, part: Array, *, at: int) -> None:
        """part = whole[:, at:at+c]."""
        ...

    # ---- eltwise; all arrays of one shape
    def eltwise_sum_forward(
        self, xs: Sequence[Array], y: Array, *, coeff: Sequence[float]
    ) -> None: ...

    def eltwise_sum_backward(self, dy: Array, dx: Array, *, coeff: float) -> None: ...

    def eltwise_prod_forward(self, xs: Sequence[Array], y: Array) -> None: ...

    def eltwise_prod_backward(
        self, xs: Sequence[Array], dy: Array, dx: Array, *, index: int
    ) -> None:
        """dx = dy * product of the others: no division, so zeros are right (Caffe's
        stable_prod_grad)."""
        ...

    def eltwise_max_forward(self, xs: Sequence[Array], y: Array, argmax: Array) -> None:
        """argmax int32: which input; a tie of the first two goes to the second, later ones must be
        larger."""
        ...

    def eltwise_max_backward(self, dy: Array, argmax: Array, dx: Array, *, index: int) -> None: ...

    # ---- batch normalisation. x y (n,c,inner)  mean variance (c), scale_factor (1): running sums
    # as Caffe keeps them
    def batch_norm_train_forward(
        self,
        x: Array,
        y: Array,
        batch_mean: Array,
        batch_std: Array,
        mean: Array,
        variance: Array,
        scale_factor: Array,
        *,
        fraction: float,
        eps: float,
    ) -> None:
        """y = (x - batch mean) / sqrt(batch variance + eps); running sums: scale_factor = fraction
        * it + 1, mean = fraction * it + batch mean, variance = fraction * it + m/(m-1) * batch
        variance, m = n * inner.

        batch_mean, batch_std (c): kept for backward. Source: Caffe batch_norm_layer.cpp.
        """
        ...

    def batch_norm_test_forward(
        self,
        x: Array,
        y: Array,
        batch_mean: Array,
        batch_std: Array,
        mean: Array,
        variance: Array,
        scale_factor: Array,
        *,
        eps: float,
    ) -> None:
        """The same with the running mean / scale_factor and variance / scale_factor (0 if the
        factor is 0)."""
        ...

    def batch_norm_train_backward(
        self, y: Array, batch_std: Array, dy: Array, dx: Array
    ) -> None: ...

    def batch_norm_test_backward(self, batch_std: Array, dy: Array, dx: Array) -> None: ...

    # ---- scale. x y (outer,c,inner)  g b (c)
    def scale_forward(self, x: Array, g: Array, b: Array | None, y: Array) -> None:
        """y = g x + b."""
        ...

    def scale_backward_data(self, g: Array, dy: Array, dx: Array) -> None: ...

    def scale_backward_weights(
        self, x: Array, dy: Array, dg: Array | None, db: Array | None
    ) -> None:
        """dg += ..., db += ...; None: not wanted."""
        ...

    # ---- split: one bottom, many tops that share its data
    def split_backward(self, dys: Sequence[Array], dx: Array) -> None:
        """dx = sum of dys."""
        ...

    # ---- images. x uint8 or float32 (n,c,h,w), already cropped  y float32 (n,c,h,w)
    def transform_forward(
        self, x: Array, place: Array, mean: Array | None, y: Array, *, scale: float
    ) -> None:
        """y = (x - mean) * scale, mirrored left to right where place says so.

        place int32 (n,3): row and column of the crop in the whole image, mirror 0 or 1.
        mean (c,H,W) of whole images, read at the crop's place; or (c,1,1); or None.
        """
        ...

    # ---- arrays
    def fill(self, x: Array, *, value: float) -> None: ...

    def copy(self, x: Array, y: Array) -> None: ...

    def convert(self, x: Array, y: Array) -> None:
        """y = x, each in its own layout."""
        ...

    def find_nonfinite(self, x: Array) -> int:
        """Flat place of the first NaN or infinity, -1 if all are finite."""
        ...

    # ---- update; w, dw, history: flat float32 arrays  scalars: float32 (3,), see Scalars
    def clip_gradients(self, dw: Array, scalars: Array, *, threshold: float, scale: float) -> None:
        """scalars[SCALE] = scale * min(1, threshold / l2norm(dw)), float64 inside, and
        scalars[NONFINITE] = whether dw has a NaN or infinity. An infinite threshold clips nothing.
        Source: Caffe sgd_solver.cpp, which clips the sum over iter_size."""
        ...

    def sgd_update(
        self,
        w: Array,
        dw: Array,
        history: Array,
        scalars: Array,
        *,
        segments: Sequence[Segment],
        momentum: float,
        l1: float,
        l2: float,
    ) -> None:
        """g = SCALE dw + decay_mult (l2 w + l1 sign(w)); v = momentum v + RATE lr_mult g; w -= v;
        nothing where scalars[NONFINITE] is not 0.

        Segments cover what is learned; elements outside all of them stay. Source: Caffe
        sgd_solver.cpp."""
        ...


class FusedKernels(Protocol):
    """What a backend may have beside: asked for only where its engine's `fusions` name it."""

    def conv_relu_pool_fits(
        self,
        x: tuple[int, ...],
        w: tuple[int, ...],
        *,
        stride: Pair,
        pad: Pair,
        dilation: Pair,
        group: int,
    ) -> bool:
        """Whether it does convolutions of these shapes; needs no device."""
        ...

    def conv_relu_pool_forward(
        self,
        x: Array,
        w: Array,
        b: Array | None,
        y: Array,
        argmax: Array,
        *,
        stride: Pair,
        pad: Pair,
        dilation: Pair,
        group: int,
        workspace: Array,
    ) -> None:
        """y (n,k,p/2,q/2) = max of each 2 x 2 window of relu(conv(x)), p and q even.

        argmax uint8 (n, p/2, q/2, (k+3)/4): 2 bits for each channel, the place row-major in the
        window, the first of equals.
        """
        ...

    def relu_pool_bias_backward(
        self, y: Array, argmax: Array, dy: Array, dx: Array, db: Array | None
    ) -> None:
        """dx (n,k,p,q) = dy where argmax says and y > 0, else 0; db += its sums."""
        ...
