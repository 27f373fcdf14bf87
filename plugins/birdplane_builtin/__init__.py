"""birdplane's own components, brought by a plugin like anybody's. Imports no torch: targets are strings."""

from __future__ import annotations

from birdplane import Dataset, Loss, Model, Optimizer, Recipe, Schedule, Transform, hookimpl
from birdplane.components import Component

DATASETS = [
    Dataset(
        name="cifar10",
        target="birdplane_builtin.cifar:Cifar10",
        plain="birdplane_builtin.plain.datasets:cifar",
        summary="CIFAR-10: 60,000 pictures, 32x32, ten classes, or any subset of them.",
    ),
    Dataset(
        name="cifar2",
        target="birdplane_builtin.cifar:Cifar2",
        plain="birdplane_builtin.plain.datasets:cifar",
        summary="CIFAR-10's airplanes and birds: 10,000 pictures to learn from, 2,000 to test on.",
    ),
    Dataset(
        name="image-folder",
        target="birdplane_builtin.image_folder:ImageFolder",
        plain="birdplane_builtin.plain.datasets:image_folder",
        summary="Pictures of your own: a folder or a zip with one folder a class.",
    ),
    Dataset(
        name="sketches",
        target="birdplane_builtin.sketches:Sketches",
        plain="birdplane_builtin.plain.datasets:sketches",
        summary="Birds and airplanes drawn by birdplane, any number of them; no download.",
    ),
]

TRANSFORMS = [
    Transform(
        name="to-tensor",
        target="birdplane_builtin.transforms:ToTensor",
        plain="birdplane_builtin.plain.transforms:to_tensor",
        summary="uint8, 0 to 255, to float32, 0 to 1.",
    ),
    Transform(
        name="normalize",
        target="birdplane_builtin.transforms:Normalize",
        plain="birdplane_builtin.plain.transforms:normalize",
        summary="Each channel to mean 0 and standard deviation 1, measured or given.",
    ),
    Transform(
        name="random-shift",
        target="birdplane_builtin.transforms:RandomShift",
        plain="birdplane_builtin.plain.transforms:random_shift",
        summary="Moves each picture by a few pixels.",
        random=True,
    ),
    Transform(
        name="random-crop",
        target="birdplane_builtin.transforms:RandomCrop",
        plain="birdplane_builtin.plain.transforms:random_crop",
        summary="Pads each picture and cuts it back to its size somewhere else.",
        random=True,
    ),
    Transform(
        name="random-flip",
        target="birdplane_builtin.transforms:RandomFlip",
        plain="birdplane_builtin.plain.transforms:random_flip",
        summary="Mirrors some pictures, left to right.",
        random=True,
    ),
    Transform(
        name="cutout",
        target="birdplane_builtin.transforms:Cutout",
        plain="birdplane_builtin.plain.transforms:cutout",
        summary="Cuts a square hole into each picture.",
        random=True,
    ),
    Transform(
        name="color-jitter",
        target="birdplane_builtin.transforms:color_jitter",
        plain="birdplane_builtin.plain.transforms:color_jitter",
        summary="torchvision's: varies brightness, contrast, saturation and hue, picture by picture.",
        random=True,
        per_sample=True,
    ),
    Transform(
        name="random-rotation",
        target="birdplane_builtin.transforms:random_rotation",
        plain="birdplane_builtin.plain.transforms:random_rotation",
        summary="torchvision's: turns each picture by a few degrees, picture by picture.",
        random=True,
        per_sample=True,
    ),
]

MODELS = [
    Model(
        name="fully-connected",
        target="birdplane_builtin.models:fully_connected",
        plain="birdplane_builtin.plain.models:fully_connected",
        summary="Chapter 7's nets: every input meets every output.",
    ),
    Model(
        name="convolutional",
        target="birdplane_builtin.models:convolutional",
        plain="birdplane_builtin.plain.models:convolutional",
        summary="Chapter 8's net: two convolutions, two poolings, two linear layers.",
    ),
    Model(
        name="resnet",
        target="birdplane_builtin.models:resnet",
        plain="birdplane_builtin.plain.models:resnet",
        summary="A small residual net for 32x32 pictures, with batch norm.",
    ),
    Model(
        name="residual",
        target="birdplane_builtin.models:residual",
        plain="birdplane_builtin.plain.models:residual",
        summary="Chapter 8's very deep net: a hundred residual blocks of one convolution.",
    ),
    Model(
        name="swift",
        target="birdplane_builtin.models:swift",
        plain="birdplane_builtin.plain.models:swift",
        summary="Made for speed: learns cifar2 in seconds on a CPU.",
    ),
]

LOSSES = [
    Loss(
        name="nll",
        target="birdplane_builtin.losses:nll",
        plain="birdplane_builtin.plain.losses:nll",
        summary="Minus the log-probability of the right class.",
        accepts=("log-probabilities",),
    ),
    Loss(
        name="cross-entropy",
        target="birdplane_builtin.losses:cross_entropy",
        plain="birdplane_builtin.plain.losses:cross_entropy",
        summary="log-softmax and nll in one, with label smoothing if you like.",
        accepts=("logits",),
    ),
    Loss(
        name="mse",
        target="birdplane_builtin.losses:mse",
        plain="birdplane_builtin.plain.losses:mse",
        summary="Squared distance of the probabilities from the right answer; learns badly, and shows why.",
        accepts=("probabilities",),
    ),
]

OPTIMIZERS = [
    Optimizer(
        name="sgd",
        target="birdplane_builtin.optimizers:sgd",
        plain="birdplane_builtin.plain.optimizers:sgd",
        summary="Gradient descent on mini-batches, with momentum if you like.",
    ),
    Optimizer(
        name="adam",
        target="birdplane_builtin.optimizers:adam",
        plain="birdplane_builtin.plain.optimizers:adam",
        summary="Each weight at a pace of its own.",
    ),
    Optimizer(
        name="adamw",
        target="birdplane_builtin.optimizers:adamw",
        plain="birdplane_builtin.plain.optimizers:adamw",
        summary="adam with its weight decay kept apart from the slope.",
    ),
    Optimizer(
        name="muon",
        target="birdplane_builtin.optimizers:muon",
        plain="birdplane_builtin.plain.optimizers:muon",
        summary="Orthogonal steps for convolutions, gradient descent for the rest: quick on small nets.",
    ),
]

SCHEDULES = [
    Schedule(
        name="constant",
        target="birdplane_builtin.schedules:constant",
        plain="birdplane_builtin.plain.schedules:constant",
        summary="The same learning rate throughout, after a warm-up if you like.",
    ),
    Schedule(
        name="one-cycle",
        target="birdplane_builtin.schedules:one_cycle",
        plain="birdplane_builtin.plain.schedules:one_cycle",
        summary="A triangle: up in a line, then down in a line.",
    ),
    Schedule(
        name="cosine",
        target="birdplane_builtin.schedules:cosine",
        plain="birdplane_builtin.plain.schedules:cosine",
        summary="Half a cosine from the full rate down, after a warm-up if you like.",
    ),
]

RECIPES = [
    Recipe(
        name="demo",
        target="birdplane_builtin:recipes/demo.toml",
        summary="Sketches, no download, under a minute on two cores.",
    ),
    Recipe(
        name="book",
        target="birdplane_builtin:recipes/book.toml",
        summary="Chapter 7's first net, 3072-512-2, on cifar2.",
    ),
    Recipe(
        name="book-deep",
        target="birdplane_builtin:recipes/book-deep.toml",
        summary="Chapter 7's deeper net, 3072-1024-512-128-2, on cifar2.",
    ),
    Recipe(
        name="book-conv",
        target="birdplane_builtin:recipes/book-conv.toml",
        summary="Chapter 8's convolutional net on cifar2.",
    ),
    Recipe(
        name="fast",
        target="birdplane_builtin:recipes/fast.toml",
        summary="cifar2 to above 0.90 in the shortest time on a CPU.",
    ),
    Recipe(
        name="best",
        target="birdplane_builtin:recipes/best.toml",
        summary="cifar2, the best accuracy in the time that book-conv takes.",
    ),
]


@hookimpl
def birdplane_components() -> list[Component]:
    """Everything that birdplane itself brings."""
    return [*DATASETS, *TRANSFORMS, *MODELS, *LOSSES, *OPTIMIZERS, *SCHEDULES, *RECIPES]
