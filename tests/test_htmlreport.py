"""The report of a run, in a real browser: nothing leaves the file, all is seen, and foreign text is but text."""

from __future__ import annotations

import dataclasses
import http.server
import importlib.util
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from birdplane.events import Alert
from birdplane.htmlreport import Report
from birdplane.htmlreport.gathering import gather
from birdplane.htmlreport.page import page
from birdplane.inspection import Evaluation, Mistake, TrainedModel
from birdplane.judging import calibrate, score_classes
from birdplane.runs import Run

EVIL = "<script>alert(1)</script>\"'><img src=http://127.0.0.1:9/x.png onerror=alert(2)>&\x1b[31m\u202e"


def _loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tests_browser", Path(__file__).with_name("browser.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


chromium = _loaded()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = chromium.found()
    if program is None:
        pytest.skip("there is no Chromium here")
    with chromium.Browser(program) as driven:
        yield driven


@pytest.fixture(scope="module")
def report(tiny_run: Run) -> Report:
    return gather(tiny_run, TrainedModel(tiny_run), "best", mistakes=6)


def evaluated(split: str, confusion: list[list[int]], names: list[str]) -> Evaluation:
    count = sum(map(sum, confusion))
    right = sum(row[label] for label, row in enumerate(confusion))
    calibration = calibrate(np.linspace(0.5, 1, count), np.arange(count) < right)
    return Evaluation(
        split, count, 0.5, right / count, confusion, score_classes(names, confusion), calibration
    )


@pytest.fixture(scope="module")
def hostile(report: Report) -> Report:
    """A report in which every text that may come from elsewhere is an attack."""
    names = [EVIL, "b" * 300]
    mistake = Mistake(3, EVIL, names[1], 0.9, {EVIL: 0.1, names[1]: 0.9}, np.full((3, 9, 5), 77, np.uint8))
    return dataclasses.replace(
        report,
        run=EVIL,
        version=EVIL,
        state=EVIL,
        classes=names,
        train=evaluated("train", [[5, 1], [0, 4]], names),
        validation=evaluated("validation", [[5, 1], [0, 4]], names),
        mistakes=[mistake],
        alerts=[Alert(time=0, epoch=1, step=1, kind=EVIL, message=EVIL)],
        pipeline=f"seed = 0 # {EVIL}\n[{EVIL}]\n",
        facts={EVIL: EVIL, "classes": [EVIL], "parameters": EVIL, "origins": {EVIL: {"package": EVIL}}},
    )


def written(told: Report, folder: Path) -> Path:
    file = folder / "report.html"
    file.write_text(page(told), encoding="utf-8")
    return file


@pytest.mark.parametrize("kind", ["report", "hostile"])
def test_a_report_opens_with_all_its_pictures_and_nothing_leaves_the_file(
    kind: str, request: pytest.FixtureRequest, browser: Any, tmp_path: Path
) -> None:
    told: Report = request.getfixturevalue(kind)
    file = written(told, tmp_path)
    browser.look(width=1280)
    browser.open(file.as_uri())
    assert [url for url in browser.requests if not url.startswith("data:")] == [file.as_uri()]
    assert browser.complaints == []
    pictures = browser.images()
    assert len(pictures) == len(told.mistakes) > 0
    assert all(picture["complete"] and picture["width"] > 0 and picture["height"] > 0 for picture in pictures)
    assert browser.evaluate("document.scripts.length") == 0


def test_the_browser_that_checks_hears_of_requests_and_complaints(browser: Any, tmp_path: Path) -> None:
    file = tmp_path / "bad.html"
    file.write_text(
        '<img src="none.png"><script>console.error("told"); nonsense()</script>', encoding="utf-8"
    )
    browser.open(file.as_uri())
    assert browser.requests == [file.as_uri(), (tmp_path / "none.png").as_uri()]
    assert any("told" in complaint for complaint in browser.complaints)
    assert browser.images()[0]["width"] == 0


def test_a_server_that_gives_the_report_is_asked_for_nothing_else(
    report: Report, browser: Any, tmp_path: Path
) -> None:
    data = written(report, tmp_path).read_bytes()
    asked = []

    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser.open(f"http://127.0.0.1:{server.server_port}/report")
        server.shutdown()
    assert asked == ["/report"]
    assert browser.complaints == []


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("kind", ["report", "hostile"])
def test_no_width_makes_the_page_scroll_sideways(
    kind: str, width: int, request: pytest.FixtureRequest, browser: Any, tmp_path: Path
) -> None:
    browser.look(width=width)
    browser.open(written(request.getfixturevalue(kind), tmp_path).as_uri())
    assert browser.evaluate("document.documentElement.scrollWidth") == width


def test_dark_and_light_schemes_and_paper_are_each_their_own(
    report: Report, browser: Any, tmp_path: Path
) -> None:
    file = written(report, tmp_path)
    seen = {}
    for name, look in (("light", {}), ("dark", {"dark": True}), ("paper", {"dark": True, "printed": True})):
        browser.look(width=1280, **look)
        browser.open(file.as_uri())
        seen[name] = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert seen == {"light": "rgb(246, 245, 241)", "dark": "rgb(17, 21, 27)", "paper": "rgb(255, 255, 255)"}


def test_foreign_text_is_shown_as_it_is(hostile: Report, browser: Any, tmp_path: Path) -> None:
    browser.open(written(hostile, tmp_path).as_uri())
    assert browser.evaluate("document.querySelector('h1').textContent").startswith(
        "<script>alert(1)</script>"
    )
    assert "\u202e" not in browser.evaluate("document.body.textContent")


def test_the_figures_of_a_report_are_those_of_the_evaluation(report: Report, tiny_run: Run) -> None:
    html = page(report)
    found = TrainedModel(tiny_run).evaluate("validation")
    assert found == report.validation
    assert f"<dd>{100 * found.accuracy:.2f} %<small>of 32 pictures" in html
    assert "in float32 on cpu. All that is shown" in html
    cells = [int(cell) for cell in re.findall(r"<td(?: class=\"(?:right|wrong)-\d+\")?>(\d+)</td>", html)]
    assert cells[:4] == [count for row in found.confusion for count in row]


def test_a_long_line_of_the_pipeline_stays_in_its_column_and_no_section_is_torn(
    report: Report, browser: Any, tmp_path: Path
) -> None:
    long = f'[dataset]\nuse = "cifar2"\nsha256 = "{"0" * 640}"\n\n'
    pipeline = long + "".join(f'[[transforms]]\nuse = "number-{number}"\n\n' for number in range(20))
    browser.look(width=1280)
    browser.open(written(dataclasses.replace(report, pipeline=pipeline), tmp_path).as_uri())
    assert browser.evaluate("document.querySelector('pre').textContent").rstrip() == pipeline.rstrip()
    torn = (
        "[...document.querySelectorAll('pre span')].filter(part => part.getClientRects().length > 1).length"
    )
    assert browser.evaluate(torn) == 0
    wide = "document.querySelector('pre').scrollWidth - document.querySelector('pre').clientWidth"
    assert browser.evaluate(wide) == 0


@pytest.mark.parametrize("classes", [21, 150])
def test_many_classes_are_told_by_what_matters_most(
    classes: int, report: Report, browser: Any, tmp_path: Path
) -> None:
    names = [f"class-{label}" for label in range(classes)]
    confusion = [
        [9 if label == taken else int((label + taken) % 5 == 0) for taken in range(classes)]
        for label in range(classes)
    ]
    told = dataclasses.replace(
        report, classes=names, validation=evaluated("validation", confusion, names), mistakes=[]
    )
    file = written(told, tmp_path)
    assert "the 30 most frequent of" in file.read_text(encoding="utf-8")
    assert file.stat().st_size < 100_000
    browser.look(width=390)
    browser.open(file.as_uri())
    assert browser.evaluate("document.documentElement.scrollWidth") == 390


def test_a_report_without_epochs_probe_or_mistakes_is_whole(report: Report) -> None:
    perfect = evaluated("validation", [[4, 0], [0, 4]], list(report.classes))
    html = page(dataclasses.replace(report, epochs=[], probe=None, mistakes=[], facts={}, validation=perfect))
    assert "None of the validation pictures is taken for something else" in html
    assert 'id="curves"' not in html
    assert 'id="probe"' not in html


def test_losses_that_are_not_finite_leave_a_gap_not_an_error(
    report: Report, browser: Any, tmp_path: Path
) -> None:
    worse = [dataclasses.replace(epoch, train_loss=float("nan")) for epoch in report.epochs]
    file = written(dataclasses.replace(report, epochs=worse), tmp_path)
    browser.open(file.as_uri())
    assert browser.complaints == []
    assert browser.evaluate("document.querySelectorAll('#curves .curve').length") == 3
