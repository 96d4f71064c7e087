"""The simulated loop: virtual time, order by seed, and deaths that nobody notices from inside."""

import asyncio
import random
from functools import partial

import pytest

from tests.simulation.loop import Halted, Order, Process, RunAway, SimulatedLoop, current_process


def loop_of(seed: int, order: Order = Order.ANY, *, steps_max: int = 10_000) -> SimulatedLoop:
    return SimulatedLoop(random.Random(seed), order, steps_max=steps_max)


def test_an_hour_passes_at_once() -> None:
    loop = loop_of(1)
    loop.run_until_complete(asyncio.sleep(3_600))
    assert loop.time() >= 3_600
    assert loop.steps < 10
    loop.bury()


def story(seed: int, order: Order) -> list[str]:
    """Who came first, of ten that do the same."""
    told: list[str] = []

    async def one(name: str) -> None:
        for step in range(3):
            await asyncio.sleep(0)
            told.append(f"{name}{step}")

    async def all_of_them() -> None:
        await asyncio.gather(*(one(name) for name in "abcdefghij"))

    loop = loop_of(seed, order)
    loop.run_until_complete(all_of_them())
    loop.bury()
    return told


def test_a_seed_gives_one_order_and_other_seeds_give_others() -> None:
    assert story(1, Order.ANY) == story(1, Order.ANY)
    assert len({tuple(story(seed, Order.ANY)) for seed in range(20)}) > 15
    assert story(1, Order.OLDEST) == story(2, Order.OLDEST)


@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize("seed", range(20))
def test_callbacks_of_one_future_keep_their_order(order: Order, seed: int) -> None:
    loop = loop_of(seed, order)
    told: list[int] = []

    def tell(number: int, _: object) -> None:
        told.append(number)

    future = loop.create_future()
    for number in range(5):
        future.add_done_callback(partial(tell, number))
    future.set_result(None)
    loop.run_until_complete(asyncio.sleep(1))
    loop.bury()
    assert told == [0, 1, 2, 3, 4]


def test_a_world_in_which_nothing_can_happen_any_more_is_noticed() -> None:
    async def wait_for_ever() -> None:
        await asyncio.Event().wait()

    loop = loop_of(1)
    with pytest.raises(Halted):
        loop.run_until_complete(wait_for_ever())
    loop.bury()


def test_a_world_that_turns_in_circles_is_noticed() -> None:
    async def turn() -> None:
        for _ in range(1_000_000):
            await asyncio.sleep(0)

    loop = loop_of(1, steps_max=1_000)
    with pytest.raises(RunAway):
        loop.run_until_complete(turn())
    loop.bury()


def test_a_process_dies_without_a_word_and_the_rest_goes_on() -> None:
    told: list[str] = []
    loop = loop_of(1)
    process = Process(7)

    async def child() -> None:
        assert current_process() is process
        try:
            await asyncio.sleep(1)
            told.append("work")
        finally:
            told.append("farewell")

    async def server() -> None:
        await asyncio.gather(child(), child())

    async def outside() -> None:
        loop.create_task(server(), context=process.context.copy())
        await asyncio.sleep(0.5)
        process.is_alive = False
        loop.drop(process)
        await asyncio.sleep(10)
        told.append("outside")

    loop.run_until_complete(outside())
    assert told == ["outside"]
    loop.bury()
    assert told == ["outside", "farewell", "farewell"]


def test_nobody_is_inside_a_process_by_accident() -> None:
    with pytest.raises(LookupError):
        current_process()
