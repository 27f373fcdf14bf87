"""The loops that are compared: the book's, a tutorial's, those of the peers, one by hand, and birdplane's.

Each is a function that builds everything and returns a runner; a call of that trains one more epoch and
returns the seconds of the training part alone and the epoch's mean loss. All train the net 3072-512-2 (tanh,
log-softmax + NLL) on shuffled batches with SGD, on the same pictures, normalized by the same statistics.
"""

from __future__ import annotations

import importlib.util
import logging
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchvision import transforms

from birdplane.assembly import build_splits
from birdplane.events import Epoch
from birdplane.pipeline import Pipeline
from birdplane.training import train
from turns import Lap, Runner

BATCH = 64
HIDDEN = 512
RATE = 1e-2


@dataclass(frozen=True)
class Pictures:
    """The training split: uint8 and normalized, with the statistics of each channel; and the device to use."""

    pixels_NHWC: np.ndarray  # noqa: N815
    labels: list[int]
    mean: list[float]
    std: list[float]
    section: dict[str, Any]
    device: torch.device

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def transform(self) -> Callable[[Image.Image], Tensor]:
        return transforms.Compose([transforms.ToTensor(), transforms.Normalize(self.mean, self.std)])

    @cached_property
    def normalized(self) -> tuple[Tensor, Tensor]:
        """All pictures (N, 3, 32, 32) as the transform leaves them, and their labels."""
        images = torch.stack([self.transform(Image.fromarray(image)) for image in self.pixels_NHWC])
        return images, torch.tensor(self.labels)


def load(section: dict[str, Any], device: torch.device | str = "cpu") -> Pictures:
    """Return the training pictures of a dataset, and measure them."""
    kept = build_splits(Pipeline(document(section))).train
    images_NCHW, labels = kept.decode(range(len(kept)))
    shares = images_NCHW.astype(np.float64) / 255
    return Pictures(
        np.ascontiguousarray(images_NCHW.transpose(0, 2, 3, 1)),
        labels.tolist(),
        shares.mean(axis=(0, 2, 3)).tolist(),
        shares.std(axis=(0, 2, 3)).tolist(),
        section,
        torch.device(device),
    )


def document(section: dict[str, Any], **training: Any) -> dict[str, Any]:
    """Return birdplane's pipeline of the same net."""
    return {
        "seed": 0,
        "dataset": section,
        "transforms": [{"use": "to-tensor"}, {"use": "normalize"}],
        "model": {"use": "fully-connected", "hidden": [HIDDEN], "activation": "tanh"},
        "output": {"use": "log-softmax"},
        "loss": {"use": "nll"},
        "optimizer": {"use": "sgd", "lr": RATE},
        "training": {"batch_size": BATCH, **training},
    }


def net(pictures: Pictures) -> nn.Sequential:
    """Return the net that ends in log-softmax, with the weights of seed 0."""
    torch.manual_seed(0)
    inputs = pictures.pixels_NHWC[0].size
    layers = [nn.Flatten(), nn.Linear(inputs, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 2), nn.LogSoftmax(dim=1)]
    return nn.Sequential(*layers).to(pictures.device)


# What the loops read.


class _Transformed(Dataset[tuple[Tensor, int]]):
    """Pairs of a PIL image and a label, transformed at each access: the chapter's `transformed_cifar10`."""

    def __init__(self, pictures: Pictures) -> None:
        self._pairs = [
            (Image.fromarray(image), label)
            for image, label in zip(pictures.pixels_NHWC, pictures.labels, strict=True)
        ]
        self._transform = pictures.transform

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image, label = self._pairs[index]
        return self._transform(image), label


class _TorchvisionStyle(Dataset[tuple[Tensor, int]]):
    """As torchvision's CIFAR10: a uint8 array; an item becomes a PIL image and is then transformed."""

    def __init__(self, pictures: Pictures) -> None:
        self._data = pictures.pixels_NHWC
        self._targets = pictures.labels
        self._transform = pictures.transform

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._transform(Image.fromarray(self._data[index])), self._targets[index]


def _as_tensors(pictures: Pictures) -> Dataset[Any]:
    return TensorDataset(*pictures.normalized)


def _shuffled(dataset: Any) -> DataLoader[Any]:
    return DataLoader(dataset, batch_size=BATCH, shuffle=True)


# The loops.


def book(pictures: Pictures) -> Runner:
    """The chapter's loop, with the transforms run at every access."""
    return _plain_loop(pictures, _shuffled(_Transformed(pictures)))


def book_list(pictures: Pictures) -> Runner:
    """The chapter's loop over a list of (tensor, label), transformed once, as its `cifar2` is."""
    return _plain_loop(pictures, _shuffled(list(zip(pictures.normalized[0], pictures.labels, strict=True))))


def tutorial(pictures: Pictures) -> Runner:
    """The loop of the usual tutorial, over a torchvision-style dataset."""
    return _plain_loop(pictures, _shuffled(_TorchvisionStyle(pictures)))


def _plain_loop(pictures: Pictures, loader: DataLoader[Any]) -> Runner:
    model = net(pictures)
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    loss_fn = nn.NLLLoss()

    def epoch() -> Lap:
        losses = []
        with _Watch(pictures.device) as watch:
            for images, labels in loader:
                images, labels = images.to(pictures.device), labels.to(pictures.device)
                loss = loss_fn(model(images), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.detach())
        return Lap(watch.seconds, _mean(losses))

    return epoch


def by_hand(pictures: Pictures, precision: str = "float32") -> Runner:
    """A good loop written for this one net: resident normalized tensors, batches by index, fused SGD."""
    model = net(pictures)
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, fused=True)
    images_NCHW, labels_N = (tensor.to(pictures.device) for tensor in pictures.normalized)
    half = precision == "bfloat16"
    rows = images_NCHW.flatten(1).to(torch.bfloat16 if half else torch.float32)

    def epoch() -> Lap:
        losses = []
        with _Watch(pictures.device) as watch:
            for indices in torch.randperm(len(rows)).to(pictures.device).split(BATCH):
                with torch.autocast(pictures.device.type, torch.bfloat16, enabled=half):
                    outputs_NK = model(rows.index_select(0, indices))
                loss = functional.nll_loss(outputs_NK.float(), labels_N.index_select(0, indices))
                loss.backward()
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                losses.append(loss.detach())
        return Lap(watch.seconds, _mean(losses))

    return epoch


def birdplane(pictures: Pictures, precision: str = "float32") -> Runner:
    """birdplane itself: the iterator of events that its command line reads, and the seconds of its `epoch`."""
    settings = {
        "epochs": 10_000,
        "validate_every": 10_000,
        "device": str(pictures.device),
        "precision": precision,
    }
    events = iter(train(Pipeline(document(pictures.section, **settings))))

    def epoch() -> Lap:
        done = next(event for event in events if isinstance(event, Epoch))
        return Lap(done.train_seconds, done.train_loss)

    return epoch


def accuracy(section: dict[str, Any], precision: str, seed: int, epochs: int) -> float:
    """Return birdplane's accuracy on the test split after some epochs."""
    made = Pipeline({**document(section, epochs=epochs, precision=precision), "seed": seed})
    *_, last = (event for event in train(made) if isinstance(event, Epoch))
    assert last.validation_accuracy is not None
    return last.validation_accuracy


# The peers. Each is imported where it is used; its data is the tutorial's dataset, or tensors made before.


def _lightning(pictures: Pictures, tensors: bool = False) -> Runner:
    """Lightning, with all that writes and draws switched off. Each turn goes on for one epoch."""
    import lightning

    warnings.filterwarnings("ignore", module="lightning")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Classifier(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = net(pictures)
            self.losses: list[Tensor] = []

        def training_step(self, batch: Any, index: int) -> Tensor:
            images, labels = batch
            loss = functional.nll_loss(self.model(images), labels)
            self.losses.append(loss.detach())
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=RATE)

    class Clock(lightning.Callback):
        def on_train_epoch_start(self, *_: Any) -> None:
            self.watch = _Watch(pictures.device).__enter__()

        def on_train_epoch_end(self, *_: Any) -> None:
            self.watch.__exit__()

    clock, classifier = Clock(), Classifier()
    loader = _shuffled(_as_tensors(pictures) if tensors else _TorchvisionStyle(pictures))

    def epoch() -> Lap:
        classifier.losses.clear()
        trainer = lightning.Trainer(
            max_epochs=1,
            accelerator="gpu" if pictures.device.type == "cuda" else "cpu",
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[clock],
        )
        trainer.fit(classifier, loader)
        return Lap(clock.watch.seconds, _mean(classifier.losses))

    return epoch


def _skorch(pictures: Pictures, tensors: bool = False) -> Runner:
    """skorch, without a validation split and without the callback that prints. It times its epochs itself."""
    from skorch import NeuralNet

    estimator = NeuralNet(
        net(pictures),
        nn.NLLLoss,
        optimizer=torch.optim.SGD,
        lr=RATE,
        batch_size=BATCH,
        max_epochs=1,
        train_split=None,
        iterator_train__shuffle=True,
        callbacks__print_log=None,
        callbacks__valid_loss=None,
        device=str(pictures.device),
        verbose=0,
    )
    dataset = _as_tensors(pictures) if tensors else _TorchvisionStyle(pictures)
    estimator.initialize()

    def epoch() -> Lap:
        estimator.partial_fit(dataset, y=None)
        return Lap(estimator.history[-1, "dur"], estimator.history[-1, "train_loss"])

    return epoch


def _ignite(pictures: Pictures, tensors: bool = False) -> Runner:
    """ignite's supervised trainer, with nothing attached but the clock."""
    from ignite.engine import Events, create_supervised_trainer

    model = net(pictures)
    losses: list[Tensor] = []

    def keep(images: Any, labels: Any, outputs: Any, loss: Tensor) -> None:
        losses.append(loss.detach())

    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    trainer = create_supervised_trainer(
        model, optimizer, nn.NLLLoss(), device=pictures.device, output_transform=keep
    )
    loader = _shuffled(_as_tensors(pictures) if tensors else _TorchvisionStyle(pictures))
    watches: list[_Watch] = []
    trainer.add_event_handler(
        Events.EPOCH_STARTED, lambda: watches.append(_Watch(pictures.device).__enter__())
    )
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: watches[-1].__exit__())

    def epoch() -> Lap:
        losses.clear()
        trainer.run(loader, max_epochs=1)
        return Lap(watches[-1].seconds, _mean(losses))

    return epoch


PEERS: dict[str, Callable[..., Runner]] = {"lightning": _lightning, "skorch": _skorch, "ignite": _ignite}


def installed_peers() -> tuple[dict[str, Callable[..., Runner]], list[str]]:
    """Return the peers that are here, and the names of those that are not."""
    here = {name: build for name, build in PEERS.items() if importlib.util.find_spec(name)}
    return here, [name for name in PEERS if name not in here]


# The floor.


def products(pictures: Pictures, dtype: torch.dtype) -> Runner:
    """Return a runner of an epoch's matrix products and nothing else; its figure is their rate in GFLOP/s.

    A step has three kinds: outputs of the layer, slope of its weights, and, in the second layer, slope of its
    inputs. They are computed at the step's own shapes and memory layouts, into tensors that are there already.
    """
    inputs, device = pictures.pixels_NHWC[0].size, pictures.device
    steps = -(-len(pictures) // BATCH)

    def ones(*shape: int) -> Tensor:
        return torch.ones(shape, dtype=dtype, device=device)

    images, hidden, outputs = ones(BATCH, inputs), ones(BATCH, HIDDEN), ones(BATCH, 2)
    first, second = ones(HIDDEN, inputs), ones(2, HIDDEN)
    wanted = [
        (images, first.t(), ones(BATCH, HIDDEN)),
        (hidden, second.t(), ones(BATCH, 2)),
        (outputs.t(), hidden, ones(2, HIDDEN)),
        (outputs, second, ones(BATCH, HIDDEN)),
        (hidden.t(), images, ones(HIDDEN, inputs)),
    ]
    flop = sum(2 * len(left) * left.shape[1] * right.shape[1] for left, right, _ in wanted)

    def epoch() -> Lap:
        with _Watch(device) as watch, torch.no_grad():
            for _ in range(steps):
                for left, right, result in wanted:
                    torch.mm(left, right, out=result)
        # Of an epoch of exactly as many pictures as there are: the last batch is not a whole one.
        share = len(pictures) / (steps * BATCH)
        return Lap(watch.seconds * share, flop * steps / watch.seconds / 1e9)

    return epoch


def flop_of_an_epoch(pictures: Pictures) -> float:
    """Return the arithmetic of an epoch's matrix products, a product and a sum being two operations."""
    inputs = pictures.pixels_NHWC[0].size
    return float(len(pictures) * 2 * (2 * inputs * HIDDEN + 3 * HIDDEN * 2))


class _Watch:
    """Seconds between entering and leaving, with a GPU's work done."""

    seconds = 0.0

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def __enter__(self) -> _Watch:
        self._wait()
        self._began = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self._wait()
        self.seconds = time.perf_counter() - self._began

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def _mean(losses: Iterable[Tensor]) -> float:
    return float(torch.stack(list(losses)).mean())
