"""The transforms: statements that make `images` of `images`, with the generator `chance` where they are random."""

from __future__ import annotations

from birdplane.plain import Plain, call, literal

_MODES = {"zero": "constant", "edge": "replicate", "reflect": "reflect", "wrap": "circular"}
_FUNCTIONAL = "from torch.nn import functional"


def to_tensor() -> Plain:
    return Plain(use="images = images.float() / 255")


def normalize(*, mean: list[float], std: list[float]) -> Plain:
    def constant(name: str, values: list[float]) -> str:
        made = call("torch.tensor", literal(values), "device=DEVICE", before=7 + len(name))
        return f"{name} = {made}"

    shaped = "(images - mean.view(-1, 1, 1)) / std.view(-1, 1, 1)"
    lines = [constant("mean", mean), constant("std", std)]
    return Plain(use="\n".join([*lines, f"images = {shaped}"]))


def random_shift(*, pixels: int, fill: str, input_shape: tuple[int, int, int]) -> Plain:
    return _moved(pixels, fill, input_shape)


def random_crop(*, padding: int, fill: str, input_shape: tuple[int, int, int]) -> Plain:
    return _moved(padding, fill, input_shape)


def _moved(pixels: int, fill: str, input_shape: tuple[int, int, int]) -> Plain:
    _, height, width = input_shape
    if pixels == 0:
        return Plain(use="")
    padded = f'functional.pad(images, ({", ".join([str(pixels)] * 4)}), mode="{_MODES[fill]}")'
    lines = [
        f"places = torch.randint({2 * pixels + 1}, (2, len(images)), generator=chance, device=DEVICE)",
        f"places = zip({padded}, *places.tolist(), strict=True)",
        f"images = torch.stack([image[:, y : y + {height}, x : x + {width}] for image, y, x in places])",
    ]
    return Plain(use="\n".join(lines), imports=(_FUNCTIONAL,))


def random_flip(*, p: float) -> Plain:
    lines = [
        f"mirrored = torch.rand(len(images), generator=chance, device=DEVICE) < {literal(p)}",
        "images = torch.where(mirrored[:, None, None, None], images.flip(3), images)",
    ]
    return Plain(use="\n".join(lines))


def cutout(*, size: int, input_shape: tuple[int, int, int]) -> Plain:
    _, height, width = input_shape
    if size == 0:
        return Plain(use="")
    lines = [
        "# A square hole of zeros in each, around a pixel of its own.",
        f"side = torch.arange({size}, device=DEVICE) - {size // 2}",
        f"rows = torch.randint({height}, (len(images), 1), generator=chance, device=DEVICE) + side",
        f"columns = torch.randint({width}, (len(images), 1), generator=chance, device=DEVICE) + side",
        f"rows, columns = rows.clamp(0, {height - 1}), columns.clamp(0, {width - 1})",
        "each = torch.arange(len(images), device=DEVICE)[:, None, None]",
        "images = images.clone()",
        "images[each, :, rows[:, :, None], columns[:, None, :]] = 0",
    ]
    return Plain(use="\n".join(lines))


def color_jitter(*, brightness: float, contrast: float, saturation: float, hue: float) -> Plain:
    values = {"brightness": brightness, "contrast": contrast, "saturation": saturation, "hue": hue}
    return Plain(
        use=call("v2.ColorJitter", before=10, **values), imports=("from torchvision.transforms import v2",)
    )


def random_rotation(*, degrees: float, interpolation: str, fill: float) -> Plain:
    mode = f"interpolation=v2.InterpolationMode.{interpolation.upper()}"
    use = call("v2.RandomRotation", literal(degrees), mode, before=10, fill=fill)
    return Plain(use=use, imports=("from torchvision.transforms import v2",))
