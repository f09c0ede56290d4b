"""Tasks that wait for too long, and those that don't."""

import asyncio

import pytest

from webhook.server.late import Late


async def waited(late: Late, *, swallows: int = 0) -> bool:
    """Wait for what never comes, swallowing so many cancellations, and return whether it was ended for that."""
    task = late.begin()
    try:
        for _ in range(swallows):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        if not late.caught(task):
            raise
        return True
    finally:
        late.end(task)
    return False


@pytest.mark.parametrize("swallows", [0, 2])
def test_who_waits_for_too_long_goes_on_as_if_nothing_had_been_cancelled(swallows) -> None:
    async def both() -> tuple[list[bool], int]:
        late = Late(0.05)
        ended = [await waited(late, swallows=swallows) for _ in range(2)]
        return ended, asyncio.current_task().cancelling()

    assert asyncio.run(both()) == ([True, True], 0)


def test_who_is_cancelled_for_something_else_is() -> None:
    async def cancelled() -> None:
        task = asyncio.create_task(waited(Late(30)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())


def test_who_began_later_is_not_ended_with_who_began_first() -> None:
    async def in_turn() -> tuple[bool, bool]:
        late = Late(0.2)
        first = asyncio.create_task(waited(late))
        await asyncio.sleep(0.15)
        second = asyncio.create_task(waited(late))
        await first
        still_waits = not second.done()
        return still_waits, await second

    assert asyncio.run(in_turn()) == (True, True)


def test_whoever_is_done_is_forgotten_and_no_timer_is_left() -> None:
    async def done() -> tuple[dict, bool]:
        late = Late(0.05)
        late.end(late.begin())
        await asyncio.sleep(0.05)
        return late._waiting, late._looking

    assert asyncio.run(done()) == ({}, False)
