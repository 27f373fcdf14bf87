"""torchvision's classifiers and datasets as `torchvision/...`. Imports neither torch nor torchvision."""

from __future__ import annotations

from birdplane import Dataset, Family, Transform, hookimpl
from birdplane.components import Component

_DATASETS = {
    "mnist": "Mnist: handwritten digits, 28x28 grey: 60,000 to learn from, 10,000 to test on; 12 MB.",
    "fashion-mnist": "FashionMnist: ten kinds of clothes, 28x28 grey, 60,000 and 10,000; 31 MB.",
    "kmnist": "Kmnist: ten handwritten Japanese characters, 28x28 grey, 60,000 and 10,000; 21 MB.",
    "usps": "Usps: digits from envelopes, 16x16 grey, 7,291 and 2,007; 8 MB.",
    "svhn": "Svhn: house numbers, digit by digit, 32x32, 73,257 and 26,032; 246 MB; needs scipy.",
    "stl10": "Stl10: ten classes, 96x96, 5,000 and 8,000; 2.6 GB.",
    "eurosat": "EuroSat: ten kinds of land from a satellite, 64x64, 27,000; 94 MB.",
    "gtsrb": "Gtsrb: 43 German traffic signs, 26,640 and 12,630; 277 MB.",
    "flowers102": "Flowers102: 102 kinds of flowers, 1,020 and 6,149; 345 MB; needs scipy.",
    "oxford-pets": "OxfordPets: 37 breeds of cats and dogs, 3,680 and 3,669; 811 MB.",
    "dtd": "Dtd: 47 textures, 1,880 and 1,880; 625 MB.",
    "imagenette": "Imagenette: ten easy classes of ImageNet, 9,469 and 3,925; 99 MB at 160 pixels.",
    "fgvc-aircraft": "FgvcAircraft: 100 models of aircraft, 6,667 and 3,333; 2.8 GB.",
    "food101": "Food101: 101 dishes, 75,750 and 25,250; 5 GB.",
}


@hookimpl
def birdplane_components() -> list[Component | Family]:
    """The models, listed on demand, what goes before them, and the datasets."""
    datasets = (
        (name, *told.partition(": ")[::2])  # the class, and what it holds
        for name, told in _DATASETS.items()
    )
    return [
        *(
            Dataset(
                name=name,
                target=f"birdplane_torchvision.datasets:{target}",
                summary=summary[0].upper() + summary[1:],
            )
            for name, target, summary in datasets
        ),
        Family(
            kind="model", names="birdplane_torchvision.zoo:names", member="birdplane_torchvision.zoo:member"
        ),
        Transform(
            name="preprocess",
            target="birdplane_torchvision.preprocess:Preprocess",
            summary="Resizes and normalizes pictures as torchvision does for the weights of one of its models.",
        ),
    ]
