"""Charts: axes with round numbers, curves as dots, a crosshair, and only what changed drawn again."""

from __future__ import annotations

import math
import random
import time
from typing import Any

import pytest
from textual.app import App, ComposeResult
from textual.geometry import Region
from textual.pilot import Pilot

from birdplane.tui.axes import Axis, tick_labels, x_axis, y_axis
from birdplane.tui.chart import Chart
from birdplane.tui.curves import Series
from birdplane.tui.raster import PATTERNS, Trace


def series_of(*ys: float, name: str = "train", inertia: float = 0.9) -> Series:
    series = Series(name, inertia)
    for x, y in enumerate(ys):
        series.append(float(x), y)
    return series


class Page(App[None]):
    """A chart on its own."""

    def __init__(self, chart: Chart, *, ascii_only: bool = False) -> None:
        super().__init__()
        self.ascii_only = ascii_only
        self.chart = chart

    def compose(self) -> ComposeResult:
        yield self.chart


# --- axes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "most", "ticks"),
    [
        (0, 8, 5, [0, 2, 4, 6, 8]),
        (0, 1, 3, [0, 0.5, 1]),
        (40, 100, 4, [40, 60, 80, 100]),
        (0.1, 0.35, 6, [0.1, 0.15, 0.2, 0.25, 0.3, 0.35]),
    ],
)
def test_ticks_are_round_numbers(low: float, high: float, most: int, ticks: list[float]) -> None:
    assert Axis(low, high).ticks(most) == pytest.approx(ticks)


def test_ticks_of_a_log_axis_are_powers_and_round_parts_of_them() -> None:
    assert Axis(0.01, 10, True).ticks(5) == pytest.approx([0.01, 0.1, 1, 10])


def test_labels_have_the_digits_that_tell_ticks_apart() -> None:
    assert tick_labels([0, 0.5, 1]) == ["0.0", "0.5", "1.0"]
    assert tick_labels([0, 20, 40]) == ["0", "20", "40"]
    assert tick_labels([]) == []


def test_the_x_axis_grows_in_jumps_and_ends_at_the_known_total() -> None:
    series = Series("train")
    ends = []
    for step in range(1, 1001):
        series.append(step / 100, 1.0)
        ends.append(x_axis([series], 10.0).high)
    assert ends[-1] == 10.0
    assert len(set(ends)) < 20


def test_the_y_axis_holds_all_values_and_its_natural_bounds() -> None:
    axis = y_axis([series_of(44.0, 93.0, 99.5)], 8, (0, 100))
    assert axis.low <= 44 < 99.5 <= axis.high <= 100
    assert y_axis([series_of(0.3, 0.3)], 8).low < 0.3 < y_axis([series_of(0.3, 0.3)], 8).high
    assert y_axis([Series("empty")], 8, (0, 100)) == Axis(0, 100)


@pytest.mark.parametrize("values", [(1e-12, 1e-12), (1e9, 1.0), (-5.0, 5.0), (0.0, 0.0), (1e308, -1e308)])
@pytest.mark.parametrize("log", [False, True])
def test_whatever_the_values_there_is_an_axis(values: tuple[float, float], log: bool) -> None:
    axis = y_axis([series_of(*values)], 6, log=log)
    assert axis.low < axis.high
    assert len(axis.ticks(4)) >= 1
    assert all(0 <= axis.place(value) <= 1 for value in values)


# --- curves -----------------------------------------------------------------------------------------------


def test_what_is_not_finite_is_kept_apart() -> None:
    series = series_of(1.0, math.nan, math.inf, 2.0)
    assert (series.xs, series.ys, series.broken) == ([0.0, 3.0], [1.0, 2.0], [1.0, 2.0])


def test_smoothing_begins_without_bias_and_follows() -> None:
    series = series_of(1.0, 1.0, 1.0)
    assert series.values(True) == pytest.approx([1.0, 1.0, 1.0])
    series.append(3.0, 0.0)
    assert 0.5 < series.values(True)[-1] < 1.0
    assert series.values(False)[-1] == 0.0


def test_the_nearest_point_is_read() -> None:
    series = series_of(10.0, 11.0, 12.0)
    assert series.nearest(1.2) == (1.0, 11.0)
    assert series.nearest(99.0) == (2.0, 12.0)
    assert Series("empty").nearest(1.0) is None


def test_a_curve_that_grows_is_drawn_as_one_that_was_there_at_once() -> None:
    grown, whole = Series("a"), Series("a")
    x, y = Axis(0, 300), Axis(-1, 1)
    trace = Trace(grown, x, y, 120, 40)
    for step in range(300):
        for series in (grown, whole):
            series.append(float(step), math.sin(step / 9))
        if step % 7 == 0:
            trace.draw()
    trace.draw()
    at_once = Trace(whole, x, y, 120, 40)
    at_once.draw()
    assert trace.columns == at_once.columns


def test_every_point_of_few_is_seen_whatever_the_pattern() -> None:
    series = series_of(1, 2, 1, 2)
    trace = Trace(series, Axis(0, 3), Axis(0, 3), 100, 20, pattern=(1, 3))
    trace.draw()
    assert all(trace.shown[column] for column in (0, 33, 66, 99))
    assert sum(trace.shown) < 30


def test_peaks_survive_the_decimation() -> None:
    series = Series("a")
    for step in range(10_000):
        series.append(float(step), 9.0 if step == 5_000 else 0.0)
    trace = Trace(series, Axis(0, 10_000), Axis(0, 10), 100, 40)
    trace.draw()
    assert max(column.bit_length() for column in trace.columns) == 36


# --- the widget -------------------------------------------------------------------------------------------


def test_a_chart_has_title_axes_legend_and_curves(drive: Any, golden: Any) -> None:
    loss = Series("train", 0.9)
    for step in range(400):
        loss.append(step / 50, 0.7 * math.exp(-step / 100) + 0.02)
    held_out = Series("validation", 0)
    for epoch in range(1, 9):
        held_out.append(float(epoch), 0.7 * math.exp(-epoch / 3) + 0.1)
    held_out.append(8.0, math.nan)
    chart = Chart("loss", (loss, held_out))

    async def scenario(pilot: Pilot[Any]) -> None:
        chart.grow(8.0)
        await golden(pilot, "chart")
        chart.set_scale(log=True, smoothed=False)
        chart.point(4.0)
        await pilot.pause()
        await golden(pilot, "chart-log-crosshair")

    drive(Page(chart), scenario, (60, 16))


def test_without_unicode_the_curves_are_told_apart_by_letters(drive: Any, text_of: Any) -> None:
    chart = Chart("loss", (series_of(3, 2, 1), series_of(1, 1.5, 2, name="validation")))

    async def scenario(pilot: Pilot[Any]) -> None:
        chart.grow(None)
        await pilot.pause()
        text = text_of(pilot)
        assert "*** train" in text
        assert "ooo validation" in text
        assert not any("\u2800" <= character <= "\u28ff" for character in text)

    drive(Page(chart, ascii_only=True), scenario, (60, 16))


def test_every_pattern_differs_from_the_others() -> None:
    assert len(set(PATTERNS)) == len(PATTERNS) >= 6


def test_a_new_point_refreshes_some_cells_only(drive: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    loss = Series("train", 0)
    for step in range(600):
        loss.append(step / 100, 1 / (1 + step / 100))
    chart = Chart("loss", (loss,))
    refreshed: list[Region] = []

    async def scenario(pilot: Pilot[Any]) -> None:
        chart.grow(10.0)
        await pilot.pause()
        monkeypatch.setattr(chart, "refresh", lambda *regions, **_: refreshed.extend(regions))
        for step in range(600, 620):
            loss.append(step / 100, 1 / (1 + step / 100))
            chart.grow(10.0)
        assert refreshed
        assert sum(region.area for region in refreshed if region.y) <= 20

    drive(Page(chart), scenario, (120, 40))


def test_a_chart_in_no_room_at_all_stays_quiet(drive: Any) -> None:
    chart = Chart("loss", (series_of(1, 2, 3),))

    async def scenario(pilot: Pilot[Any]) -> None:
        for size in ((1, 1), (9, 3), (12, 4), (300, 100), (20, 5)):
            await pilot.resize_terminal(*size)
            chart.grow(None)
            chart.point(1.0)
            await pilot.pause()

    drive(Page(chart), scenario, (60, 16))


@pytest.mark.parametrize("smoothed", [False, True])
def test_the_least_and_the_greatest_of_any_stretch_are_found_while_a_series_grows(smoothed: bool) -> None:
    chance, series = random.Random(0), Series("train")
    for step in range(1000):
        series.append(step, chance.uniform(-1, 1))
        begin = chance.randrange(step + 1)
        end = chance.randint(begin + 1, step + 1)
        here = series.values(smoothed)[begin:end]
        assert series.extremes(begin, end, smoothed) == (min(here), max(here))


@pytest.mark.alone
def test_a_chart_of_100_000_points_is_redrawn_in_under_20_ms(drive: Any) -> None:
    loss, held_out = Series("train"), Series("validation")
    for step in range(100_000):
        loss.append(step / 1000, math.exp(-step / 3e4) + 0.1 * math.sin(step * 12.9898))
        held_out.append(step / 1000, math.exp(-step / 5e4) + 0.1 * math.cos(step * 78.233))
    chart = Chart("loss", (loss, held_out))

    async def scenario(pilot: Pilot[Any]) -> None:
        chart.grow(100.0)
        times = []
        for _ in range(10):
            begin = time.process_time()
            chart.redraw()
            times.append(time.process_time() - begin)
        # The least of ten: other programs on the machine only ever add.
        assert min(times) < 0.020, [f"{1000 * one:.1f} ms" for one in times]

    drive(Page(chart), scenario, (140, 45))
