"""Pipeline files and overrides by nobody's friend: what is wrong is told in one line that names the place."""

from __future__ import annotations

import random
import re
import string
import sys
import tomllib
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from birdplane.cli import main
from birdplane.errors import BirdplaneError, nearest
from birdplane.params import Signature
from birdplane.pipeline import OUTPUT_LAYERS, SECTIONS, Pipeline, training_signature
from birdplane.plugins import DISABLE_VARIABLE
from birdplane.registry import catalog

#: A pipeline as text: each section's lines, a key and a literal each.
Section = tuple[str, list[tuple[str, str]]]
BASE: list[Section] = [
    ("", [("seed", "3")]),
    (
        "[dataset]",
        [("use", '"sketches"'), ("train", "64"), ("test", "32"), ("size", "8"), ("difficulty", "0.2")],
    ),
    ("[[transforms]]", [("use", '"to-tensor"')]),
    ("[[transforms]]", [("use", '"random-shift"'), ("pixels", "1")]),
    ("[[transforms]]", [("use", '"normalize"'), ("mean", "[0.5]"), ("std", "[0.2]")]),
    ("[model]", [("use", '"fully-connected"'), ("hidden", "[8]"), ("activation", '"tanh"')]),
    ("[output]", [("use", '"auto"')]),
    ("[loss]", [("use", '"cross-entropy"'), ("label_smoothing", "0.1")]),
    ("[optimizer]", [("use", '"sgd"'), ("lr", "0.1"), ("momentum", "0.9"), ("nesterov", "true")]),
    ("[schedule]", [("use", '"one-cycle"')]),
    ("[training]", [("epochs", "1"), ("batch_size", "16"), ("device", '"cpu"'), ("precision", '"float32"')]),
]
#: No message is longer: a line for people, whatever the file holds.
LONGEST = 2100

_LETTERS = string.ascii_lowercase + "-_"
_TEXTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        [
            "",
            " ",
            "x" * (1 << 20),
            "\0",
            "\x1b[31mred",
            "a\nb",
            "\u202egnp",
            "\u2028",
            "é" * 300,
            "🐦",
            "..",
            "../../etc/passwd",
            "/",
            "C:\\",
            "{0.__class__}",
            "%s%n",
            "${HOME}",
            "`id`",
            "None",
            "nan",
            "a" * 5000,
        ]
    ),
)


def quoted(text: str) -> str:
    """Return a text as TOML has it."""
    escaped = "".join(
        character if character.isprintable() and character not in '"\\' else f"\\U{ord(character):08X}"
        for character in text
    )
    return f'"{escaped}"'


#: Values that are too large, of the wrong kind, not finite, no TOML at all, or another format's.
ODD = [
    "0", "-1", "1e999", "-1e999", "nan", "inf", "5e-324", "-0.0", "1e308", "9223372036854775807",
    "9223372036854775808", "18446744073709551615", "1" + "0" * 400, "9" * 5000, "0x" + "f" * 4000,
    "-" + "7" * 6000, "0b1", "1979-05-27", "07:32:00", "1979-05-27T07:32:00Z", "1979-13-99", "1_000",
    "!!python/object/apply:os.system", "'''", '"', "", "[", "{", "}", "\x00", "\ufeff", "#", "=",
    "[" * 33 + "]" * 33, "[" * 3000 + "]" * 3000, "[" * 3000, "{" + ".".join("a" * 3000) + " = 1}",
    "[" + "0, " * 2_000 + "]", f'"{"x" * (1 << 20)}"', '"\\u0000\\u001b[31m"', "[[], {}, nan]", "{}", "[]",
]  # fmt: skip
_SCALARS = st.one_of(
    st.integers().map(str),
    st.floats().map(repr),
    st.booleans().map(lambda value: str(value).lower()),
    _TEXTS.map(quoted),
    st.sampled_from(ODD),
)
_LITERALS = st.one_of(
    _SCALARS,
    st.lists(_SCALARS, max_size=4).map(lambda items: f"[{', '.join(items)}]"),
    _SCALARS.map(lambda item: f"{{use = {item}}}"),
    _SCALARS.map(lambda item: f"{{a.b.c = {item}}}"),
    st.sampled_from([1, 5, 31, 33, 400, 3000]).map(lambda depth: "[" * depth + "]" * depth),
    st.sampled_from([5, 40, 900, 3000]).map(lambda depth: "{" + ".".join("a" * depth) + " = 1}"),
)
_KEYS = st.one_of(
    st.text(_LETTERS, min_size=1, max_size=8),
    _TEXTS.map(quoted),
    st.sampled_from(
        ["use", "seed", "split", "input_shape", "__class__", "self", "a.b", "a.b.c", "use.use", "''"]
    ),
)


def text_of(sections: list[Section]) -> str:
    return "\n".join(
        "\n".join([head, *(f"{key} = {literal}" for key, literal in lines)]) for head, lines in sections
    )


@st.composite
def mutated_structures(draw: st.DrawFn) -> str:
    """A pipeline file of which one to three things were changed: values, keys, sections, their order."""
    sections = [(head, list(lines)) for head, lines in BASE]
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(sections) - 1))
        head, lines = sections[place]
        line = draw(st.integers(0, max(0, len(lines) - 1)))
        match draw(st.integers(0, 9)):
            case 0 | 1 | 2 if lines:
                lines[line] = (lines[line][0], draw(_LITERALS))
            case 3 if lines:
                lines[line] = (draw(_KEYS), lines[line][1])
            case 4:
                lines.append((draw(_KEYS), draw(_LITERALS)))
            case 5 if lines:
                lines.append(lines[line])
            case 6:
                sections.append((head, list(lines)))
            case 7:
                other = draw(
                    st.one_of(_KEYS, st.sampled_from(["transforms", "model.inner", "training", "seed"]))
                )
                sections[place] = (
                    draw(st.sampled_from(["[{}]", "[[{}]]", "[[[{}]", "{} = 3"])).format(other),
                    lines,
                )
            case 8 if len(sections) > 1:
                del sections[place]
            case _ if lines:
                del lines[line]
    return text_of(sections)


@st.composite
def mutated_bytes(draw: st.DrawFn) -> bytes:
    """The bytes of a pipeline file, some of them others, gone, twice, or strange."""
    data = bytearray(text_of(BASE).encode())
    for _ in range(draw(st.integers(1, 4))):
        begin = draw(st.integers(0, len(data)))
        end = min(len(data), begin + draw(st.integers(0, 20)))
        match draw(st.integers(0, 4)):
            case 0:
                data[begin:end] = draw(st.binary(max_size=20))
            case 1:
                del data[begin:end]
            case 2:
                data[begin:begin] = data[begin:end] * draw(st.integers(1, 3))
            case 3 if begin < len(data):
                data[begin] ^= 1 << draw(st.integers(0, 7))
            case _:
                data = data[:begin]
    return bytes(data)


@st.composite
def overrides(draw: st.DrawFn) -> str:
    """What may stand after `--set`: a key that is there, nearly there or nowhere, and any value."""
    names = [
        f"{head.strip('[]')}{'.' + str(number) if head == '[[transforms]]' else ''}.{key}".strip(".")
        for number, (head, lines) in enumerate(BASE)
        for key, _ in lines
    ]
    key = draw(
        st.one_of(
            st.sampled_from([*names, *SECTIONS, "transforms.0", "transforms.1.pixels"]),
            _KEYS,
            st.builds(lambda one, two: f"{one}.{two}", st.sampled_from(SECTIONS), _KEYS),
            st.sampled_from(
                ["transforms.-1.use", "transforms.²", f"transforms.{'9' * 5000}.use", ".", "a..b"]
            ),
        )
    )
    value = draw(st.one_of(_LITERALS, _TEXTS, st.sampled_from(["1\nb = 2", "{}\n[x]", "\udcff", "a\udcffb"])))
    return f"{key}{draw(st.sampled_from(['=', '=', '=', '=', ' = ', '', '==']))}{value}"


@dataclass
class Outcome:
    """What became of one: sound, or refused with a line."""

    line: str = ""


def judged(make: Callable[[], Pipeline]) -> Outcome:
    """Do what `birdplane train` does with a pipeline before it trains; whatever else is raised is a traceback."""
    try:
        pipeline = make()
        pipeline.require_sound()
    except BirdplaneError as error:
        return Outcome(str(error))
    again = Pipeline.from_toml(pipeline.to_toml())
    assert again.complete() == pipeline.complete()
    return Outcome()


def harmless(text: str) -> bool:
    """Whether a text is one line that does nothing to a terminal."""
    return not any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in text)


def cleaned(key: str) -> str:
    return "".join(character if harmless(character) else " " for character in key)


def check_line(line: str, source: str, names: set[str]) -> None:
    """Check that a message is a line for people that says where."""
    assert harmless(line), ascii(line)
    assert len(line) <= LONGEST
    where, _, rest = line.removeprefix(f"{source}: ").partition(": ")
    assert line.startswith(f"{source}: "), line
    if where == "not valid TOML" or where.startswith("not a text file in UTF-8"):
        assert re.search(r"\(at (line \d+|end of document)", line), line
        return
    assert rest, line
    # Anything else names the key, or the section that is missing.
    assert any(where.startswith(name) for name in names), (line, sorted(names)[:20])


def keys_of(text: str) -> set[str]:
    """Return the beginnings that the key of a message may have: what the file has at its top, and what it lacks."""
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError):
        return {*SECTIONS, "seed"}
    return {*SECTIONS, "seed", *(cleaned(key)[:200] for key in document)}


def many(count: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return settings(
        max_examples=count,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


def of_a_structure(folder: Path, text: str) -> Outcome:
    path = folder / "p.toml"
    path.write_text(text, encoding="utf-8")
    outcome = judged(lambda: Pipeline.load(path))
    if outcome.line:
        check_line(outcome.line, str(path), keys_of(text))
    return outcome


def of_bytes(folder: Path, data: bytes) -> Outcome:
    path = folder / "p.toml"
    path.write_bytes(data)
    outcome = judged(lambda: Pipeline.load(path))
    if outcome.line:
        check_line(outcome.line, str(path), keys_of(data.decode("utf-8", "replace")))
    return outcome


def of_an_override(assignment: str) -> Outcome:
    base = Pipeline.from_toml(text_of(BASE), "p.toml")
    outcome = judged(lambda: base.override([assignment]))
    if outcome.line:
        assert harmless(outcome.line), ascii(outcome.line)
        assert len(outcome.line) <= LONGEST
        # The key as it was given; or, where that exists, as the pipeline has it.
        given_key = assignment.partition("=")[0]
        shown = cleaned(given_key.strip())[:100]
        section = re.match(r"[a-z]*", shown)[0]  # type: ignore[index]
        assert outcome.line.startswith(
            (f"--set {shown}"[:100], f"p.toml: {section}", "p.toml: output.use")
        ), outcome.line
    return outcome


PLACES = [(place, line) for place, (_, lines) in enumerate(BASE) for line in range(len(lines))]


@pytest.mark.parametrize(("place", "line"), PLACES, ids=lambda value: str(value))
def test_an_odd_value_is_taken_or_told_of_with_its_very_key_or_line(place: int, line: int) -> None:
    head, lines = BASE[place]
    key = lines[line][0]
    before = text_of(BASE[:place]).count("\n") + 1 if place else 0
    number = before + 1 + line + 1
    section = head.strip("[]")
    number_of_its_kind = sum(other == head for other, _ in BASE[:place])
    path = ".".join(filter(None, [section, str(number_of_its_kind) if head.startswith("[[") else "", key]))
    for odd in ODD:
        changed = [*lines[:line], (key, odd), *lines[line + 1 :]]
        outcome = judged(
            lambda changed=changed: Pipeline.from_toml(  # type: ignore[misc]
                text_of([*BASE[:place], (head, changed), *BASE[place + 1 :]]), "p.toml"
            )
        )
        if outcome.line.startswith("p.toml: not valid TOML: "):
            found = re.search(r"\(at (?:line (\d+)|(end of document))", outcome.line)
            # What is not closed is missed later, at the latest at the end.
            assert found, outcome.line
            assert found[2] or int(found[1]) in (number, number + 1), (odd[:20], outcome.line, number)
        elif outcome.line:
            assert outcome.line.startswith(f"p.toml: {path}"), (odd[:20], outcome.line)
            check_line(outcome.line, "p.toml", {path})


class TestEveryDay:
    """Some hundreds, the same ones each time."""

    @many(250)
    @given(text=mutated_structures())
    def test_a_changed_file_is_sound_or_told_of_in_one_line_with_its_key(
        self, folder: Path, text: str
    ) -> None:
        of_a_structure(folder, text)

    @many(150)
    @given(data=mutated_bytes())
    def test_a_file_with_other_bytes_is_sound_or_told_of_with_its_place(
        self, folder: Path, data: bytes
    ) -> None:
        of_bytes(folder, data)

    @many(200)
    @given(assignment=overrides())
    def test_an_override_is_taken_or_told_of_with_its_key(self, assignment: str) -> None:
        of_an_override(assignment)


class TestCommands:
    """The same through the command itself: exit code 2, one line on stderr, nothing made."""

    @pytest.fixture
    def birdplane(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> Callable[..., tuple[int, list[str]]]:
        monkeypatch.setenv(DISABLE_VARIABLE, "*")
        monkeypatch.chdir(tmp_path)

        def run(*arguments: str) -> tuple[int, list[str]]:
            monkeypatch.setattr(sys, "argv", ["birdplane", *arguments])
            with pytest.raises(SystemExit) as left:
                main()
            return int(left.value.code or 0), capsys.readouterr().err.splitlines()

        return run

    @pytest.mark.parametrize(
        "odd", [odd for odd in ODD if odd not in ("0", "-0.0", "0b1", "1_000", "5e-324", "#")]
    )
    def test_an_odd_value_ends_train_with_one_line(
        self, birdplane: Callable[..., tuple[int, list[str]]], tmp_path: Path, odd: str
    ) -> None:
        (tmp_path / "p.toml").write_text(
            text_of(BASE).replace("momentum = 0.9", f"momentum = {odd}"), encoding="utf-8"
        )
        code, lines = birdplane("train", "p.toml")
        assert code == 2, lines
        (line,) = lines
        assert line.startswith(("error: p.toml: optimizer", "error: p.toml: not valid TOML: ")), line
        assert harmless(line)
        assert not (tmp_path / "runs").exists()

    @pytest.mark.parametrize(
        "assignment",
        [
            *(
                "model.hidden=[[8]]",
                "seed=\udcff",
                "optimizer.lr=" + "[" * 2000,
                "\x1b[31m.a=1",
                "a" * (1 << 20),
            ),
            *(
                "training.epochs=" + "9" * 5000,
                "transforms." + "9" * 5000 + ".use=x",
                "model.use=" + "x" * (1 << 20),
            ),
            *("dataset.size=1e999", "training.holdout=nan", "training.device=\x00", "loss.use=\x1b[1mnll"),
            *("output.use=[]", "=", "", "dataset={}"),
        ],
        ids=lambda text: ascii(text[:20]),
    )
    def test_an_odd_override_ends_check_with_one_line(
        self, birdplane: Callable[..., tuple[int, list[str]]], tmp_path: Path, assignment: str
    ) -> None:
        (tmp_path / "p.toml").write_text(text_of(BASE), encoding="utf-8")
        code, lines = birdplane("check", "p.toml", "--set", assignment)
        assert code == 2, lines
        (line,) = lines
        assert line.startswith("error: ")
        assert harmless(line)
        assert len(line) < LONGEST

    def test_a_file_that_never_ends_is_not_read_to_its_end(
        self, birdplane: Callable[..., tuple[int, list[str]]], tmp_path: Path
    ) -> None:
        (tmp_path / "p.toml").symlink_to("/dev/zero")
        code, (line,) = birdplane("check", "p.toml")
        assert (code, line) == (2, "error: p.toml: cannot be read: it has more than 16.8 MB")


def legal_names() -> Iterator[tuple[str, list[str], Callable[[str], Pipeline | str]]]:
    """Yield each set of names to choose from, and a function that has one of them misspelled where it stands."""
    base = Pipeline.from_toml(text_of(BASE), "p.toml")

    def changed(section: str, table: Any) -> Pipeline:
        return Pipeline({**base.document, section: table}, "p.toml")

    yield "sections", [*SECTIONS, "seed"], lambda word: Pipeline({**base.document, word: {}}, "p.toml")
    yield "output layers", list(OUTPUT_LAYERS), lambda word: changed("output", {"use": word})
    yield "recipes", catalog()["recipe"].names(), lambda word: _raised(lambda: Pipeline.load(word))
    yield from _parameters("training", training_signature(), lambda table: changed("training", table))
    for kind in ("dataset", "transform", "model", "loss", "optimizer", "schedule"):
        put = (
            (lambda table: changed("transforms", [table]))
            if kind == "transform"
            else (lambda table, kind=kind: changed(kind, table))
        )
        yield kind, catalog()[kind].names(), lambda word, put=put: put({"use": word})
        for name in catalog()[kind].names():
            yield from _parameters(
                name,
                catalog()[kind].signature(name),
                lambda table, put=put, name=name: put({"use": name, **table}),
            )


def _parameters(
    name: str, signature: Signature, put: Callable[[dict[str, Any]], Pipeline]
) -> Iterator[tuple[str, list[str], Callable[[str], Pipeline | str]]]:
    if signature.parameters:
        yield f"{name}'s parameters", list(signature.parameters), lambda word: put({word: 1})
    for parameter in signature.parameters.values():
        choices = [choice for choice in parameter.choices if isinstance(choice, str)]
        if choices:
            yield f"{name}.{parameter.name}", choices, lambda word, key=parameter.name: put({key: word})


def _raised(act: Callable[[], Any]) -> str:
    with pytest.raises(BirdplaneError) as caught:
        act()
    return str(caught.value)


def slip(chance: random.Random, word: str) -> str:
    """Return the word with one letter changed, left out, put in or swapped with the next."""
    at = chance.randrange(len(word))
    letter = chance.choice(string.ascii_lowercase)
    return chance.choice(
        [word[:at] + letter + word[at + 1 :], word[:at] + word[at + 1 :], word[:at] + letter + word[at:],
         word[:at] + word[at + 1 : at + 2] + word[at] + word[at + 2 :]]
    ) or word  # fmt: skip


def share_that_is_answered(each: int) -> dict[int, tuple[int, int]]:
    """Return by the number of slips how many misspellings of legal names there were, and how many the message of
    the pipeline answered with the name that was meant. Names of all lengths count alike; none is left out."""
    chance, counts = random.Random(5), {1: [0, 0], 2: [0, 0]}
    for _, names, told in legal_names():
        for name in names:
            for slips in (1, 2):
                for _ in range(each):
                    word = name
                    for _ in range(slips):
                        word = slip(chance, word)
                    if word in names or word.replace("_", "-") in names:
                        continue
                    answer = told(word)
                    text = answer if isinstance(answer, str) else " ".join(map(str, answer.problems()))
                    counts[slips][0] += 1
                    counts[slips][1] += f"did you mean {name!r}?" in text
    return {slips: (total, right) for slips, (total, right) in counts.items()}


def test_95_percent_of_misspellings_within_two_letters_are_answered_with_what_was_meant() -> None:
    _judge_spelling(3)


@pytest.mark.long
def test_the_share_of_misspellings_that_are_answered_over_many() -> None:
    _judge_spelling(40)


def _judge_spelling(each: int) -> None:
    counts = share_that_is_answered(each)
    total, right = (sum(column) for column in zip(*counts.values(), strict=True))
    print(
        f"misspellings: {right} of {total} = {right / total:.2%}",
        {n: f"{r / t:.2%}" for n, (t, r) in counts.items()},
    )
    assert right / total >= 0.95
    assert counts[1][1] / counts[1][0] >= 0.97


def test_what_is_far_longer_than_any_name_is_answered_at_once_with_nothing() -> None:
    assert nearest("x" * (1 << 20), ["x"]) == ""


@pytest.mark.long
class TestTenThousand:
    @many(5000)
    @given(text=mutated_structures())
    def test_changed_files(self, folder: Path, text: str) -> None:
        of_a_structure(folder, text)

    @many(2000)
    @given(data=mutated_bytes())
    def test_files_with_other_bytes(self, folder: Path, data: bytes) -> None:
        of_bytes(folder, data)

    @many(3000)
    @given(assignment=overrides())
    def test_overrides(self, assignment: str) -> None:
        of_an_override(assignment)
