"""Places: no more are given than there are, in the order of asking; who gets none hears when to come again."""

import asyncio

import pytest

from fastwave.serving.admission import Admission, Busy, Gone


async def stays():
    return False


def run(main):
    return asyncio.run(asyncio.wait_for(main(), 60))


def test_shares_add_up_to_one_at_most():
    async def main():
        admission = Admission(waiting=0)
        leave = [await admission.enter(0.25, stays) for _ in range(4)]
        with pytest.raises(Busy) as busy:
            await admission.enter(0.25, stays)
        assert busy.value.retry_after >= 1
        leave[2]()
        leave[2]()  # a second time changes nothing
        await admission.enter(0.25, stays)
        with pytest.raises(Busy):
            await admission.enter(0.25, stays)

    run(main)


def test_a_share_larger_than_what_is_left_waits_alone_in_front():
    """A small one that comes later must not overtake it again and again."""

    async def main():
        admission, order = Admission(waiting=5), []

        async def asks(name, share):
            leave = await admission.enter(share, stays)
            order.append(name)
            return leave

        first = await asks("first", 0.5)
        large = asyncio.create_task(asks("large", 1.0))
        await asyncio.sleep(0)
        small = asyncio.create_task(asks("small", 0.25))
        await asyncio.sleep(0)
        assert admission.waiting == 2
        first()
        (await large)()
        await small
        assert order == ["first", "large", "small"]

    run(main)


def test_one_place_is_given_to_one_of_those_who_wait():
    async def main():
        admission = Admission(waiting=10)
        leave = await admission.enter(1.0, stays)
        waiting = [asyncio.create_task(admission.enter(1.0, stays)) for _ in range(3)]
        await asyncio.sleep(0)
        leave()
        for turn in range(3):
            done, _ = await asyncio.wait(waiting[turn:], return_when=asyncio.FIRST_COMPLETED)
            assert done == {waiting[turn]} and admission.inside == 1
            waiting[turn].result()()
        assert admission.inside == admission.waiting == 0

    run(main)


def test_more_than_the_queue_holds_are_refused():
    async def main():
        admission = Admission(waiting=2)
        await admission.enter(1.0, stays)
        waiting = [asyncio.create_task(admission.enter(1.0, stays)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await admission.enter(1.0, stays)
        for each in waiting:
            each.cancel()

    run(main)


def test_who_leaves_the_queue_is_passed_over():
    async def main():
        admission, here = Admission(waiting=5), True

        async def is_gone():
            return not here

        leave = await admission.enter(1.0, stays)
        waiting = asyncio.create_task(admission.enter(1.0, is_gone))
        behind = asyncio.create_task(admission.enter(1.0, stays))
        await asyncio.sleep(0)
        here = False
        with pytest.raises(Gone):
            await waiting
        leave()
        (await behind)()
        assert admission.inside == admission.waiting == 0

    run(main)


def test_who_is_cancelled_when_the_turn_has_come_keeps_no_place():
    async def main():
        admission = Admission(waiting=5)
        leave = await admission.enter(1.0, stays)
        waiting = asyncio.create_task(admission.enter(1.0, stays))
        await asyncio.sleep(0)
        leave()  # the turn has come, and the task has not run since
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert admission.inside == 0

    run(main)
