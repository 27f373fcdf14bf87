"""How often the screen is drawn: it gives way to training."""

from __future__ import annotations

from birdplane.tui.pace import Pace


class Clock:
    """Processor time that a test lets pass."""

    def __init__(self) -> None:
        self.used = 0.0

    def __call__(self) -> float:
        return self.used


def settled(milliseconds: float, rate: float = 10) -> float:
    """Return the wait after many frames that took so long each, where 2 % of a processor may be used."""
    clock = Clock()
    pace = Pace(rate, 0.02, clock)
    waits = []
    for _ in range(60):
        clock.used += milliseconds / 1000
        waits.append(pace.wait())
    return waits[-1]


def test_a_cheap_frame_is_drawn_as_often_as_the_settings_say():
    assert settled(1) == 0.1
    assert settled(1, rate=4) == 0.25


def test_a_dearer_frame_is_drawn_so_seldom_that_it_takes_two_percent_of_a_processor():
    assert abs(settled(5) - 0.25) < 0.001


def test_however_dear_it_is_drawn_once_a_second():
    assert settled(200) == 1.0


def test_one_slow_frame_does_not_hold_up_the_next_ones_for_long():
    clock = Clock()
    pace = Pace(10, 0.02, clock)
    clock.used += 0.03  # a change of screens, say
    assert pace.wait() <= 1.0
    for _ in range(12):
        clock.used += 0.001
        last = pace.wait()
    assert last == 0.1


def test_frames_that_find_nothing_become_fewer_until_there_is_something_again():
    pace = Pace(10, 0.02, Clock())
    waits = [pace.wait(drawn=False) for _ in range(20)]
    assert waits[0] == 0.1
    assert waits == sorted(waits)
    assert waits[-1] == 0.5
    assert pace.wait() == 0.1
    assert pace.wait(drawn=False) == 0.1
