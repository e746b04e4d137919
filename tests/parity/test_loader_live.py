"""Batches and shards beside PyTorch's own, computed in this process."""

import numpy as np
import pytest
import torch

from jaxdl import data


def batches_of(loader, name="x"):
    return [batch[name].tolist() for batch in loader]


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize(("number", "batch_size"), [(100, 6), (5, 2), (12, 4), (3, 5)])
def test_sequential_batches(number, batch_size, drop_last):
    values = np.arange(number, dtype=np.int32)
    options = {"batch_size": batch_size, "drop_last": drop_last}
    theirs = torch.utils.data.DataLoader(torch.from_numpy(values), **options)
    ours = data.Loader(data.ArraySource({"x": values}), **options)
    assert batches_of(ours) == [batch.tolist() for batch in theirs]
    assert len(ours) == len(theirs)


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("number", [9, 10, 11, 2])
@pytest.mark.parametrize("rank", [0, 1, 2])
def test_distributed_sampler(number, drop_last, rank):
    options = {"num_replicas": 3, "rank": rank, "shuffle": False, "drop_last": drop_last}
    theirs = torch.utils.data.DistributedSampler(range(number), **options)
    assert list(data.DistributedSampler(number, **options)) == list(theirs)


def test_batch_sampler():
    theirs = torch.utils.data.BatchSampler(range(11), 4, False)
    assert list(data.BatchSampler(data.SequentialSampler(11), 4)) == list(theirs)


@pytest.mark.parametrize("side", ["right", "left"])
def test_pad_sequence(side):
    generator = np.random.default_rng(0)
    sequences = [generator.normal(size=(n, 2)).astype(np.float32) for n in (3, 1, 5)]
    theirs = torch.nn.utils.rnn.pad_sequence(
        [torch.from_numpy(one) for one in sequences], True, -1.0, side
    )
    ours, _ = data.pad_sequences(sequences, value=-1.0, pad_left=side == "left")
    np.testing.assert_array_equal(ours, theirs.numpy())


@pytest.mark.parametrize(
    "options",
    [
        {"sampler": [0], "shuffle": True},
        {"batch_sampler": [[0]], "batch_size": 2},
        {"batch_sampler": [[0]], "shuffle": True},
        {"batch_sampler": [[0]], "sampler": [0]},
        {"batch_sampler": [[0]], "drop_last": True},
        {"num_workers": -1},
        {"timeout": -1.0},
        {"prefetch_factor": 2},
        {"multiprocessing_context": "spawn"},
    ],
)
def test_both_refuse_the_same(options):
    with pytest.raises(ValueError):
        torch.utils.data.DataLoader(range(4), **options)
    with pytest.raises(ValueError):
        data.Loader([{"x": 1}] * 4, **options)
