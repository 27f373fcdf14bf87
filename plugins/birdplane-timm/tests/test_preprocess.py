"""`timm/preprocess` leaves what timm's own transform for evaluation leaves."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config

from birdplane import UsageError, transforms


def gradients(height: int, width: int) -> Image.Image:
    rows, columns = np.mgrid[0:height, 0:width]
    channels = (rows * 255 / height, columns * 255 / width, (rows + columns) * 255 / (height + width))
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))


@pytest.mark.parametrize(
    "model", ["resnet18", "vit_tiny_patch16_224", "beit_base_patch16_224", "inception_v3"]
)
@pytest.mark.parametrize("size", [(32, 32), (300, 300), (60, 90)])
def test_it_is_timms_transform_for_evaluation_but_for_rounding(model: str, size: tuple[int, int]) -> None:
    config = resolve_data_config({}, pretrained_cfg=timm.get_pretrained_cfg(model).to_dict())
    picture = gradients(*size)
    expected_CHW = create_transform(**config)(picture)
    images_NCHW = torch.from_numpy(np.asarray(picture).transpose(2, 0, 1).copy())[None]
    ours_NCHW = transforms.create("timm/preprocess", model=model)(images_NCHW)
    assert ours_NCHW.shape == (1, *expected_CHW.shape)
    levels = (ours_NCHW[0] - expected_CHW).abs() * torch.tensor(config["std"])[:, None, None] * 255
    assert levels.max() < 1.5  # Pillow rounds to whole levels, once in each direction


def test_bytes_and_floats_from_0_to_1_leave_the_same() -> None:
    images_NCHW = torch.from_numpy(np.asarray(gradients(32, 32)).transpose(2, 0, 1).copy())[None]
    preprocess = transforms.create("timm/preprocess", model="timm/resnet18", size=64)
    assert preprocess.input_size == (64, 64)
    assert torch.equal(preprocess(images_NCHW), preprocess(images_NCHW.float() / 255))
    assert preprocess(images_NCHW).shape == (1, 3, 64, 64)


def test_without_a_crop_all_of_the_picture_is_kept() -> None:
    picture = torch.zeros(1, 1, 64, 64)
    picture[..., 0] = 1  # a bright left edge; vgg11 is evaluated on seven eighths of a picture
    cut = transforms.create("timm/preprocess", model="vgg11", size=64)(picture)
    whole = transforms.create("timm/preprocess", model="vgg11", size=64, crop=False)(picture)
    assert whole.shape == cut.shape == (1, 1, 64, 64)
    assert whole[0, 0, :, 0].min() > cut[0, 0, :, 0].max() + 1


def test_a_model_that_is_none_is_told_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="timm has no model 'resnet_18'; did you mean 'resnet18'"):
        transforms.create("timm/preprocess", model="resnet_18")
