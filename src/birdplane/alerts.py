"""Sentences about a run's curves: what a teacher looking over the shoulder would say."""

from __future__ import annotations

from birdplane.events import Epoch

#: Epochs in a row that a judgement needs, so that noise is not taken for a trend.
_PATIENCE = 4
_SPIKE = 3.0


class Watcher:
    """Judges epochs as they come. Fed the same epochs, it says the same, so there is no state to save."""

    def __init__(self) -> None:
        self._best: Epoch | None = None
        self._previous: Epoch | None = None
        self._rising = 0
        self._told: set[str] = set()

    def judge(self, epoch: Epoch) -> list[tuple[str, str]]:
        """Return (kind, sentence) for what is to be said after this epoch; each kind is told once a run."""
        found = [*self._overfitting(epoch), *self._spike(epoch)]
        self._previous = epoch
        new = [(kind, sentence) for kind, sentence in found if kind not in self._told]
        self._told.update(kind for kind, _ in new)
        return new

    def _overfitting(self, epoch: Epoch) -> list[tuple[str, str]]:
        loss, best = epoch.validation_loss, self._best
        if loss is None:
            return []
        if best is None or best.validation_loss is None or loss < best.validation_loss:
            self._best, self._rising = epoch, 0
            return []
        self._rising += epoch.train_loss < best.train_loss
        if self._rising < _PATIENCE or loss < 1.05 * best.validation_loss:
            return []
        return [
            (
                "overfitting",
                f"overfitting: since epoch {best.epoch} the validation loss has risen from "
                f"{best.validation_loss:.3f} to {loss:.3f} while the training loss fell from "
                f"{best.train_loss:.3f} to {epoch.train_loss:.3f}; more data, augmentation (random-flip, "
                "random-shift), weight decay, a smaller model or fewer epochs would help",
            )
        ]

    def _spike(self, epoch: Epoch) -> list[tuple[str, str]]:
        previous = self._previous
        if previous is None or epoch.train_loss < _SPIKE * previous.train_loss or epoch.train_loss < 0.1:
            return []
        return [
            (
                "spike",
                f"the training loss jumped from {previous.train_loss:.3f} to {epoch.train_loss:.3f} within an "
                "epoch; a lower learning rate is steadier",
            )
        ]
