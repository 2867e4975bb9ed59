"""The order of records: stored, or shuffled anew each epoch."""

import numpy as np

from cvgg.data.order import Shuffled, Stored, draw_skip


def test_stored_records_come_one_after_the_other_and_again() -> None:
    np.testing.assert_array_equal(Stored(5).records(np.arange(4, 12)), [4, 0, 1, 2, 3, 4, 0, 1])
    np.testing.assert_array_equal(Stored(5, skip=3).records(np.arange(4)), [3, 4, 0, 1])


def test_an_epoch_has_every_record_once_and_its_own_order() -> None:
    order = Shuffled(50, layer="data", seed=7)
    epochs = order.records(np.arange(200)).reshape(4, 50)
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(50))
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 4
    assert tuple(epochs[0]) != tuple(range(50))


def test_every_order_occurs() -> None:
    # 24 orders: one that is as likely as the others is missing from 400 epochs with 4e-8.
    epochs = Shuffled(4, layer="data", seed=7).records(np.arange(1600)).reshape(400, 4)
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 24


def test_a_position_has_its_record_whatever_was_asked_before() -> None:
    whole = Shuffled(9, layer="data", seed=7).records(np.arange(90))
    order = Shuffled(9, layer="data", seed=7)
    for first in (60, 3, 88, 30, 0):
        np.testing.assert_array_equal(
            order.records(np.arange(first, min(first + 14, 90))), whole[first : first + 14]
        )


def test_the_order_depends_on_seed_and_layer() -> None:
    positions = np.arange(30)
    orders = [
        tuple(Shuffled(30, layer=layer, seed=seed).records(positions).tolist())
        for layer in ("data", "other")
        for seed in (1, 2)
    ]
    assert len(set(orders)) == 4


def test_rand_skip_leaves_out_fewer_than_it_says() -> None:
    skips = [draw_skip(4, layer="data", seed=seed) for seed in range(64)]
    assert set(skips) == {0, 1, 2, 3}
    assert draw_skip(0, layer="data", seed=5) == 0
    assert draw_skip(1, layer="data", seed=5) == 0
