"""Where pretrained weights come from: safetensors files alone.

timm itself takes a hub's `pytorch_model.bin`, a pickle, where there is no safetensors file, and so do its older
addresses. birdplane reads no pickle: the file is chosen and downloaded here, and timm is given its path.
"""

from __future__ import annotations

import logging
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
)
from timm.models import PretrainedCfg

from birdplane import BirdplaneError, UsageError
from birdplane.reporting import task

_SUFFIX = ".safetensors"
_MEND = "give its file by weights, or leave pretrained out"


def checked_file(path: Path) -> Path:
    """Return a file of weights that a person named.

    Raises:
        UsageError: it is not there, or is no safetensors file by its name.
    """
    if path.suffix != _SUFFIX:
        raise UsageError(
            f"weights: {str(path)!r} is no {_SUFFIX} file; birdplane reads no other, and no pickle"
        )
    if not path.is_file():
        raise UsageError(f"weights: there is no file {str(path)!r}")
    return path


def pretrained_file(name: str, config: PretrainedCfg) -> Path:
    """Return the safetensors file with timm's weights for a model, downloaded if it is not in the hub's cache.

    Raises:
        UsageError: timm offers none.
        BirdplaneError: it cannot be downloaded.
    """
    if not config.hf_hub_id:
        if config.has_weights:
            raise UsageError(
                f"pretrained: timm offers the weights of {name} as no {_SUFFIX} file, and birdplane reads no other"
            )
        raise UsageError(f"pretrained: timm offers no weights for {name}; leave pretrained out")
    repository, _, revision = config.hf_hub_id.partition("@")
    for file in _candidates(config.hf_hub_filename):
        path = _cached(repository, file, revision) or _downloaded(name, repository, file, revision)
        if path is not None:
            return path
    raise UsageError(
        f"pretrained: {repository} has no {_SUFFIX} file with the weights of {name}, and birdplane reads no other"
    )


def _candidates(filename: str | None) -> list[str]:
    """Return the safetensors files that stand for the one that timm names."""
    if not filename or filename == "pytorch_model.bin":
        return ["model.safetensors"]
    if filename == "open_clip_pytorch_model.bin":
        return ["open_clip_model.safetensors"]
    return [filename if filename.endswith(_SUFFIX) else filename.rpartition(".")[0] + _SUFFIX]


def _cached(repository: str, file: str, revision: str) -> Path | None:
    found = try_to_load_from_cache(repository, file, revision=revision or None)
    return Path(found) if isinstance(found, str) else None


def _downloaded(name: str, repository: str, file: str, revision: str) -> Path | None:
    """Download a file; None if the repository has none of that name."""
    _require_network(name)
    try:
        with task(f"downloading the weights of {name}"), _quiet():
            return Path(hf_hub_download(repository, file, revision=revision or None))
    except LocalEntryNotFoundError as error:
        raise _failed(name, str(error.__cause__ or error)) from error
    except EntryNotFoundError:
        return None
    except (HfHubHTTPError, HFValidationError, OSError, RuntimeError) as error:
        raise _failed(name, str(error)) from error


def _require_network(name: str) -> None:
    """Fail at once where the hub has no address: its own client tries for half a minute."""
    if constants.HF_HUB_OFFLINE:
        raise _failed(name, "HF_HUB_OFFLINE is set, and they are not in its cache")
    host = urlsplit(constants.ENDPOINT).hostname or ""
    if urllib.request.getproxies().keys() - {"no"}:  # then the proxy finds it
        return
    try:
        socket.getaddrinfo(host, None)
    except OSError as error:
        raise _failed(name, f"no address for {host} (no network?)") from error


def _failed(name: str, reason: str) -> BirdplaneError:
    reason = " ".join(reason.split())
    return BirdplaneError(f"pretrained: the weights of {name} cannot be downloaded: {reason[:200]}; {_MEND}")


@contextmanager
def _quiet() -> Iterator[None]:
    """The client logs each attempt; what matters is told by the error."""
    logger = logging.getLogger("huggingface_hub")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
