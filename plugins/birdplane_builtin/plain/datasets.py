"""The datasets: the name of a function from `"train"` or `"test"` to pictures, uint8 (N, C, H, W), and labels."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from birdplane.errors import BirdplaneError
from birdplane.plain import WIDTH, Plain, literal

if TYPE_CHECKING:
    from birdplane_builtin.cifar import Cifar10
    from birdplane_builtin.image_folder import ImageFolder

_CIFAR = '''
def load(split):
    """Return pictures, uint8 (N, 3, 32, 32), and their labels: TOLD."""
    names = [f"data_batch_{number}.bin" for number in range(1, 6)] if split == "train" else ["test_batch.bin"]
    READ
    records = np.frombuffer(b"".join(files), np.uint8).reshape(-1, 3073)  # 1 byte of label, 3,072 of pixels
    rows, labels = np.nonzero(records[:, :1] == np.array(NUMBERS))
    return torch.from_numpy(records[rows, 1:].reshape(-1, 3, 32, 32)), torch.from_numpy(labels)
'''
_FROM_ARCHIVE = """with tarfile.open(ARCHIVE) as archive:
        files = [archive.extractfile(f"cifar-10-batches-bin/{name}").read() for name in names]"""
_FROM_FOLDER = "files = [Path(FOLDER, name).read_bytes() for name in names]"

_FROM_ARRAYS = '''
def load(split):
    """Return pictures, uint8 (N, 3, SIZE, SIZE), and their labels: TOLD."""
    with np.load(PICTURES) as arrays:
        return torch.from_numpy(arrays[f"{split}_images"]), torch.from_numpy(arrays[f"{split}_labels"])
'''

_FROM_FILES = '''
def decode(file):
    """Return a picture upright, in RGB, its centre square at SIZExSIZE: uint8 (3, SIZE, SIZE)."""
    with Image.open(file) as image:
        image.draft(None, (DRAFT, DRAFT))
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits a pixel
        image = Image.fromarray(((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8))
    if image.has_transparency_data or image.mode in ("La", "RGBa"):
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    image = image.convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    if image.size != (SIZE, SIZE):
        image = image.crop((left, top, left + side, top + side)).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def load(split):
    """Return pictures, uint8 (N, 3, SIZE, SIZE), and their labels: TOLD."""
    images, labels = [], []
    for label, folder in enumerate(CLASSES):
        files = (PICTURES / PLACE).rglob("*")
        names = sorted(file.relative_to(PICTURES).as_posix() for file in files)
        names = [name for name in names if name.lower().endswith(SUFFIXES) and "/." not in f"/{name}"]
        DIVIDED
        images += [decode(PICTURES / name) for name in names]
        labels += [label] * len(names)
    return torch.stack(images), torch.tensor(labels)
'''
_DIVIDED = """# Which are for testing is decided by their names, so that it is the same anywhere.
        ranked = sorted(names, key=lambda name: hashlib.sha256(f"SEED/{name}".encode()).digest())
        tested = ranked[: min(max(round(FRACTION * len(names)), 1), len(names) - 1)]
        names = [name for name in names if (name in tested) == (split == "test")]"""


def cifar(*, built: Mapping[str, Cifar10]) -> Plain:
    """Read from the archive, or the unpacked folder, that birdplane reads."""
    dataset = built["train"]
    packed = not dataset.place.is_dir()
    if packed and not dataset.place.is_file():
        raise BirdplaneError(f"the archive {dataset.place} is gone, which a script would read")
    folder = dataset.place / "cifar-10-batches-bin"
    place = folder if folder.is_dir() else dataset.place
    name = "ARCHIVE" if packed else "FOLDER"
    code = _CIFAR.strip().replace("READ", _FROM_ARCHIVE if packed else _FROM_FOLDER)
    code = code.replace("NUMBERS", literal(dataset.numbers)).replace("TOLD", _told(dataset.classes))
    return Plain(
        use="load",
        code=code,
        constants=f"{name} = {literal(str(place))}",
        imports=("import numpy as np", "import tarfile" if packed else "from pathlib import Path"),
    )


def sketches(*, built: Mapping[str, Any], name: str) -> Plain:
    """Drawing takes a thousand lines: the pictures are written beside the script."""
    return from_arrays(built, name, "drawn by birdplane, and written beside this file by `birdplane eject`")


def image_folder(*, built: Mapping[str, ImageFolder], name: str, test_fraction: float, seed: int) -> Plain:
    """Decode the files as birdplane does; what is in a zip or partly broken is written beside the script."""
    train = built["train"]
    if not train.path.is_dir() or any(dataset.skipped for dataset in built.values()):
        return from_arrays(built, name, f"decoded from {train.path.name}")
    suffixes = sorted({Path(file).suffix.lower() for dataset in built.values() for file in dataset.files})
    folders = train.folders
    code = _FROM_FILES.strip()
    given = {
        "        DIVIDED\n": "" if folders else f"        {_DIVIDED}\n",
        "PLACE": "(PARTS[split] + folder)" if folders else "folder",
        "SIZE": str(train.size),
        "DRAFT": str(2 * train.size),
        "SEED": str(seed),
        "FRACTION": literal(test_fraction),
        "TOLD": _told(train.classes),
    }
    for word, text in given.items():
        code = code.replace(word, text)
    constants = [f"PICTURES = Path({literal(str(train.path.resolve()))})", _listed("CLASSES", train.classes)]
    constants.append(f"SUFFIXES = {literal(tuple(suffixes))}")
    constants += [f"PARTS = {literal(folders)}"] if folders else []
    imports = ["import numpy as np", "from pathlib import Path", "from PIL import Image, ImageOps"]
    return Plain(
        use="load",
        code=code,
        constants="\n".join(constants),
        imports=[*imports, *([] if folders else ["import hashlib"])],
    )


def _listed(name: str, values: Sequence[str]) -> str:
    line = f"{name} = {literal(list(values))}"
    return (
        line
        if len(line) <= WIDTH
        else "\n".join([f"{name} = [", *(f"    {literal(v)}," for v in values), "]"])
    )


def from_arrays(built: Mapping[str, Any], name: str, origin: str) -> Plain:
    """Write the pictures into a file beside the script."""
    import numpy as np

    arrays = {}
    for split, dataset in built.items():
        indices = np.arange(len(dataset))
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = (
            dataset.images(indices),
            dataset.labels(indices),
        )
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays)
    train = built["train"]
    code = _FROM_ARRAYS.strip().replace("SIZE", str(train.size)).replace("TOLD", _told(train.classes))
    place = f'# {origin[0].upper()}{origin[1:]}.\nPICTURES = Path(__file__).with_name("{name}.npz")'
    return Plain(
        use="load",
        code=code,
        constants=place,
        imports=("import numpy as np", "from pathlib import Path"),
        files={f"{name}.npz": stream.getvalue()},
    )


def _told(classes: tuple[str, ...]) -> str:
    """Return what the labels mean, as part of a docstring."""
    names = [f"{label} {name}" for label, name in enumerate(classes)]
    text = ", ".join(names if len(names) <= 4 else [*names[:2], "...", names[-1]])
    plain = all(name.isprintable() and not set(name) & set('"\\') for name in names)
    return text if plain and len(text) <= 50 else f"0 to {len(names) - 1}"
