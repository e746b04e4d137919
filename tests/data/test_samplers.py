"""Samplers: which indices an epoch visits, how often, and in whose share."""

import jax
import numpy as np
import pytest

from jaxdl import data
from jaxdl.data.samplers import generator, seed_of


def counts(order, number):
    return np.bincount(order, minlength=number)


def test_a_random_order_is_a_permutation_new_every_epoch_and_the_same_again():
    sampler = data.RandomSampler(100, key=3)
    first, second = sampler.order(0), sampler.order(1)
    np.testing.assert_array_equal(counts(first, 100), 1)
    np.testing.assert_array_equal(counts(second, 100), 1)
    assert (first != second).sum() > 80
    np.testing.assert_array_equal(sampler.order(0), first)
    assert (data.RandomSampler(100, key=4).order(0) != first).sum() > 80


def test_every_place_is_equally_likely():
    """χ² with 9 · 9 degrees of freedom; its 99.99 % point is 136.6."""
    sampler = data.RandomSampler(10)
    table = np.zeros((10, 10))
    for epoch in range(2000):
        table[np.arange(10), sampler.order(epoch)] += 1
    assert ((table - 200) ** 2 / 200).sum() < 136.6


def test_more_samples_than_examples_are_whole_permutations():
    order = data.RandomSampler(10, num_samples=25).order(0)
    assert len(order) == 25
    np.testing.assert_array_equal(counts(order[:10], 10), 1)
    np.testing.assert_array_equal(counts(order[10:20], 10), 1)
    assert counts(order, 10).max() == 3


def test_with_replacement_counts_are_multinomial():
    """χ² with 9 degrees of freedom; its 99.99 % point is 33.7. Permutations would give 0."""
    order = data.RandomSampler(10, replacement=True, num_samples=10_000).order(0)
    chi_square = ((counts(order, 10) - 1000) ** 2 / 1000).sum()
    assert 0.5 < chi_square < 33.7


@pytest.mark.parametrize("epoch", [0, 1, 7])
def test_weights_are_honoured(epoch):
    """χ² with 4 degrees of freedom; its 99.99 % point is 23.5. Index 2 has weight 0."""
    weights = np.array([1.0, 4.0, 0.0, 2.0, 0.5, 2.5])
    order = data.WeightedRandomSampler(weights, 20_000, key=1).order(epoch)
    seen, expected = counts(order, 6), 20_000 * weights / weights.sum()
    assert seen[2] == 0
    assert ((seen - expected)[expected > 0] ** 2 / expected[expected > 0]).sum() < 23.5


def test_weights_without_replacement_take_each_once_and_the_heavy_first():
    sampler = data.WeightedRandomSampler([1, 1, 1, 50, 0], 4, replacement=False)
    orders = np.stack([sampler.order(epoch) for epoch in range(200)])
    np.testing.assert_array_equal(np.sort(orders), np.tile([0, 1, 2, 3], (200, 1)))
    assert (orders[:, 0] == 3).mean() == pytest.approx(50 / 53, abs=0.06)


def test_a_subset_is_visited_whole_and_nothing_else():
    sampler = data.SubsetRandomSampler([9, 3, 5, 4])
    assert len(sampler) == 4
    assert sorted(sampler.order(0)) == sorted(sampler.order(5)) == [3, 4, 5, 9]
    assert len({tuple(sampler.order(epoch)) for epoch in range(20)}) > 5


def test_a_sampler_can_be_listed_again_and_again():
    sampler = data.RandomSampler(10)
    assert list(sampler) == list(sampler)
    assert list(data.SequentialSampler(10)) == list(range(10))


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("number", [9, 10, 11, 2])
def test_three_shards_are_the_set(number, drop_last):
    """As torch.utils.data.DistributedSampler: repeats fill up, or a few are dropped."""
    options = {"num_replicas": 3, "key": 5, "drop_last": drop_last}
    shards = [data.DistributedSampler(number, rank=rank, **options) for rank in range(3)]
    orders = [shard.order(2) for shard in shards]
    assert len({len(order) for order in orders}) == 1
    assert [len(order) for order in orders] == [len(shard) for shard in shards]
    together = np.stack(orders, axis=1).ravel()
    whole = data.RandomSampler(number, key=5).order(2)
    total = number // 3 * 3 if drop_last else -(-number // 3) * 3
    np.testing.assert_array_equal(together, np.resize(whole, total))


def test_the_shards_of_pytorchs_documentation():
    """DistributedSampler(range(10), 4, rank, shuffle=False) of PyTorch gives these."""
    ours = [list(data.DistributedSampler(10, 4, rank, shuffle=False)) for rank in range(4)]
    assert ours == [[0, 4, 8], [1, 5, 9], [2, 6, 0], [3, 7, 1]]


def test_batches_of_a_hundred_by_six_are_seventeen():
    batches = list(data.BatchSampler(data.SequentialSampler(100), 6))
    assert len(batches) == 17
    assert batches[-1] == [96, 97, 98, 99]
    assert len(data.BatchSampler(data.SequentialSampler(100), 64, drop_last=True)) == 1


@pytest.mark.parametrize("drop_last", [False, True])
def test_buckets_hold_similar_lengths_and_lose_nothing(drop_last):
    lengths = np.random.default_rng(0).integers(1, 65, 203)
    sampler = data.BucketBatchSampler(lengths, 8, boundaries=[16, 32, 64], drop_last=drop_last)
    bucket = np.searchsorted([16, 32, 64], lengths)
    batches = sampler.batches(3)
    assert len(batches) == len(sampler)
    assert all(len(set(bucket[batch])) == 1 for batch in batches)
    seen = counts(np.concatenate(batches), 203)
    if drop_last:
        assert {len(batch) for batch in batches} == {8}
        assert seen.max() == 1
        assert (seen == 0).sum() == sum(np.bincount(bucket) % 8)
    else:
        np.testing.assert_array_equal(seen, 1)
    # the batches of the buckets are mixed, and anew every epoch
    assert [bucket[batch[0]] for batch in batches] != sorted(bucket[batch[0]] for batch in batches)
    assert any((a[:1] != b[:1]).any() for a, b in zip(batches, sampler.batches(4), strict=True))


def test_a_seed_and_its_key_give_the_same_order():
    assert seed_of(7) == seed_of(jax.random.key(7)) == seed_of(jax.random.PRNGKey(7))
    assert seed_of(2**40 + 5) == (2**8, 5)
    assert generator(7, 0).integers(2**60) != generator(7, 1).integers(2**60)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: data.RandomSampler(0), "num_examples must be greater than 0"),
        (lambda: data.RandomSampler(5, num_samples=0), "num_samples must be greater than 0"),
        (lambda: data.WeightedRandomSampler([1, -1], 2), "none below 0"),
        (lambda: data.WeightedRandomSampler([0, 0], 2), "sum_of_weights must be greater than 0"),
        (lambda: data.WeightedRandomSampler([1, np.nan], 2), "finite"),
        (
            lambda: data.WeightedRandomSampler([1, 0, 1], 3, replacement=False),
            "3 without replacement is more than the 2 examples",
        ),
        (lambda: data.DistributedSampler(5, 3, 3), "lie in 0 to 2, got 3 of 3"),
        (lambda: data.SubsetRandomSampler([0.5]), "integers of shape"),
        (lambda: data.RandomSampler(5, key=-1), "seed must lie in 0"),
        (lambda: data.RandomSampler(5, key="a"), "JAX key or an integer, got str"),
        (lambda: data.BucketBatchSampler([3, 9], 2, [4, 8]), "longest sequence is 9"),
        (lambda: data.BucketBatchSampler([3], 2, [8, 4]), "boundaries must increase"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_padding_keeps_every_value_and_rounds_the_length_up():
    sequences = [np.arange(1, 6), np.array([7]), np.array([], np.int64)]
    padded, mask = data.pad_sequences(sequences, boundaries=(4, 8), value=-1)
    expected = [[1, 2, 3, 4, 5, -1, -1, -1], [7] + [-1] * 7, [-1] * 8]
    np.testing.assert_array_equal(padded, expected)
    np.testing.assert_array_equal(mask, padded != -1)
    left, mask = data.pad_sequences(sequences, pad_left=True)
    np.testing.assert_array_equal(left, [[1, 2, 3, 4, 5], [0, 0, 0, 0, 7], [0] * 5])
    np.testing.assert_array_equal(mask, left != 0)


def test_vectors_are_padded_along_the_first_axis():
    padded, mask = data.pad_sequences([np.ones((2, 3), np.float32), np.ones((1, 3), np.float32)])
    assert padded.dtype == np.float32
    np.testing.assert_array_equal(padded.sum(axis=2), [[3, 3], [3, 0]])
    np.testing.assert_array_equal(mask, [[1, 1], [1, 0]])


@pytest.mark.parametrize(
    ("sequences", "options", "message"),
    [
        ([], {}, "got shapes"),
        ([np.ones((2, 3)), np.ones((2, 4))], {}, r"equal trailing axes, got .*\(2, 3\), \(2, 4\)"),
        ([np.ones(9)], {"boundaries": (4, 8)}, "length 9 exceeds the last boundary 8"),
    ],
)
def test_sequences_that_do_not_fit_are_named(sequences, options, message):
    with pytest.raises(ValueError, match=message):
        data.pad_sequences(sequences, **options)
