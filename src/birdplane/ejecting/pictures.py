"""Datasets that a script imports: their items as arrays."""

from __future__ import annotations

from dataclasses import replace

from birdplane.data import Splits
from birdplane.ejecting.parts import Part

_WHOLE = '''
def load(SPLIT):
    """Return pictures, uint8 (N, C, H, W), and their labels."""
    dataset = MADE
    indices = np.arange(len(dataset))
    return torch.from_numpy(dataset.images(indices)), torch.as_tensor(dataset.labels(indices)).long()
'''
_ITEMS = '''
def load(SPLIT):
    """Return pictures, uint8 (N, C, H, W), and their labels."""
    dataset = MADE
    items = [dataset[index] for index in range(len(dataset))]
    labels = torch.tensor([int(label) for _, label in items])
    return torch.stack([PICTURE for image, _ in items]), labels
'''
_OF_PIL = 'pil_to_tensor(image.convert("MODE"))'


def foreign_load(part: Part, splits: Splits, *, knows_split: bool) -> Part:
    """Return a dataset that is imported with a function that loads it."""
    dataset = splits.train.dataset
    imports = {*part.plain.imports}
    code = _ITEMS
    if hasattr(dataset, "images") and hasattr(dataset, "labels"):
        code = _WHOLE
    elif hasattr(dataset[0][0], "convert"):
        code = code.replace("PICTURE", _OF_PIL.replace("MODE", "L" if splits.train.shape[0] == 1 else "RGB"))
        imports.add("from torchvision.transforms.v2.functional import pil_to_tensor")
    else:
        code = code.replace("PICTURE", "torch.as_tensor(image)")
    code = code.replace("MADE", part.plain.use.replace("\n", "\n    "))
    code = code.replace("SPLIT", "split" if knows_split else "").strip()
    return replace(part, plain=replace(part.plain, use="load", code=code, imports=tuple(imports)))
