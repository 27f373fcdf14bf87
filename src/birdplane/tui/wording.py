"""What the Build screen says: the lines of the chain, the verdict, the figures, the head of a form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from textual.content import Content

from birdplane.availability import Missing
from birdplane.components import Component, Loss, Model, Transform
from birdplane.errors import BirdplaneError
from birdplane.pipeline import Pipeline, training_signature
from birdplane.registry import Catalog
from birdplane.text import plain, size
from birdplane.tui.chain import Line, Mark
from birdplane.tui.checking import is_missing
from birdplane.tui.knowledge import Knowledge, plainly
from birdplane.tui.steps import LABELS, Step, step_of

_ABOUT = {
    "transforms": "What happens to each picture before the model sees it. a adds one below the cursor.",
    "output": "The layer between the model and the loss: logits as they are, log-probabilities, or probabilities.",
    "training": "How long, how much at once, and on what.",
}


def chain_lines(found: list[Step], pipeline: Pipeline, known: Knowledge) -> list[Line]:
    """Return the lines of the chain."""
    marks = _marks(found, known)
    stages = known.stages()
    lines = []
    for step, mark in zip(found, marks, strict=True):
        text, faint = _picked(step, pipeline, len(found) > len(LABELS))
        shape, values = stages.get(step.key, ("", ""))
        lines.append(Line(step.label, text, shape, values, mark, faint, known.fresh))
    return lines


def _marks(found: list[Step], known: Knowledge) -> list[Mark]:
    marks: list[Mark] = ["right"] * len(found)
    for problem in known.all:
        at = step_of(problem.key, found)
        if marks[at] != "wrong":
            marks[at] = "open" if is_missing(problem) else "wrong"
    heading = next(i for i, step in enumerate(found) if step.key == "transforms")
    if any(mark == "wrong" for step, mark in zip(found, marks, strict=True) if step.transform is not None):
        marks[heading] = "wrong"
    return marks


def _picked(step: Step, pipeline: Pipeline, has_transforms: bool) -> tuple[str, bool]:
    """Return what a line says was picked, and whether it is nothing."""
    match step.key:
        case "transforms":
            return ("", True) if has_transforms else ("none", True)
        case "output":
            return _output(step, pipeline), False
        case "training":
            return _training(step), False
    return (step.use, False) if step.use else ("not chosen", True)


def _output(step: Step, pipeline: Pipeline) -> str:
    if step.use != "auto":
        return step.use
    try:
        return f"auto: {pipeline.output_layer}"
    except Exception:  # no model or loss yet, or one that a plugin describes wrongly
        return "auto"


def _training(step: Step) -> str:
    epochs = step.given.get("epochs", training_signature().parameters["epochs"].default)
    return f"{epochs} epoch{'' if epochs == 1 else 's'}"


# --- the form's head --------------------------------------------------------------------------------------


def head(step: Step, catalog: Catalog) -> Content:
    """Return what stands above a step's form: what was picked, what it does, where it is from."""
    label = step.label or "Transform"
    title = Content.assemble(
        (label, "" if step.kind else "bold"), ("  " + plain(step.use) if step.kind else "", "bold")
    )
    about, origin = _ABOUT.get(step.key, ""), ""
    if step.kind and step.use:
        try:
            entry = catalog[step.kind].lookup(step.use)
        except BirdplaneError:
            return title
        about, origin = (
            entry.component.summary,
            ", ".join([*_contract(entry.component), f"from {entry.provenance}"]),
        )
    elif step.kind:
        about = f"Enter shows every {step.kind} there is."
    lines = [title, Content.styled(plain(about), ""), Content.styled(plain(origin), "$foreground 60%")]
    return Content("\n").join(line for line in lines if line.plain)


def _contract(component: Component) -> list[str]:
    match component:
        case Model():
            return [f"yields {component.output}"]
        case Loss():
            return [f"wants {' or '.join(component.accepts)}"]
        case Transform(random=True):
            return ["in training only"]
    return []


# --- below the chain --------------------------------------------------------------------------------------


def verdict(known: Knowledge, mend: str, width: int = 0) -> Content:
    """Return one sentence on how it stands with the draft; the mend in a line of its own, if `width` asks for it."""
    problem = known.first
    if problem is not None and not is_missing(problem):
        more = len([p for p in known.all if not is_missing(p)]) - 1
        count = f"  (and {more} more)" if more else ""
        said = Content.styled(f"✗ {plain(plainly(problem))}{count}", "$text-error")
        if not mend:
            return said
        key = Content.assemble((" f ", "bold reverse"), f" {plain(mend)}")
        gap = "   " if said.cell_length + 3 + key.cell_length <= width or said.cell_length > width else "\n"
        return Content.assemble(said, gap, key)
    if problem is not None:
        return Content.styled(f"○ {still_to_choose(known)}", "$text-warning")
    if known.trouble:
        said = Content.styled(f"✗ {plain(known.trouble)}", "$text-error")
        return Content.assemble(said, "   ", (" r ", "bold reverse"), " asks again")
    if not known.fresh:
        return Content.styled("… looking whether it fits", "$foreground 60%")
    if known.missing is not None:
        return _lacking(known.missing)
    return Content.assemble(("✓ ", "$text-success"), "it fits", ("   t trains it", "$foreground 60%"))


def _lacking(missing: Missing) -> Content:
    """Return what training will download, and where to: the rest of a long path is on the Data screen."""
    if not missing.size:
        return Content.styled(f"○ {plain(str(missing))}", "$text-warning")
    parts = Path(plain(str(missing.place))).parts
    place = Path(*(part if len(part) <= 24 else f"{part[:8]}…" for part in parts))
    home = Path.home()
    shown = f"~/{place.relative_to(home)}" if place.is_relative_to(home) else str(place)
    said = f"○ sound so far; training downloads {size(missing.size)} to {shown}"
    return Content.assemble((said, "$text-warning"), ("   3, then g gets them now", "$foreground 60%"))


def still_to_choose(known: Knowledge) -> str:
    """Return which steps are not chosen yet."""
    return "still to choose: " + ", ".join(LABELS[p.key].lower() for p in known.all if is_missing(p))


def figures(known: Knowledge) -> list[Content]:
    """Return what is known about size and cost, the most telling first."""
    found = known.rehearsal
    if found is None:
        return []
    style = "" if known.fresh else "$foreground 60%"
    total = found["steps_per_epoch"] * found["epochs"]
    parts = [
        f"{found['parameters']:,} parameters",
        f"{size(found['memory']['total'])} memory",
        f"{found['device']} {found['precision']}",
        f"{found['steps_per_epoch']:,} steps an epoch",
        f"{total:,} in all",
        f"{found['train_pictures']:,} + {found['validation_pictures']:,} pictures",
        f"{len(found['classes'])} classes",
    ]
    return [Content.styled(plain(part), style) for part in parts]


def notes(known: Knowledge) -> list[str]:
    """Return what the rehearsal remarks."""
    return [plain(note) for note in (known.rehearsal or {}).get("notes", [])] if known.fresh else []


def batch_words(batch: dict[str, Any] | None, running: bool = False) -> str:
    """Return the figures of one batch."""
    if running:
        return "one batch is run ..."
    if batch is None:
        return ""
    seconds = batch["milliseconds"]
    time = f"{seconds:.1f} ms a step" if seconds is not None else "not finite: no step made"
    return (
        f"one batch of {batch['batch_size']}: loss {batch['loss']:.4f}, "
        f"gradient norm {batch['gradient_norm']:.3g}, {time} on {batch['device']}"
    )
