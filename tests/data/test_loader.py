"""The loader: PyTorch's batches, positions, workers, padding, shards, and what it refuses."""

import itertools

import jax
import numpy as np
import pytest
from helpers.small_sources import Numbers

from jaxdl import data
from jaxdl.data.prefetch import put_on_devices


def rows(batches):
    return [batch["x"].tolist() for batch in batches]


@pytest.mark.parametrize(
    ("number", "batch_size", "drop_last", "sizes"),
    [
        (100, 6, False, [6] * 16 + [4]),
        (100, 64, True, [64]),
        (5, 2, False, [2, 2, 1]),
        (5, 2, True, [2, 2]),
        (10, 5, False, [5, 5]),
    ],
)
def test_sequential_batches_are_pytorchs(number, batch_size, drop_last, sizes):
    loader = data.Loader(Numbers(number), batch_size=batch_size, drop_last=drop_last)
    batches = rows(loader)
    assert [len(batch) for batch in batches] == sizes
    assert len(loader) == len(sizes)
    assert list(itertools.chain(*batches)) == list(range(sum(sizes)))


def test_the_sizes_of_the_fashion_mnist_loaders():
    train, test = Numbers(60_000), Numbers(10_000)
    assert len(data.Loader(train, batch_size=32, shuffle=True)) == 1875
    assert len(data.Loader(test, batch_size=32)) == 313
    assert len(data.Loader(train, batch_size=64, drop_last=True)) == 937


def test_lists_mappings_and_iterables_are_sources():
    assert rows(data.Loader([{"x": 3}, {"x": 1}, {"x": 2}], batch_size=2)) == [[3, 1], [2]]
    assert rows(data.Loader({i: {"x": i} for i in range(4)}, batch_size=2)) == [[0, 1], [2, 3]]
    counted = data.Loader(data.from_iterable(range(1, 100), ["x"]), batch_size=5)
    batches = rows(counted)
    assert [len(batch) for batch in batches] == [5] * 19 + [4]
    assert list(itertools.chain(*batches)) == list(range(1, 100))
    assert len(data.Loader(counted.source, batch_size=5, epoch_size=99)) == 20


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 1, 2])
@pytest.mark.parametrize("drop_last", [False, True])
def test_an_epoch_loses_and_doubles_no_index(num_workers, drop_last):
    loader = data.Loader(
        Numbers(103, slow=0),
        batch_size=10,
        shuffle=True,
        drop_last=drop_last,
        num_workers=num_workers,
        key=4,
    )
    epochs = [list(itertools.chain(*rows(loader.epoch(number)))) for number in range(2)]
    expected = data.RandomSampler(103, key=4)
    for number, seen in enumerate(epochs):
        np.testing.assert_array_equal(seen, expected.order(number)[: 100 if drop_last else 103])


def test_plain_iteration_shuffles_anew_each_time():
    loader = data.Loader(Numbers(50), batch_size=50, shuffle=True)
    first, second = rows(loader), rows(loader)
    assert sorted(first[0]) == sorted(second[0])
    assert first != second
    assert [first, second] == [rows(loader.epoch(0)), rows(loader.epoch(1))]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_any_position_gives_the_same_batches(num_workers):
    loader = data.Loader(Numbers(23), batch_size=4, shuffle=True, num_workers=num_workers)
    whole = rows(loader.epoch(0, num_epochs=3))
    assert len(whole) == 18
    for position in (0, 1, 5, 6, 13, 17):
        epoch, start = divmod(position, 6)
        assert rows(loader.epoch(epoch, start, num_epochs=3 - epoch)) == whole[position:]


def test_workers_that_stand_on_both_sides_of_an_epochs_end_agree():
    loader = data.Loader(Numbers(3), batch_size=2, shuffle=True, num_workers=3, prefetch_factor=3)
    many = rows(loader.epoch(0, 1, num_epochs=40))
    one = rows(loader.replace(num_workers=0, prefetch_factor=None).epoch(0, 1, num_epochs=40))
    assert many == one


def test_an_iterator_is_saved_and_restored():
    loader = data.Loader(Numbers(20), batch_size=4, shuffle=True, num_workers=1)
    with loader.epoch(2) as batches:
        next(batches), next(batches)
        state = batches.state()
        rest = rows(batches)
    assert state == {"epoch": 2, "batch": 2}
    with loader.epoch(0) as other:
        next(other)
        other.restore(state)
        assert other.state() == state
        assert rows(itertools.islice(other, 3)) == rest
        assert other.state() == {"epoch": 3, "batch": 0}


def test_an_iterable_is_resumed_by_reading_up_to_the_place():
    loader = data.Loader(data.from_iterable(lambda: range(11), ["x"]), batch_size=3)
    assert rows(loader.epoch(0, 2)) == [[6, 7, 8], [9, 10]]
    with pytest.raises(ValueError, match="ended after 4 batches; epoch_size 20 makes 7"):
        list(loader.replace(epoch_size=20))


def test_samplers_and_fixed_indices_give_the_order():
    source = Numbers(10)
    weighted = data.WeightedRandomSampler([0] * 9 + [1], num_samples=4)
    assert rows(data.Loader(source, batch_size=2, sampler=weighted)) == [[9, 9], [9, 9]]
    assert rows(data.Loader(source, batch_size=2, sampler=[3, 1, 2])) == [[3, 1], [2]]
    buckets = data.BucketBatchSampler([1, 9, 2, 8], 2, boundaries=[5, 10], shuffle=False)
    assert rows(data.Loader(source, batch_sampler=buckets)) == [[0, 2], [1, 3]]
    with pytest.raises(IndexError, match=r"gave index 10 in batch 1 of epoch 0; .* 10 examples"):
        list(data.Loader(source, batch_size=2, sampler=[3, 1, 10]))


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("count", [2, 3])
def test_the_shards_batches_are_the_batches_of_one_process(count, drop_last):
    options = {"batch_size": 6, "shuffle": True, "drop_last": drop_last, "key": 2}
    whole = list(data.Loader(Numbers(20), pad_last=True, **options).epoch(1))
    shards = [
        list(data.Loader(Numbers(20), shard=(index, count), **options).epoch(1))
        for index in range(count)
    ]
    assert len(whole) == (3 if drop_last else 4)
    for batch, *parts in zip(whole, *shards, strict=True):
        assert {len(part["x"]) for part in parts} == {6 // count}
        for name in batch:
            np.testing.assert_array_equal(np.concatenate([p[name] for p in parts]), batch[name])


def test_collate_pads_sequences_to_few_lengths():
    generator = np.random.default_rng(0)
    lengths = generator.integers(1, 33, 60)
    source = [{"tokens": np.full(length, length), "label": i} for i, length in enumerate(lengths)]
    loader = data.Loader(
        source,
        batch_sampler=data.BucketBatchSampler(lengths, 8, boundaries=(8, 16, 32)),
        collate_fn=data.PadCollate(["tokens"], boundaries=(8, 16, 32)),
        pad_last=True,
    )
    shapes, seen = set(), []
    for batch in loader:
        shapes.add(batch["tokens"].shape)
        np.testing.assert_array_equal(batch["tokens_length"], batch["tokens"].max(axis=1))
        np.testing.assert_array_equal(batch["tokens_mask"].sum(axis=1), batch["tokens_length"])
        seen += batch["label"][batch["mask"] == 1].tolist()
    assert shapes == {(8, 8), (8, 16), (8, 32)}
    assert sorted(seen) == list(range(60))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shuffle": True, "sampler": [0]}, "sampler and shuffle are mutually"),
        (
            {"batch_sampler": [[0]], "batch_size": 2},
            "batch_sampler and batch_size are mutually",
        ),
        (
            {"batch_sampler": [[0]], "shuffle": True},
            "batch_sampler and shuffle are mutually",
        ),
        (
            {"batch_sampler": [[0]], "sampler": [0]},
            "batch_sampler and sampler are mutually",
        ),
        (
            {"batch_sampler": [[0]], "drop_last": True},
            "batch_sampler and drop_last are mutually",
        ),
        ({"timeout": -1, "num_workers": 1}, "timeout must be 0 or greater"),
        ({"timeout": 1}, "timeout needs workers"),
        ({"prefetch_factor": 2}, "prefetch_factor needs workers"),
        ({"prefetch_factor": 0, "num_workers": 1}, "prefetch_factor must be greater than 0"),
        ({"num_workers": -1}, "num_workers must be 0 or greater"),
        ({"multiprocessing_context": "spawn"}, "multiprocessing_context needs workers"),
        ({"multiprocessing_context": "fork", "num_workers": 1}, "hangs"),
        ({"worker_init_fn": print, "num_workers": 1}, "prepares worker processes"),
        ({"batch_size": 0}, "batch_size must be greater than 0"),
        ({"batch_size": 4, "shard": (0, 3)}, "multiple of the 3 shards"),
        ({"batch_size": 4, "shard": (2, 2)}, "lie in 0 to 1, got 2"),
        ({"epoch_size": 4}, "epoch_size is for iterable"),
        ({"batch_sampler": [[0]]}, "batch_sampler must have batches"),
    ],
)
def test_mutually_exclusive_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        data.Loader(Numbers(4), **options)


@pytest.mark.parametrize("name", ["shuffle", "sampler", "num_workers"])
def test_an_iterable_has_one_order(name):
    with pytest.raises(ValueError, match=f"iterable source and {name} are mutually exclusive"):
        data.Loader(data.from_iterable(range(3), ["x"]), **{name: [1] if name == "sampler" else 1})


def test_arrays_by_name_are_a_source():
    loader = data.Loader({"x": np.arange(3), "label": np.arange(3)}, batch_size=2)
    assert rows(loader) == [[0, 1], [2]]
    assert isinstance(loader.source, data.ArraySource)
    with pytest.raises(ValueError, match=r"arrays by name .* got int"):
        data.Loader(3)


def test_a_loader_prints_in_two_lines():
    text = repr(data.Loader(Numbers(10), batch_size=4, shuffle=True, num_workers=2))
    assert text == (
        "Loader: 3 batches of 4 shuffled, x () int32, label () int32, 2 workers\n"
        "  from Numbers: 10 examples, x () int32, label () int32"
    )
    stream = data.Loader(data.from_iterable(range(3), ["x"]))
    assert repr(stream).startswith("Loader: batches of 1 in order, x () int32\n")
    weighted = data.WeightedRandomSampler(np.ones(10**6), num_samples=4)
    assert "by WeightedRandomSampler" in repr(data.Loader(Numbers(4), sampler=weighted))
    assert len(repr(weighted)) < 100


class Quits(Numbers):
    """Example 2 ends its worker."""

    def __init__(self, error):
        super().__init__(4)
        self.error = error

    def __getitem__(self, index):
        if index == 2:
            raise self.error
        return super().__getitem__(index)


@pytest.mark.parametrize("error", [SystemExit(0), SystemExit("bye"), KeyboardInterrupt()])
def test_a_thread_that_quits_is_an_error(error):
    loader = data.Loader(Quits(error), batch_size=2, num_workers=1)
    with pytest.raises(RuntimeError, match=f"worker of the loader raised {type(error).__name__}"):
        list(loader)


def test_an_error_in_a_thread_is_the_callers_with_its_traceback():
    loader = data.Loader(Numbers(12, bad=7), batch_size=2, num_workers=2)
    seen = []
    with pytest.raises(KeyError, match="example 7 is bad") as caught:
        seen.extend(batch["x"].tolist() for batch in loader)
    assert seen == [[0, 1], [2, 3], [4, 5]]
    assert 'raise KeyError(f"example {index} is bad")' in caught.value.__notes__[0]


def test_a_batch_that_does_not_come_is_reported_in_time():
    loader = data.Loader(Numbers(4, slow=2), batch_size=2, num_workers=1, timeout=0.1)
    with pytest.raises(TimeoutError, match=r"waited 0.1 s for a batch"):
        list(loader)
    assert rows(loader.replace(timeout=30.0)) == [[0, 1], [2, 3]]


def test_batches_are_on_the_device_ahead_of_their_use():
    taken = []

    def batches():
        for number in range(5):
            taken.append(number)
            yield {"x": np.full(3, number)}

    ahead = put_on_devices(batches(), size=2)
    first = next(ahead)
    assert isinstance(first["x"], jax.Array)
    assert taken == [0, 1]
    assert [int(batch["x"][0]) for batch in ahead] == [1, 2, 3, 4]
    with pytest.raises(ValueError, match="'x' holds strings"):
        next(put_on_devices([{"x": np.array(["a"])}]))


def test_batches_are_spread_over_a_mesh():
    mesh = jax.make_mesh((1,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))
    loader = data.Loader(Numbers(4), batch_size=2)
    batches = list(put_on_devices(loader, sharding=sharding))
    assert batches[1]["x"].sharding == sharding
    assert batches[1]["x"].tolist() == [2, 3]
