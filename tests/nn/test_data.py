"""Batches for training: cut by the code that serves, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from qad_dl.grid import build_grid
from qad_dl.nn.data import Batch, Masking, WindowBatches, WindowLoaders
from tests.light.made import TICK, at
from tests.light.made_bundle import METADATA, fitted, made_history

DAYS = 4
N = DAYS * TICK.per_day
PREPROCESS = fitted()
CONTEXT = PREPROCESS.plan.context
GRID = build_grid(made_history(DAYS, seed=6), TICK.range(at(0), at(N)), TICK, METADATA)
PREPARED = PREPROCESS.prepare(GRID, METADATA, in_training=True)


def batches(masking: Masking | None = None, seed: int = 1, span=(CONTEXT, N), outputs: int = 72, weight=None):
    weight = PREPARED.usable if weight is None else weight
    return WindowBatches(PREPROCESS, PREPARED, weight, span, outputs, 4, masking, seed)


def same(left, right) -> bool:
    return all(torch.equal(left[k], right[k]) for k in left)


def test_the_seed_and_the_epoch_fix_places_and_masks() -> None:
    one, two, other = batches(Masking()), batches(Masking()), batches(Masking(), seed=2)
    assert all(same(one[i], two[i]) for i in range(len(one)))
    assert not same(one[0], other[0])
    one.set_epoch(1)
    assert not same(one[0], two[0])
    two.set_epoch(1)
    assert same(one[0], two[0])


def test_another_epoch_and_another_batch_hide_other_cells() -> None:
    made = batches(Masking(ticks=0, cells=0.5, ids=0))
    masks = [made[0]["observed"], made[1]["observed"]]
    made.set_epoch(1)
    masks.append(made[0]["observed"])
    assert not any(torch.equal(masks[i], masks[j]) for i, j in ((0, 1), (0, 2), (1, 2)))


def test_a_batch_can_be_asked_for_in_any_order() -> None:
    one, two = batches(Masking()), batches(Masking())
    backwards = {i: one[i] for i in reversed(range(len(one)))}
    assert all(same(backwards[i], two[i]) for i in range(len(two)))
    with pytest.raises(IndexError):
        one[len(one)]


def test_validation_is_end_to_end_without_masks() -> None:
    made = batches(outputs=36)
    places = sorted(zip(made.series.tolist(), made.first.tolist(), strict=True))
    firsts = range(CONTEXT, N - 35, 36)
    assert places == [(n, f) for n in range(len(GRID.series)) for f in firsts]
    assert all((made[i]["observed"] == 1).all() for i in range(len(made)))


def test_masking_hides_about_its_share() -> None:
    made = batches(Masking(ticks=0.1, cells=0.2, ids=0))
    seen = torch.cat([made[i]["observed"].flatten() for i in range(len(made))])
    assert seen.mean() == pytest.approx(0.9 * 0.8, abs=0.02)


def test_targets_are_the_values_and_stay_where_the_input_is_hidden() -> None:
    made = batches(Masking(ticks=0.5, cells=0.5, ids=0))
    batch = made[0]
    for row in range(4):
        n, first = made.series[row], made.first[row]
        wanted = PREPARED.values[n, first : first + 72]
        assert np.array_equal(batch["target"][row].numpy(), wanted)
    assert (batch["weight"] == 1).all()


def test_ticks_without_weight_do_not_count_and_windows_without_any_are_left_out() -> None:
    weight = PREPARED.usable.copy()
    weight[2] = False
    weight[3, : CONTEXT + 10] = False
    made = batches(weight=weight)
    assert 2 not in made.series
    for i in range(len(made)):
        for row, (n, first) in enumerate(
            zip(made.series[4 * i : 4 * i + 4], made.first[4 * i : 4 * i + 4], strict=True)
        ):
            assert np.array_equal(made[i]["weight"][row, :, 0].numpy(), weight[n, first : first + 72])


def test_no_window_reaches_out_of_its_span() -> None:
    for epoch in range(20):
        made = batches(Masking(), span=(200, 400))
        made.set_epoch(epoch)
        assert len(made) > 0
        assert made.first.min() >= 200
        assert made.first.max() + made.outputs <= 400


@pytest.mark.parametrize("length", [1, 10, 71, 72, 73, 100])
def test_a_short_span_still_has_windows_in_every_epoch(length: int) -> None:
    for masking in (Masking(), None):
        made = batches(masking, span=(CONTEXT, CONTEXT + length))
        for epoch in range(10):
            made.set_epoch(epoch)
            assert len(made) > 0
            assert made[0]["target"].shape[1] == min(72, length)


def test_no_nan_reaches_a_network() -> None:
    assert np.isfinite(PREPARED.values).all()
    holes = PREPARED.values.copy()
    holes[:, 250:260] = np.nan
    prepared = type(PREPARED)(**{**vars(PREPARED), "values": holes})
    made = WindowBatches(PREPROCESS, prepared, PREPARED.usable, (CONTEXT, N), 72, 4, Masking())
    for i in range(len(made)):
        for name, tensor in made[i].items():
            assert torch.isfinite(tensor.float()).all(), name


class TestShare:
    def test_shares_are_the_whole_batch_once_with_its_masks(self) -> None:
        whole, shares = batches(Masking(cells=0.5)), [batches(Masking(cells=0.5)).share(r, 3) for r in range(3)]
        assert {len(s) for s in shares} == {len(whole)}
        for i in range(len(whole)):
            parts = [s[i] for s in shares[: len(whole[i]["values"])]]  # the last batch may have fewer windows
            for name, array in whole[i].items():
                assert all(torch.equal(array[r::3], part[name]) for r, part in enumerate(parts)), name

    def test_a_process_without_a_share_takes_the_step_with_nothing_that_counts(self) -> None:
        whole = batches()
        spare = batches().share(4, 5)  # batches have four windows
        assert len(spare) == len(whole)
        assert all(len(b["values"]) == 1 and not b["weight"].any() for b in (spare[i] for i in range(len(spare))))

    def test_the_loaders_give_all_to_one_process(self) -> None:
        loaders = WindowLoaders(batches(Masking()), batches())
        assert all(same(a, b) for a, b in zip(loaders.train_dataloader(), batches(Masking()), strict=True))
        assert len(loaders.val_dataloader()) == len(batches())

    @pytest.mark.parametrize("ahead", [1, 3, 50])
    def test_what_threads_cut_ahead_is_the_same_in_the_same_order(self, ahead: int) -> None:
        stream = WindowLoaders(batches(Masking()), batches(), ahead).train_dataloader()
        for epoch in (0, 1):
            stream.dataset.set_epoch(epoch)
            plain = batches(Masking())
            plain.set_epoch(epoch)
            assert len(stream) == len(plain) > 3
            assert all(same(a, b) for a, b in zip(stream, plain, strict=True))

    def test_no_more_is_cut_than_was_asked_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        cut: list[int] = []
        plain = WindowBatches.__getitem__

        def counting(self: WindowBatches, index: int) -> Batch:
            cut.append(index)
            return plain(self, index)

        monkeypatch.setattr(WindowBatches, "__getitem__", counting)
        stream = iter(WindowLoaders(batches(Masking()), batches(), 2).train_dataloader())
        next(stream)
        stream.close()
        assert sorted(cut) in ([0, 1], [0, 1, 2])  # the third may have begun

    def test_what_fails_in_a_thread_fails_where_it_was_asked_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def failing(self: WindowBatches, index: int) -> Batch:
            msg = f"batch {index} cannot be read"
            raise OSError(msg)

        monkeypatch.setattr(WindowBatches, "__getitem__", failing)
        with pytest.raises(OSError, match="batch 0 cannot be read"):
            next(iter(WindowLoaders(batches(Masking()), batches(), 2).train_dataloader()))
