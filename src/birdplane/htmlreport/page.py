"""A report as one HTML file: everything is inside it, no script runs, and no request leaves it."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from math import isfinite
from typing import Any

from birdplane.events import Epoch
from birdplane.htmlreport import Report
from birdplane.htmlreport.charts import bar, curves, reliability, shift_map, text
from birdplane.inspection import Evaluation, Mistake
from birdplane.judging import confused
from birdplane.pictures import as_picture, as_png
from birdplane.probing import FILLS, Probe
from birdplane.probing.drawing import points
from birdplane.text import brief, duration

_SHADES = 10
_BESIDE = 4  # classes up to which their scores stand beside the confusion matrix
_MATRIX = 20  # classes up to which the whole confusion matrix is shown
_CONFUSED = 30  # its most frequent mistakes, where it is not
_CLASSES = 100  # classes up to which each has a line; of more, those told worst
_WORST = 50
_SIDE = 192  # pixels of a picture in the file, at most
_COARSE = 96  # pixels up to which they are shown as squares
_BARS = 3
_ALERTS = 20


def page(report: Report) -> str:
    """Return the HTML of a report."""
    style = files(__package__).joinpath("page.css").read_text(encoding="utf-8") + _shades()
    sections = [section for section in _sections(report) if section[-1]]
    links = "".join(f'<a href="#{key}">{short}</a>' for key, short, _, _ in sections)
    body = "".join(
        f'<section id="{key}"><h2>{title}</h2>{part}</section>\n' for key, _, title, part in sections
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(style)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f'<meta name="generator" content="birdplane {text(report.version)}">\n'
        # Else a browser that is given the page by a server asks that for one.
        '<link rel="icon" href="data:,">\n'
        f"<title>{text(report.run)}: {_percent(report.validation.accuracy)} - birdplane</title>\n"
        f"<style>{style}</style>\n</head>\n<body>\n"
        f"<header>{_header(report)}<nav>{links}</nav></header>\n<main>\n{body}</main>\n"
        f"<footer>{_footer(report)}</footer>\n</body>\n</html>\n"
    )


def _policy(style: str) -> str:
    """Return a content security policy under which nothing is fetched or run, and no style but this one applies."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def _shades() -> str:
    """Return the style of the cells of a confusion matrix, by what share of their row they are."""
    rules = []
    for kind in ("right", "wrong"):
        for shade in range(1, _SHADES + 1):
            part = 8 + 52 * shade // _SHADES
            rules.append(
                f".{kind}-{shade}{{background:color-mix(in srgb,var(--{kind}) {part}%,var(--card))}}"
            )
    return "\n".join(rules) + "\n"


def _sections(report: Report) -> Iterator[tuple[str, str, str, str]]:
    """Yield each section's id, its short and its whole title, and its HTML; without HTML there is none."""
    yield "curves", "Curves", "How it learned", _curves(report)
    yield "confusion", "Confusion", "What is taken for what", _confusion(report.validation, report.classes)
    believed = "How far its probabilities can be believed"
    yield "calibration", "Calibration", believed, _calibration(report.validation)
    yield "mistakes", "Mistakes", "Mistakes", _mistakes(report)
    yield "probe", "Probe", "Pictures that were moved and changed", _probe(report.probe)
    yield "pipeline", "Pipeline", "Pipeline", f"<pre>{_toml(report.pipeline)}</pre>"
    yield "environment", "Environment", "How it was trained", _environment(report)


# The head.


def _header(report: Report) -> str:
    facts, validation = report.facts, report.validation
    names = ", ".join(text(name) for name in report.classes[:10])
    more = f" and {len(report.classes) - 10} more" if len(report.classes) > 10 else ""
    lead = f"{len(report.classes)} classes: {names}{more}."
    parameters = facts.get("parameters")
    figures = [
        ("validation accuracy", _percent(validation.accuracy), f"of {validation.count:,} pictures"),
        ("validation loss", f"{validation.loss:.4f}", f"training loss {report.train.loss:.4f}"),
        ("training accuracy", _percent(report.train.accuracy), f"of {report.train.count:,} pictures"),
        ("calibration error", _percent(validation.calibration.expected_error), "expected, over 15 bins"),
        (
            "training",
            duration(report.seconds),
            f"{len(report.epochs)} epoch{'s' * (len(report.epochs) != 1)}, {text(report.state)}",
        ),
    ]
    if type(parameters) is int:
        figures.insert(4, ("parameters", f"{parameters:,}", text(facts.get("precision", ""))))
    cards = "".join(
        f"<div><dt>{name}</dt><dd>{value}<small>{what}</small></dd></div>" for name, value, what in figures
    )
    return f'<h1>{text(report.run)}</h1><p class="lead">{lead}</p><dl class="figures">{cards}</dl>'


def _footer(report: Report) -> str:
    which = "that validated best" if report.checkpoint == "best" else "that were newest"
    made = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(report.made))
    return (
        f"<p>Made on {made} by birdplane {text(report.version)}, with the weights {which}, those of step "
        f"{report.step:,}, in {text(report.precision)} on {text(report.device)}. All that is shown is inside this "
        "file.</p>"
    )


# The sections.


def _curves(report: Report) -> str:
    if not report.epochs:
        return ""
    best = next((event.epoch for event in report.epochs if event.step == report.step), None)
    loss = curves(
        "Loss by epoch",
        [
            ("training", _of(report.epochs, "train_loss")),
            ("validation", _of(report.epochs, "validation_loss")),
        ],
        mark=best,
    )
    accuracy = curves(
        "Accuracy by epoch, in percent",
        [
            ("training", _of(report.epochs, "train_accuracy")),
            ("validation", _of(report.epochs, "validation_accuracy")),
        ],
        percent=True,
        mark=best,
    )
    marked = f" The weights of this report are those after epoch {best}." if best is not None else ""
    return (
        '<p class="note">Training figures are taken while the weights change, with the random transforms; '
        f"validation figures after each epoch.{marked}</p>"
        '<div class="legend"><span class="train">training</span><span class="validation">validation</span></div>'
        f'<div class="pair"><figure><h3>Loss</h3>{loss}</figure><figure><h3>Accuracy, %</h3>{accuracy}</figure></div>'
    )


def _of(epochs: Sequence[Epoch], name: str) -> list[tuple[float, float]]:
    found = [(event.epoch, getattr(event, name)) for event in epochs]
    return [(epoch, value) for epoch, value in found if value is not None]


def _confusion(found: Evaluation, classes: Sequence[str]) -> str:
    matrix = _matrix(found, classes) if len(classes) <= _MATRIX else _most_confused(found, classes)
    kind = ' class="aside"' if len(classes) <= _BESIDE else ""
    return f"<div{kind}><div>{matrix}</div><div>{_per_class(found)}</div></div>"


def _matrix(found: Evaluation, classes: Sequence[str]) -> str:
    head = "".join(f'<th scope="col">{text(name)}</th>' for name in classes)
    rows = "".join(
        f'<tr><th scope="row">{text(name)}</th>{_cells(label, row)}</tr>'
        for label, (name, row) in enumerate(zip(classes, found.confusion, strict=True))
    )
    return (
        '<p class="note">Validation pictures: a row for what they are, a column for what they are taken for.</p>'
        f'<div class="scroll"><table class="confusion"><thead><tr><td></td>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _cells(label: int, row: Sequence[int]) -> str:
    total = sum(row) or 1
    cells = []
    for taken, count in enumerate(row):
        shade = min(_SHADES, -(-count * _SHADES // total))
        kind = f' class="{"right" if taken == label else "wrong"}-{shade}"' if shade else ""
        cells.append(f"<td{kind}>{count:,}</td>")
    return "".join(cells)


def _most_confused(found: Evaluation, classes: Sequence[str]) -> str:
    cells = confused(found.confusion)
    rows = [
        [
            _head(classes[label]),
            _cell(text(classes[taken])),
            _number(f"{count:,}"),
            _number(_percent(count / sum(found.confusion[label]))),
        ]
        for label, taken, count in cells[:_CONFUSED]
    ]
    shown = f"the {_CONFUSED} most frequent of {len(cells):,}" if len(cells) > _CONFUSED else "all of them"
    return (
        f'<p class="note">What validation pictures are taken for that they are not: {shown}.</p>'
        f"{_table(['it is', 'taken for', '#pictures', '#of the class'], rows)}"
    )


def _per_class(found: Evaluation) -> str:
    scores, note = list(found.per_class), ""
    if len(scores) > _CLASSES:
        scores = sorted(scores, key=lambda score: (score.f1 is None, score.f1))[:_WORST]
        note = f" Of {len(found.per_class):,} classes the {_WORST} with the lowest F1."
    rows = [
        [
            _head(score.name),
            _number(f"{score.pictures:,}"),
            _number(_share(score.recall)),
            _number(_share(score.precision)),
            _number(_share(score.f1)),
            f'<td class="bars">{bar(score.f1, "right")}</td>',
        ]
        for score in scores
    ]
    table = _table(["class", "#pictures", "#recall", "#precision", "#F1", ""], rows, "wide")
    return (
        '<p class="note">Recall is the share of right ones among the pictures of a class, precision that among those '
        f"that are taken for it, F1 the harmonic mean of both.{note}</p>{table}"
    )


def _calibration(found: Evaluation) -> str:
    calibration = found.calibration
    rows = [
        [
            _cell(f"{100 * one.low:.0f} to {100 * one.high:.0f} %"),
            _number(f"{one.count:,}"),
            _number(_share(one.confidence)),
            _number(_share(one.accuracy)),
        ]
        for one in calibration.bins
        if one.count
    ]
    table = _table(["said with", "#pictures", "#on average", "#right"], rows, "wide")
    return (
        '<p class="note">What is said with 80 % should be right in 80 of 100 cases: then the bars end at the dashed '
        "line. Where they end below it, the model is too sure of itself. The expected calibration error is the mean "
        "distance, weighted by pictures (Guo et al., 2017, equation 3).</p>"
        '<div class="legend"><span class="right">right</span><span class="over">too sure</span>'
        '<span class="under">not sure enough</span></div>'
        f'<div class="aside"><figure>{reliability(calibration)}</figure><div>{table}'
        f'<p class="after">Expected calibration error {_percent(calibration.expected_error)}, greatest '
        f"{_percent(calibration.greatest_error)}.</p></div></div>"
    )


def _mistakes(report: Report) -> str:
    total = sum(count for _, _, count in confused(report.validation.confusion))
    if not total:
        return "<p>None of the validation pictures is taken for something else.</p>"
    if not report.mistakes:
        return ""
    which = "All of them" if len(report.mistakes) == total else f"{len(report.mistakes):,} of them"
    figures = "".join(_mistake(mistake) for mistake in report.mistakes)
    return (
        f'<p class="note">{total:,} of {report.validation.count:,} validation pictures are taken for something else. '
        f'{which}, those first of which the model is surest.</p><div class="mistakes">{figures}</div>'
    )


def _mistake(mistake: Mistake) -> str:
    picture = as_picture(mistake.pixels, _SIDE)
    data = base64.b64encode(as_png(picture)).decode()
    coarse = ' class="pixels"' if max(picture.size) <= _COARSE else ""
    ordered = sorted(mistake.probabilities.items(), key=lambda item: -item[1])[:_BARS]
    if mistake.label not in dict(ordered):
        ordered[-1] = (mistake.label, mistake.probabilities[mistake.label])
    rows = "".join(
        f'<span class="row"><span>{text(name)}</span><span>{_percent(share)}</span>'
        f"{bar(share, 'right' if name == mistake.label else 'wrong')}</span>"
        for name, share in ordered
    )
    label = text(mistake.label)
    return (
        f'<figure><img{coarse} src="data:image/png;base64,{data}" width="{picture.width}" height="{picture.height}" '
        f'alt="picture {mistake.index}: {label}, taken for {text(mistake.predicted)}">'
        f"<figcaption><b>{label}</b>, not {text(mistake.predicted)}{rows}</figcaption></figure>"
    )


def _probe(probe: Probe | None) -> str:
    if probe is None:
        return ""
    rows = [[_head("as they are"), _number(_percent(probe.unmoved)), _number("")]]
    for cost in probe.costs:
        name = f"moved by {cost.pixels} pixel{'s' * (cost.pixels != 1)}"
        rows.append([_head(name), _number(_percent(cost.accuracy)), _number(points(-cost.cost))])
    for change in probe.changes:
        name = change.what if change.kind == "flip" else f"{change.kind} {change.what}"
        less = points(change.accuracy - probe.unmoved)
        rows.append([_head(name), _number(_percent(change.accuracy)), _number(less)])
    table = _table(["pictures", "#accuracy", "#difference"], rows, "wide")
    return (
        f'<p class="note">{probe.pictures:,} of {probe.available:,} validation pictures, changed as they are stored; '
        f"what a shift leaves empty is filled by {text(FILLS[probe.fill])}. The map has the accuracy in percent, the "
        "middle is the pictures as they are; a shift by so many pixels is a mean over eight directions.</p>"
        f'<div class="aside"><figure>{shift_map(probe)}</figure><div class="scroll">{table}</div></div>'
    )


def _toml(document: str) -> str:
    """Return a pipeline with its sections and comments set apart, and no section torn in two by a column's end."""
    parts = [part for part in document.strip("\n").split("\n\n") if part]
    return "".join(f"<span>{_section(part)}\n\n</span>" for part in parts)


def _section(part: str) -> str:
    lines = []
    for line in part.split("\n"):
        shown, bare = text(line.replace("\t", "    ")), line.strip()
        if bare.startswith("["):
            shown = f"<b>{shown}</b>"
        elif bare.startswith("#"):
            shown = f"<i>{shown}</i>"
        lines.append(shown)
    return "\n".join(lines)


def _environment(report: Report) -> str:
    facts = {name: value for name, value in report.facts.items() if value is not None and name != "format"}
    brought = _brought(facts.pop("origins", {}))
    rows = [[_head(_name(name)), _cell(_value(value))] for name, value in facts.items()]
    rows += [
        [_head(package), _cell(text(f"brought {', '.join(parts)}"))] for package, parts in brought.items()
    ]
    told = ""
    if report.alerts:
        items = "".join(f"<li>{text(alert.message)}</li>" for alert in report.alerts[-_ALERTS:])
        told = f"<h3>What training told</h3><ul>{items}</ul>"
    if report.skipped:
        told += f'<p class="note">{report.skipped:,} lines of the run\'s record could not be read.</p>'
    return _table(["", ""], rows, "facts", head=False) + told


def _brought(origins: Any) -> dict[str, list[str]]:
    """Return by package and version which parts it brought."""
    found: dict[str, list[str]] = {}
    for part, origin in origins.items() if isinstance(origins, dict) else ():
        if isinstance(origin, dict):
            package = f"{origin.get('package', '')} {origin.get('version', '')}".strip()
            found.setdefault(package, []).append(str(part))
    return found


def _name(name: object) -> str:
    return str(name).replace("_", " ")


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return text(", ".join(item if isinstance(item, str) else brief(item) for item in value[:50]))
    return text(value) if isinstance(value, str) else text(brief(value))


# The parts of a table; what is given to `_cell` and `_number` is HTML, to `_head` any text.


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "", *, head: bool = True) -> str:
    """Return a table; a title that begins with # stands above numbers."""
    titles = "".join(
        f'<th scope="col" class="number">{title[1:]}</th>'
        if title.startswith("#")
        else f'<th scope="col">{title}</th>'
        for title in header
    )
    top = f"<thead><tr>{titles}</tr></thead>" if head else ""
    lines = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    shown = f' class="{kind}"' if kind else ""
    return f'<div class="scroll"><table{shown}>{top}<tbody>{lines}</tbody></table></div>'


def _head(name: object) -> str:
    return f'<th scope="row">{text(name)}</th>'


def _cell(html: str) -> str:
    return f"<td>{html}</td>"


def _number(html: str) -> str:
    return f'<td class="number">{html}</td>'


def _share(share: float | None) -> str:
    return "-" if share is None else _percent(share)


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %" if isfinite(share) else "nan"
