"""A buffer is reused once no tensor uses it, never before; the pool is never larger than the most in use at once."""

import gc

import pytest
import torch

from fastwave import WaveNet, WaveNetConfig
from fastwave.stack import buffers
from fastwave.stack.buffers import SMALLEST, Pool

FLOATS = SMALLEST // 4


@pytest.fixture
def pool():
    return Pool()


def sizes(pool):
    """Bytes of the free blocks and of all."""
    pool._collect()
    free = sum(each.numel() for each in pool._free)
    return free, free + pool._in_use


def test_a_buffer_is_reused_when_its_tensor_is_gone(pool):
    first = pool.empty((2, FLOATS))
    place = first.data_ptr()
    assert first.shape == (2, FLOATS) and first.dtype == torch.float32 and first.is_contiguous()
    del first
    again = pool.empty((FLOATS, 4), torch.int16)
    assert again.data_ptr() == place and again.shape == (FLOATS, 4) and again.dtype == torch.int16


def test_a_buffer_is_not_reused_while_a_view_a_detached_tensor_or_a_graph_uses_it(pool):
    weight = torch.ones(FLOATS, requires_grad=True)

    def graph():
        return (weight * pool.empty((FLOATS,)).fill_(3)).sum()

    def view():
        return pool.empty((FLOATS,)).fill_(3)[5:7]

    def storage():
        return pool.empty((FLOATS,)).fill_(3).untyped_storage()

    holders = [make() for make in (graph, view, storage, lambda: view().detach(), lambda: view().numpy()) for _ in "ab"]
    others = [pool.empty((FLOATS,)).fill_(7) for _ in range(4)]
    (holders[0] + holders[1]).backward()
    assert (weight.grad == 6).all() and bool((holders[2] == 3).all()) and (holders[9] == 3).all()
    assert len({each.data_ptr() for each in others}) == 4


def test_the_pool_is_never_larger_than_the_most_in_use_at_once(pool):
    for count in range(1, 30):
        pair = [pool.empty((count, FLOATS)), pool.empty((30 - count, FLOATS))]
        del pair
        free, both = sizes(pool)
        assert free == both <= 30 * SMALLEST * 9 / 8  # a block may be an eighth larger than its tensor
    tensor = pool.empty((20, FLOATS))
    assert sizes(pool)[1] <= 30 * SMALLEST * 9 / 8
    del tensor
    pool.release()
    assert sizes(pool) == (0, 0)


def test_a_small_tensor_does_not_take_a_much_larger_block(pool):
    del (large := [pool.empty((9, FLOATS))])[:]
    small = pool.empty((2, FLOATS))
    assert not large and sizes(pool) == (0, 2 * SMALLEST) and small.numel() == 2 * FLOATS


def test_small_tensors_are_left_to_the_allocator(pool):
    assert pool.empty((0, 3)).shape == (0, 3) and pool.empty((FLOATS - 1,)).numel() == FLOATS - 1
    assert sizes(pool) == (0, 0)


def test_training_steps_allocate_once_and_learn_the_same_as_without_the_pool(monkeypatch, pool):
    config = WaveNetConfig(
        residual_channels=16, gate_channels=16, skip_channels=32, head_channels=32, dilations=(1, 2, 4), classes=256
    )
    tokens = [torch.randint(256, (2, 6001), generator=torch.Generator().manual_seed(seed)) for seed in range(3)]

    def train():
        torch.manual_seed(0)
        model = WaveNet(config, backend="cpu")
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        most = []
        for each in tokens:
            optimizer.zero_grad()
            # twice the same weights: two sets of blocks in use
            (model.loss(each) + model.loss(each.flip(1))).backward()
            optimizer.step()
            most.append(pool._most_in_use)
        return [p.detach() for p in model.parameters()], most

    monkeypatch.setattr(buffers, "empty", pool.empty)
    weights, most = train()
    assert most[0] > 0 and len(set(most)) == 1
    gc.collect()
    pool.release()
    assert sizes(pool) == (0, 0), "a tensor is left over"
    monkeypatch.setattr(buffers, "SMALLEST", 1 << 60)
    for a, b in zip(weights, train()[0], strict=True):
        assert torch.equal(a, b)
