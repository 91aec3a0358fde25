from concurrent.futures import Future

import pytest

from deepmerge.errors import DeepmergeError, EngineError
from deepmerge.zoo.guard import Outcome
from deepmerge.zoo.manifest import Manifest, Model
from deepmerge.zoo.record import Task, read_record
from deepmerge.zoo.run import Choice, Pool, jobs_of, outcomes

MODELS = [
    Model(number, name, f"{name}.prototxt", "") for number, name in enumerate(("res18", "res50", "vgg", "[x]"), 1)
]


def chosen(**wishes) -> list[str]:
    return [model.name for model in Choice(**wishes).of(MODELS)]


def test_patterns_choose_by_name():
    assert chosen() == ["res18", "res50", "vgg", "[x]"]
    assert chosen(names=("res*", "vgg")) == ["res18", "res50", "vgg"]
    assert chosen(names=("[[]x]",)) == ["[x]"]
    with pytest.raises(DeepmergeError, match="no model is called 'res1'; did you mean 'res18'"):
        chosen(names=("res1",))


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shards_are_all_models_once(count):
    parts = [chosen(shard=(index, count)) for index in range(1, count + 1)]
    assert sorted(sum(parts, [])) == sorted(model.name for model in MODELS)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_prototxt_without_a_name_is_a_task_as_any(tmp_path):
    """The process that reads it says what is wrong."""
    found = Manifest(tmp_path / "zoo.toml", [Model(1, "a", ".", "a.caffemodel")], [])
    (job,) = jobs_of(found, tmp_path / "out", found.models)
    assert job.task.pair == (".", "a.caffemodel")


class KilledWorker(Exception):
    """Of this name is Dask's."""


def task(tmp_path, name: str) -> Task:
    return Task(
        name, str(tmp_path), str(tmp_path / "out" / name), {"prototxt": "x", "caffemodel": "y"}, (), {}, 1, None
    )


def pool(results: dict, most: list, ahead: int = 2) -> Pool:
    """A pool whose models are done as soon as they are given to it. most: gets how many were given at a time."""

    def submit(one: Task) -> Future:
        future: Future = Future()
        result = results.get(one.name, Outcome(one.name, "converted", 0.1))
        future.set_exception(result) if isinstance(result, Exception) else future.set_result(result)
        most.append(one.name)
        return future

    return Pool(submit, ahead)


def test_tasks_are_given_out_a_few_at_a_time(tmp_path):
    given = []
    found = outcomes((task(tmp_path, str(number)) for number in range(9)), pool({}, given))
    next(found)
    assert len(given) == 2, "no more than the pool takes"
    assert len(list(found)) == 8


def test_a_model_whose_workers_died_is_set_aside(tmp_path):
    found = list(outcomes([task(tmp_path, "a"), task(tmp_path, "b")], pool({"a": KilledWorker("a died")}, [])))
    assert {one.name: one.status for one in found} == {"a": "set aside", "b": "converted"}
    assert "the workers that had it died" in read_record(tmp_path / "out/a").result["failure"]["message"]


@pytest.mark.parametrize(
    "error", [ImportError("No module named 'deepmerge'"), EngineError("a worker has deepmerge 0.0")]
)
def test_a_worker_that_cannot_work_ends_the_run(tmp_path, error):
    with pytest.raises(EngineError, match=str(error)):
        list(outcomes([task(tmp_path, "a")], pool({"a": error}, [])))
    assert not (tmp_path / "out").exists()
