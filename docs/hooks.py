"""The parts of these pages that are made from the code when the pages are built, so that they cannot be stale.

mkdocs calls the functions named `on_...`. The outputs of a page that says so are made by `outputs.py`; in any page,
`<!-- generated: NAME -->` is where the part of that name goes:

    tour         the README, from its picture on, with its links as they are from here
    training     every key of the section [training]
    recipes      every recipe
    components   every component that birdplane itself brings
    hooks        every hook, with its signature and the example in its docstring
    checks       every check of `birdplane.testing`, by what it is made of
    commands     every command, with its arguments and options
    keys SCREEN  every key of a screen of the cockpit
    settings     what can be set of the cockpit
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import outputs
from mkdocs.exceptions import PluginError
from textual.screen import Screen

from birdplane import hookspecs, plugins
from birdplane.components import KINDS, Component, Loss, Model, Recipe, Registered, Transform
from birdplane.params import Parameter, Signature
from birdplane.pipeline import training_signature
from birdplane.registry import Catalog
from birdplane.testing import about, functions, name_of

ROOT = Path(__file__).parents[1]
_MARK = re.compile(r"^<!-- generated: ([a-z]+)(?: ([a-z]+))? -->$", re.MULTILINE)
_KEYS = {
    **{"left": "←", "right": "→", "up": "↑", "down": "↓", "full_stop": ".", "slash": "/"},
    **{"escape": "Esc", "enter": "Enter", "space": "Space", "home": "Home", "end": "End"},
}
#: birdplane's own components, whatever else is installed where the pages are built.
CATALOG = Catalog(lambda: plugins.load_plugins(frozenset({"*"})))


def on_page_read_source(page: Any, **_: Any) -> str | None:
    """Return the text of a page whose outputs are made now; nothing for any other.

    With `OUTPUTS=written` in the environment they are left as they were last written into the page.

    Raises:
        PluginError: an example of the page fails.
    """
    file = Path(page.file.abs_src_path)
    if not outputs.made(file) or os.environ.get("OUTPUTS") == "written":
        return None
    try:
        return outputs.filled(file)
    except RuntimeError as error:
        raise PluginError(str(error)) from error


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Say in which language a translation is: browsers choose fonts and break lines by it."""
    language = page.file.src_uri.partition("/")[0]
    return output.replace('<html lang="en"', f'<html lang="{language}"', 1) if language == "ko" else output


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill in the generated parts of a page. Raises `KeyError` for one that is not known."""
    return _MARK.sub(lambda mark: PARTS[mark[1]](*filter(None, mark.groups()[1:])), markdown)


def tour() -> str:
    """Return the README from its first section on; other files' links as they are from here."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    begin, end = (text.index(f"<!-- tour: {word} -->") for word in ("begin", "end"))
    text = text[begin:end].partition("\n")[2]
    return re.sub(r"(?<=[(\"])docs/", "", text)


def training() -> str:
    return _parameters(training_signature().parameters.values())


def recipes() -> str:
    rows = [[f"`{entry.name}`", entry.component.summary] for entry in CATALOG["recipe"]]
    return _table(["recipe", "what it is"], rows)


def components() -> str:
    kinds = [kind for kind in KINDS if kind != "recipe"]
    return "\n\n".join(_kind(kind) for kind in kinds)


def _kind(kind: str) -> str:
    plural = f"{kind}es" if kind.endswith("s") else f"{kind}s"
    return "\n\n".join([f"## {plural.capitalize()}", *(_component(entry) for entry in CATALOG[kind])])


def _component(entry: Registered) -> str:
    component = entry.component
    parameters = list(CATALOG[component.kind].signature(entry.name).parameters.values())
    told = f"{component.summary} {_nature(component)}".strip()
    return "\n\n".join(
        [
            f"### `{entry.name}` {{ #{component.kind}-{entry.name} }}",
            told,
            *([_description(component)] if _description(component) else []),
            _parameters(parameters) if parameters else "It has no parameters.",
            _example(entry, parameters),
        ]
    )


def _nature(component: Component) -> str:
    """Say what the record says besides name and summary."""
    match component:
        case Transform(random=True, per_sample=True):
            return "Random: in training alone. Works picture by picture."
        case Transform(random=True):
            return "Random: in training alone."
        case Transform(per_sample=True):
            return "Works picture by picture."
        case Model():
            return f"Yields {component.output}."
        case Loss():
            return f"Is fed {' or '.join(component.accepts)}."
    return ""


def _description(component: Component) -> str:
    """Return the target's docstring up to its first section, where it says more than one line."""
    text = inspect.getdoc(component.resolve()) or ""
    text = re.split(r"\n(?:Args|Attributes|Returns|Raises):", text)[0].strip()
    return re.sub(r"\n- ", "\n\n- ", text, count=1) if "\n" in text else ""


def _parameters(parameters: Iterable[Parameter]) -> str:
    rows = []
    for parameter in parameters:
        bounds = " and ".join(f"`{bound}`" for bound in (parameter.minimum, parameter.maximum) if bound)
        default = "required" if parameter.required else _code(parameter.default)
        name = f"`{parameter.name}`"
        rows.append([name, parameter.type_name, default, bounds, parameter.help])
    return _table(["key", "type", "default", "allowed", "what it does"], rows)


def _code(value: Any) -> str:
    return "nothing" if value is None else f"`{_toml(value)}`"


def _toml(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    if isinstance(value, bool | str | Path):
        return json.dumps(value if isinstance(value, bool | str) else str(value), ensure_ascii=False)
    return repr(value)


def _example(entry: Registered, parameters: Sequence[Parameter]) -> str:
    kind = entry.component.kind
    head = "[[transforms]]" if kind == "transform" else f"[{kind}]"
    given = {p.name: p.default for p in parameters if not p.required and p.default is not None}
    given = {**{p.name: _invented(p) for p in parameters if p.required}, **given}
    lines = [head, f'use = "{entry.name}"', *(f"{name} = {_toml(value)}" for name, value in given.items())]
    return "\n".join(["```toml", *lines, "```"])


def _invented(parameter: Parameter) -> Any:
    kinds = {"path": "pictures", "text": "text", "integer": 1, "number": 1.0, "true or false": True}
    return parameter.choices[0] if parameter.choices else kinds.get(parameter.type_name, [])


def hooks() -> str:
    parts = []
    for name, hook in vars(hookspecs).items():
        if name.startswith("birdplane_"):
            arguments = ", ".join(inspect.signature(hook).parameters)
            text, example = _docstring(hook)
            parts += [f"## `{name}({arguments})` {{ #{name} }}", f"```python\n{declaration(hook)}\n```"]
            parts += [text, f"```python\n{example}\n```"]
    return "\n\n".join(parts)


def declaration(hook: Callable[..., Any]) -> str:
    """Return the first line of a hook's definition; its types stand in the source as they are, unevaluated."""
    signature = str(inspect.signature(hook)).replace("'", "")
    return f"def {hook.__name__}{signature}: ..."


def _docstring(hook: Callable[..., Any]) -> tuple[str, str]:
    """Return a hook's docstring in two parts: the text, and the indented example."""
    text, begin, example = (hook.__doc__ or "").partition("from birdplane import")
    indent = " " * (len(text) - len(text.rstrip(" ")))
    text = inspect.cleandoc(text).strip().removesuffix("A whole plugin:").strip()
    return text, textwrap.dedent(f"{indent}{begin}{example}").strip()


def checks() -> str:
    """Return the checks of a plugin, of every component, and of each kind."""
    of = {subject: functions(subject) for subject in ("plugin", "family", *KINDS)}
    everywhere = [function for function in of["model"] if function in of["loss"]]
    sections = {"Of a plugin": of["plugin"], "Of a family": of["family"], "Of every component": everywhere}
    for kind in KINDS:
        sections[f"Of a {kind}"] = [function for function in of[kind] if function not in everywhere]
    return "\n\n".join(
        f"### {title.replace('a optimizer', 'an optimizer')}\n\n"
        + _table(["check", "what must be true"], [[f"`{name_of(one)}`", about(one)] for one in made])
        for title, made in sections.items()
    )


def commands() -> str:
    """Return a section a command: its help, usage, arguments and options."""
    return "\n\n".join(_command(name, command) for name, command in command_line().commands.items())


def command_line() -> Any:
    """Return the commands of birdplane itself, as Typer keeps them."""
    import typer.main

    from birdplane.cli import app

    return typer.main.get_command(app)


def _command(name: str, command: Any) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
    words = [_argument(p) for p in arguments]
    usage = " ".join(["birdplane", name, *words, *(["[OPTIONS]"] if options else [])])
    rows = [[f"`{_argument(p)}`", _help(p)] for p in arguments]
    rows += [[f"`{_option(p)}`", _help(p)] for p in options]
    text = inspect.cleandoc(command.help or "")
    shown = f"```text\n{usage}\n```"
    return "\n\n".join([f"## {name}", text, shown, *([_table(["", ""], rows)] if rows else [])])


def _argument(parameter: Any) -> str:
    word = (parameter.metavar or parameter.name).strip("[]").upper()
    many = "..." if parameter.nargs == -1 and not word.endswith("...") else ""
    return f"{word}{many}" if parameter.required else f"[{word}{many}]"


def _option(parameter: Any) -> str:
    flags = ", ".join(parameter.opts)
    if parameter.is_flag:
        return flags
    return f"{flags} {parameter.metavar or parameter.name.upper()}"


def _help(parameter: Any) -> str:
    text = (parameter.help or "").strip()
    default = parameter.default
    plain = isinstance(default, str | int | float) and not isinstance(default, bool)
    if not parameter.required and plain and "[default" not in text:
        text += f" [default: {default}]"
    return text


def keys(screen: str) -> str:
    """Return the keys of a screen, those of one action together, and the action's name in the settings."""
    module = importlib.import_module(f"birdplane.tui.{screen}")
    kind = getattr(module, f"{screen.capitalize()}Screen")
    found: dict[str, list[Any]] = {}
    for binding in kind.BINDINGS:
        action = getattr(kind, f"action_{binding.action.partition('(')[0]}", None)
        if binding not in Screen.BINDINGS and action is not None:
            found.setdefault((inspect.getdoc(action) or "").partition("\n")[0], []).append(binding)
    rows = [
        [
            " ".join(dict.fromkeys(f"`{_key(binding.key)}`" for binding in bindings)),
            told,
            " ".join(f"`{binding.id}`" for binding in bindings if binding.id),
        ]
        for told, bindings in found.items()
    ]
    return _table(["key", "what it does", "in the settings"], rows)


def _key(key: str) -> str:
    return _KEYS.get(key, key)


def settings() -> str:
    """Return what can be set of the cockpit."""
    from birdplane.tui.settings import Settings

    return _parameters(Signature(Settings, frozenset(), "settings").parameters.values())


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    return "\n".join([line(header), "|" + " --- |" * len(header), *map(line, rows)])


PARTS: dict[str, Callable[..., str]] = {
    part.__name__: part
    for part in (tour, training, recipes, components, hooks, checks, commands, keys, settings)
}
#: For readers of `Recipe` records: the text of a recipe by its name.
RECIPES = {entry.name: entry.component for entry in CATALOG["recipe"] if isinstance(entry.component, Recipe)}
