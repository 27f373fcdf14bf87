"""What a check is, how it ends, and the component that it looks at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

from birdplane.components import Registered
from birdplane.errors import BirdplaneError, described
from birdplane.params import Signature
from birdplane.registry import Catalog

Made = TypeVar("Made")


class CheckFailed(AssertionError):  # noqa: N818 - pytest shows it as it is
    """What a check found wrong: one line."""


class CheckSkipped(Exception):  # noqa: N818 - it is no error
    """Why a check could not be made here: one line."""


@dataclass(frozen=True)
class Check:
    """One named check of one thing. Called, it returns where all is well.

    Attributes:
        subject: what is looked at, such as `model:extras/tiny` or `plugin:extras`.
        name: such as `gradients-reach-every-parameter`.
        about: what must be true, in one sentence.

    Raises:
        CheckFailed: when called: what is wrong; whatever the component's own code raised is its cause.
        CheckSkipped: when called: why it cannot be told here.
    """

    subject: str
    name: str
    about: str
    look: Callable[[], None] = field(repr=False, compare=False)

    @property
    def id(self) -> str:
        """The name by which pytest shows it: `model:extras/tiny:gradients-reach-every-parameter`."""
        return f"{self.subject}:{self.name}"

    def __call__(self) -> None:
        try:
            self.look()
        except (CheckFailed, CheckSkipped):
            raise
        except BirdplaneError as error:
            raise CheckFailed(str(error)) from error
        except (Exception, SystemExit) as error:
            raise CheckFailed(described(error)) from error


def fail(reason: str) -> NoReturn:
    """End the check: the component is wrong."""
    raise CheckFailed(reason)


def skip(reason: str) -> NoReturn:
    """End the check: it cannot be told here."""
    raise CheckSkipped(reason)


def require(condition: bool, reason: str) -> None:
    """End the check as failed where something that must be true is not."""
    if not condition:
        fail(reason)


class Subject:
    """A component under its checks: how it is built, and what was built already.

    What is kept of one subject is dropped when another's turn comes: a zoo's models would fill the memory.

    Args:
        catalog: that it is listed in.
        kind: such as `"model"`.
        name: its full name.
        given: parameters for it, among them those that birdplane supplies otherwise, such as `input_shape`.
    """

    _latest: Subject | None = None

    def __init__(
        self, catalog: Catalog, kind: str, name: str, given: Mapping[str, Any] | None = None
    ) -> None:
        self.catalog = catalog
        self.registry = catalog[kind]
        self.name = name
        self.given = dict(given or {})
        self._made: dict[str, Any] = {}

    def __str__(self) -> str:
        return f"{self.registry.kind}:{self.name}"

    @property
    def entry(self) -> Registered:
        return self.registry.lookup(self.name)

    @property
    def record(self) -> Any:
        return self.entry.component

    @property
    def signature(self) -> Signature:
        """Its parameters.

        Raises:
            CheckSkipped: its target cannot be loaded, which another check tells.
            UsageError: the signature is of no use.
        """
        try:
            self.registry.target(self.name)
        except BirdplaneError as error:
            raise CheckSkipped("its target cannot be loaded: see the check target-resolves") from error
        return self.registry.signature(self.name)

    @property
    def wants(self) -> frozenset[str]:
        """Which of the arguments that birdplane supplies the target asks for."""
        try:
            return frozenset(self.signature.wants)
        except BirdplaneError:
            skip("its signature cannot be read: see the check takes-legal-parameters")

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters given for it that a user sets."""
        return {key: value for key, value in self.given.items() if key not in self.record.reserved}

    def kept(self, key: str, make: Callable[[], Made]) -> Made:
        """Return what `make` made when `key` was first asked for."""
        latest = Subject._latest
        if latest is not None and latest is not self:
            latest._made.clear()
        Subject._latest = self
        if key not in self._made:
            self._made[key] = make()
        made: Made = self._made[key]
        return made

    def create(self, **host: Any) -> Any:
        """Build it with the given parameters and what birdplane supplies.

        Raises:
            CheckSkipped: a parameter is required and not given.
            BirdplaneError: it refuses, or its target cannot be loaded.
        """
        lacking = [name for name, p in self.signature.parameters.items() if p.required]
        lacking = [name for name in lacking if name not in self.parameters]
        if lacking:
            skip(f"it needs {', '.join(lacking)}, and none was given to check with")
        return self.registry.create(self.name, **self.parameters, **host)

    def built(self, key: str = "", **host: Any) -> Any:
        """Return it built, the same object for the same `key`; for checks of what it does once it is built.

        Raises:
            CheckSkipped: it cannot be built, which another check tells.
        """
        try:
            made = self.kept(f"built {key}", lambda: self.create(**host))
        except CheckSkipped:
            raise
        except Exception as error:
            raise CheckSkipped(_NOT_BUILT) from error
        if self.registry.kind in _CALLED and not callable(made):
            skip(_NOT_BUILT)
        return made


_NOT_BUILT = "it cannot be built: see the check builds"
#: The kinds whose targets return functions.
_CALLED = ("transform", "loss", "schedule")
