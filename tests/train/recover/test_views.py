"""Views: the original is asked about each once; what is kept on disk comes back; later rounds have another order."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from deepmerge.errors import TrainingError

torch = pytest.importorskip("torch", reason="pip install 'deepmerge-caffe[torch]'")

from deepmerge.train.recover.distillation import Batch  # noqa: E402
from deepmerge.train.recover.stage import period_of  # noqa: E402
from deepmerge.train.recover.views import Kept, Rounds, Views  # noqa: E402

COLUMNS = [((2, 3, 4), torch.bfloat16), ((5,), torch.float32)]


def rows(count: int, seed: int = 0) -> list[torch.Tensor]:
    rng = np.random.default_rng(seed)
    numbers = [torch.from_numpy(rng.normal(0, 1, (count, *shape)).astype(np.float32)) for shape, _ in COLUMNS]
    return [number.to(kind) for number, (_, kind) in zip(numbers, COLUMNS, strict=True)]


def equal(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(torch.equal(x, y) and x.dtype == y.dtype for x, y in zip(a, b, strict=True))


def test_kept_rows_come_back(tmp_path):
    kept, first, second = Kept(tmp_path / "sub" / "x.views", COLUMNS), rows(3), rows(2, seed=1)
    kept.add([value.contiguous(memory_format=torch.channels_last) if value.dim() == 4 else value for value in first])
    kept.add(second)
    assert kept.count == 5 and kept.row_bytes == 2 * 24 + 4 * 5
    assert equal(kept.read([0, 1, 2]), first)
    assert equal(kept.read([4, 1]), [torch.stack([b[1], a[1]]) for a, b in zip(first, second, strict=True)])
    assert kept.read([0])[0].is_contiguous(memory_format=torch.channels_last)


def test_a_later_run_finds_the_rows_that_its_checkpoint_knows(tmp_path):
    path, values = tmp_path / "x.views", rows(4)
    kept = Kept(path, COLUMNS)
    kept.add(values)
    kept.flush()
    again = Kept(path, COLUMNS, count=3)
    assert again.count == 3 and equal(again.read([2]), [value[2:3] for value in values])
    assert Kept(path, COLUMNS, count=3, number=1).count == 0, "of another set"
    again.close()
    assert not path.exists() and Kept(path, COLUMNS, count=3).count == 0


def test_rows_of_another_precision_or_device_are_not_read(tmp_path):
    """On a GPU, images are not kept; --precision may change between two runs."""
    kept = Kept(tmp_path / "x.views", COLUMNS)
    kept.add(rows(4))
    kept.flush()
    for columns in (COLUMNS[1:], [(shape, torch.float32) for shape, _ in COLUMNS]):
        assert Kept(tmp_path / "x.views", columns, count=4).count == 0


def test_a_full_disk_is_said(tmp_path):
    kept = Kept(tmp_path / "x.views", COLUMNS)
    kept._file.close()
    kept._file = open("/dev/full", "r+b", buffering=0)
    with pytest.raises(TrainingError, match="cannot be written: the disk is full; free some space"):
        kept.add(rows(1))


class Numbers:
    """An objective whose images are numbers; it says ten times the number, and has the number plus a half at its cut.

    keeps_start: whether it has a cut, and keeps the values there.
    """

    def __init__(self, keeps_start: bool):
        self.keeps_start, self.start = keeps_start, "cut" if keeps_start else "data"
        self.parameters, self.asked = [torch.zeros(1)], []

    def kept(self):
        column = ((1,), torch.float32)
        return [column, column] if self.keeps_start else [column]

    def ask(self, images):
        self.asked += images.flatten().tolist()
        return Batch({self.start: images + 0.5 if self.keeps_start else images}, [images * 10])


def views(tmp_path, keeps_start: bool, period: int = 3, kept: tuple = ()) -> tuple[Views, Numbers]:
    one = Numbers(keeps_start)

    def images(start):
        for number in itertools.count(start):
            yield torch.tensor([[2.0 * number], [2.0 * number + 1]])

    return Views(one, images, Rounds(period, 3, 2), Kept(tmp_path / "x.views", one.kept(), *kept)), one


def taken(made: Views, start: int, count: int) -> list[tuple[list[float], list[float]]]:
    batches = made.batches(start)
    found = [
        (batch.feeds[made.objective.start].flatten().tolist(), batch.targets[0].flatten().tolist())
        for batch in itertools.islice(batches, count)
    ]
    batches.close()
    return found


@pytest.mark.parametrize("keeps_start", [False, True])
def test_each_view_is_asked_about_once(tmp_path, keeps_start):
    made, one = views(tmp_path, keeps_start)
    found = taken(made, 0, 9)
    assert one.asked == [0, 1, 2, 3, 4, 5]
    shown = [number for values, _ in found for number in values]
    for turn in range(3):
        wanted = [number + 0.5 * keeps_start for number in range(6)]
        assert sorted(shown[6 * turn : 6 * turn + 6]) == wanted
    for values, targets in found:
        assert targets == [10 * (value - 0.5 * keeps_start) for value in values]


def test_kept_views_come_in_another_order_each_time(tmp_path):
    found = taken(views(tmp_path, True, period=20)[0], 0, 60)
    turns = [found[:20], found[20:40], found[40:]]
    assert turns[0] != turns[1] != turns[2] != turns[0]


@pytest.mark.parametrize("keeps_start", [False, True])
@pytest.mark.parametrize("start", [0, 1, 4, 8, 9, 10, 14])
def test_a_run_that_continues_sees_the_same_batches(tmp_path, keeps_start, start):
    """Nine batches show the first set of views, nine the next."""
    undisturbed = taken(views(tmp_path, keeps_start)[0], 0, 16)
    first, before = views(tmp_path, keeps_start)
    taken(first, 0, start)
    first.kept.flush()
    second, after = views(tmp_path, keeps_start, kept=(first.kept.count, first.kept.number))
    assert taken(second, start, 16 - start) == undisturbed[start:]
    assert before.asked + after.asked == list(range(12))


def test_a_run_that_was_killed_in_the_next_set_asks_again(tmp_path):
    """Its checkpoint is of batch 8, the file of batch 12."""
    undisturbed = taken(views(tmp_path, True)[0], 0, 16)
    first, _ = views(tmp_path, True)
    taken(first, 0, 8)
    kept = first.kept.count, first.kept.number
    taken(first, 8, 4)
    assert first.kept.number == 1
    first.kept.flush()
    second, one = views(tmp_path, True, kept=kept)
    assert taken(second, 8, 8) == undisturbed[8:] and one.asked == list(range(12))


def test_other_views_come_after_the_last_round(tmp_path):
    made, one = views(tmp_path, True)
    found = [number for values, _ in taken(made, 0, 18) for number in values]
    assert sorted(found[:18]) == sorted([number + 0.5 for number in range(6)] * 3)
    assert sorted(found[18:]) == sorted([number + 0.5 for number in range(6, 12)] * 3)
    assert one.asked == list(range(12)) and made.kept.count == 6


def test_the_number_of_views_that_batches_show():
    rounds = Rounds(period=3, uses=2, batch_size=10)
    assert [rounds.views(count) for count in range(9)] == [0, 10, 20, 30, 30, 30, 30, 40, 50]


def test_without_its_file_a_run_asks_again(tmp_path):
    undisturbed = taken(views(tmp_path, True)[0], 0, 8)
    made, one = views(tmp_path, True)
    assert taken(made, 4, 4) == undisturbed[4:] and one.asked == [0, 1, 2, 3, 4, 5]


def test_a_trial_uses_what_the_stage_will_use(tmp_path):
    made, one = views(tmp_path, True)
    assert taken(made, 0, 2) == taken(made, 0, 2) and one.asked == [0, 1, 2, 3]


def test_a_trial_that_reaches_the_next_views_leaves_no_trace(tmp_path):
    made, _ = views(tmp_path, True, period=1)
    assert taken(made, 0, 5) == taken(made, 0, 5)


@pytest.mark.parametrize(
    ("iterations", "room", "period"),
    [(640, 200, 160), (640, 133, 80), (640, 50, 40), (3, 50, 1), (640, 0, 1), (0, 9, 1)],
)
def test_sets_of_views_are_about_as_large(iterations, room, period):
    assert period_of(iterations, 4, room) == period
