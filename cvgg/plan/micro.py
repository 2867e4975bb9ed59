"""Cuts a batch into micro-batches (the paper's "GPU batches") whose plans fit in memory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cvgg.errors import UnavailableError
from cvgg.layers.base import SourceLayer
from cvgg.plan.description import Memory, Plan, mebibytes


@dataclass(frozen=True)
class Cut:
    """The passes of one batch: images of each, and the plan for each number of images. whole is the
    plan of all of them in one pass, which may not fit."""

    whole: Plan
    images: tuple[int, ...]
    plans: dict[int, Plan]

    @property
    def memory(self) -> Memory:
        """What the largest pass takes."""
        return self.plans[max(self.images)].memory


def batch_of(plan: Plan) -> int | None:
    """Images of a whole batch as the source layers have it; None if there are none, or if they
    differ."""
    layers = [step.layer for step in plan.steps]
    sizes = {layer.batch_size for layer in layers if isinstance(layer, SourceLayer)}
    return sizes.pop() if len(sizes) == 1 else None


def obstacle(plan: Plan) -> str:
    """Why the batch of this net cannot be cut; "" if it can."""
    if batch_of(plan) is None:
        return "its source layers have no common batch_size"
    for i, step in enumerate(plan.steps):
        if step.layer.couples_images:
            return f"layer {step.name!r} ({step.layer.type}) couples the images of a batch"
        if step.layer.ignore_label is not None and i not in plan.label_sources:
            return f"layer {step.name!r} has ignore_label, and no data layer brings its labels"
    return ""


def cut(whole: Plan, make: Callable[[int], Plan], available: int | None) -> Cut:
    """The fewest passes, of sizes that differ by one image at most, that fit in `available` bytes.

    make(images) plans a pass of that many images. available None: no limit. Raises UnavailableError
    if not even one image fits, or the batch is too large and cannot be cut."""
    batch = batch_of(whole)
    if available is None or whole.memory.total <= available:
        return Cut(whole, (batch or 0,), {batch or 0: whole})
    reason = obstacle(whole)
    if reason or batch is None:
        raise UnavailableError(
            f"{whole.graph.name or 'the net'} needs {mebibytes(whole.memory.total)} MiB and "
            f"{mebibytes(available)} MiB are there; its batch cannot be cut, since {reason}; use a "
            "smaller batch_size"
        )
    plans: dict[int, Plan] = {}

    def fits(images: int) -> bool:
        if images not in plans:
            plans[images] = make(images)
        return plans[images].memory.total <= available

    if not fits(1):
        raise UnavailableError(
            f"{whole.graph.name or 'the net'} needs {mebibytes(plans[1].memory.total)} MiB for a "
            f"single image and {mebibytes(available)} MiB are there"
        )
    low, high = 1, batch  # low fits, high does not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    parts = -(-batch // low)
    images = tuple(batch * (i + 1) // parts - batch * i // parts for i in range(parts))
    for size in set(images):
        fits(size)
    return Cut(whole, images, {size: plans[size] for size in set(images)})


def offsets(images: Sequence[int]) -> tuple[int, ...]:
    """The first image of each pass."""
    return tuple(sum(images[:i]) for i in range(len(images)))
