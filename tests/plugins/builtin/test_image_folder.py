from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from birdplane import reporting
from birdplane.errors import BirdplaneError, UsageError
from birdplane.pictures import BrokenPictureError, decode_picture
from birdplane_builtin.image_folder import ImageFolder

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def noise(*size: int, seed: int = 0) -> Image.Image:
    """A picture of random colours, `size` being width and height."""
    width, height = size or (32, 32)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def save(path: Path, picture: Image.Image | None = None, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (picture or noise(seed=sum(str(path.name).encode()))).save(path, **options)
    return path


def pets(root: Path, count: int = 10, folders: Sequence[str] = ("cat", "dog")) -> Path:
    for folder in folders:
        for number in range(count):
            save(root / folder / f"{number}.png")
    return root


def zipped(folder: Path, path: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, f"{prefix}{file.relative_to(folder).as_posix()}")
    return path


def both(path: Path, **parameters: object) -> tuple[ImageFolder, ImageFolder]:
    train, test = (ImageFolder(split=split, path=path, **parameters) for split in ("train", "test"))
    return train, test


def colour(picture: Image.Image, x: int, y: int, wanted: tuple[int, int, int]) -> bool:
    """Whether a pixel is about that colour: JPEG is not exact."""
    found = picture.getpixel((x, y))
    assert isinstance(found, tuple)
    return all(abs(a - b) < 12 for a, b in zip(found, wanted, strict=True))


class TestLayouts:
    def test_folders_are_classes_and_are_divided_by_the_fraction(self, tmp_path: Path) -> None:
        train, test = both(pets(tmp_path))
        assert train.classes == test.classes == ("cat", "dog")
        assert train.labels(range(len(train))).tolist() == [0] * 8 + [1] * 8
        assert test.labels(range(len(test))).tolist() == [0] * 2 + [1] * 2
        assert sorted(train.files + test.files) == sorted(
            f"{name}/{i}.png" for name in ("cat", "dog") for i in range(10)
        )

    def test_the_division_depends_on_the_seed_and_on_nothing_else(self, tmp_path: Path) -> None:
        root = pets(tmp_path / "pets")
        packed = zipped(root, tmp_path / "pets.zip", prefix="pets/")
        first = ImageFolder(split="test", path=root)
        assert first.files == ImageFolder(split="test", path=root).files
        assert [f"pets/{name}" for name in first.files] == list(ImageFolder(split="test", path=packed).files)
        assert first.files != ImageFolder(split="test", path=root, seed=1).files
        save(root / "cat" / "new.png")
        moved = set(first.files) ^ set(ImageFolder(split="test", path=root).files)
        assert len(moved) <= 2

    @pytest.mark.parametrize(("fraction", "tested"), [(0.01, 1), (0.5, 5), (0.99, 9)])
    def test_every_class_is_in_both_parts(self, tmp_path: Path, fraction: float, tested: int) -> None:
        train, test = both(pets(tmp_path), test_fraction=fraction)
        assert (len(train), len(test)) == (2 * (10 - tested), 2 * tested)

    @pytest.mark.parametrize("name", ["test", "Test", "val", "valid", "validation"])
    def test_train_and_test_folders_are_the_parts(self, tmp_path: Path, name: str) -> None:
        pets(tmp_path / "train", 3)
        pets(tmp_path / name, 1)
        train, test = both(tmp_path)
        assert (len(train), test.files) == (6, (f"{name}/cat/0.png", f"{name}/dog/0.png"))

    def test_train_may_be_a_class(self, tmp_path: Path) -> None:
        train, _ = both(pets(tmp_path, folders=("car", "train")))
        assert train.classes == ("car", "train")

    def test_a_train_folder_alone_is_told_with_the_way_to_divide_it(self, tmp_path: Path) -> None:
        pets(tmp_path / "train", 3)
        with pytest.raises(
            BirdplaneError, match=r"there is train/ but no test/.*give '.*train' as dataset\.path"
        ):
            both(tmp_path)
        assert len(both(tmp_path / "train")[0]) == 4

    def test_folders_inside_a_class_are_walked(self, tmp_path: Path) -> None:
        pets(tmp_path, 2)
        save(tmp_path / "cat" / "more" / "and" / "more.png")
        assert "cat/more/and/more.png" in sum((part.files for part in both(tmp_path)), ())

    @pytest.mark.parametrize("prefix", ["", "pets/", "downloads/pets/"])
    def test_a_zip_is_read_like_the_folder_it_was_packed_from(self, tmp_path: Path, prefix: str) -> None:
        root = pets(tmp_path / "pets")
        from_zip = ImageFolder(split="train", path=zipped(root, tmp_path / "any.zip", prefix))
        from_folder = ImageFolder(split="train", path=root)
        assert from_zip.classes == from_folder.classes
        indices = range(len(from_folder))
        assert np.array_equal(from_zip.images(indices), from_folder.images(indices))
        assert from_zip.files == tuple(prefix + name for name in from_folder.files)

    def test_hidden_files_and_files_that_are_no_pictures_are_left_out(self, tmp_path: Path) -> None:
        pets(tmp_path, 2)
        save(tmp_path / ".cache" / "a.png")
        save(tmp_path / "cat" / ".hidden.png")
        save(tmp_path / "__MACOSX" / "cat" / "a.png")
        (tmp_path / "cat" / "notes.txt").write_text("no picture")
        (tmp_path / "labels.csv").write_text("no picture")
        for path in (tmp_path, zipped(tmp_path, tmp_path.parent / "hidden.zip")):
            train, test = both(path)
            assert train.classes == ("cat", "dog")
            assert len(train) + len(test) == 4
            assert train.ignored == ("cat/notes.txt", "labels.csv")

    @pytest.mark.skipif(os.name == "nt", reason="links take a privilege there")
    def test_a_link_is_followed_inside_the_folder_and_not_out_of_it(self, tmp_path: Path) -> None:
        root = pets(tmp_path / "pets", 2)
        outside = save(tmp_path / "outside.png")
        (root / "cat" / "in.png").symlink_to(root / "dog" / "0.png")
        (root / "cat" / "out.png").symlink_to(outside)
        (root / "cat" / "nowhere.png").symlink_to("absent.png")
        (root / "cat" / "loop").symlink_to(root)
        (root / "cat" / "self.png").symlink_to("self.png")
        train, test = both(root)
        assert "cat/in.png" in train.files + test.files
        assert train.ignored == ("cat/loop", "cat/nowhere.png", "cat/out.png", "cat/self.png")

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="takes a system with named pipes")
    def test_a_pipe_is_left_out_and_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(pets(tmp_path, 2) / "cat" / "pipe.png")
        assert both(tmp_path)[0].ignored == ("cat/pipe.png",)


class TestClasses:
    def test_a_choice_of_classes_is_labelled_in_its_order(self, tmp_path: Path) -> None:
        train, _ = both(pets(tmp_path, folders=("ant", "bee", "cat")), classes=["cat", "ant"])
        assert train.classes == ("cat", "ant")
        assert train[0][1] == 0
        assert train.files[0].startswith("cat/")

    @pytest.mark.parametrize(
        ("classes", "message"),
        [
            (["cat", "dgo"], "no class 'dgo'; the classes are cat, dog; did you mean 'dog'"),
            (["cat", "cat"], "names 'cat' twice"),
            (["cat"], "at least two classes"),
            ([], "at least two classes"),
        ],
    )
    def test_a_wrong_choice_is_told(self, tmp_path: Path, classes: list[str], message: str) -> None:
        with pytest.raises(UsageError, match=message):
            both(pets(tmp_path), classes=classes)

    def test_one_class_or_none_is_told_with_what_was_found(self, tmp_path: Path) -> None:
        with pytest.raises(
            BirdplaneError, match="found no folder and 0 pictures; expected at least two folders"
        ):
            both(tmp_path)
        save(tmp_path / "loose.png")
        with pytest.raises(BirdplaneError, match="found no folder and 1 pictures; expected"):
            both(tmp_path)
        pets(tmp_path, 3, folders=("cat",))
        with pytest.raises(BirdplaneError, match="found one folder, 'cat', with 3 pictures; expected"):
            both(tmp_path)

    def test_a_class_without_a_picture_is_told_with_what_is_there_instead(self, tmp_path: Path) -> None:
        pets(tmp_path, 3)
        (tmp_path / "eel").mkdir()
        with pytest.raises(BirdplaneError, match=r"eel: the class folder has no picture; .*dataset\.classes"):
            both(tmp_path)
        (tmp_path / "eel" / "eel.txt").write_text("a long fish")
        with pytest.raises(BirdplaneError, match=r"has no picture \(left out: eel/eel\.txt\)"):
            both(tmp_path)
        assert both(tmp_path, classes=["cat", "dog"])[0].classes == ("cat", "dog")

    def test_a_class_with_one_picture_cannot_be_divided(self, tmp_path: Path) -> None:
        save(pets(tmp_path, 3) / "eel" / "only.png")
        with pytest.raises(BirdplaneError, match="eel: has one picture; to train and to test takes two"):
            both(tmp_path)

    def test_a_class_that_is_only_trained_or_only_tested_is_told(self, tmp_path: Path) -> None:
        pets(tmp_path / "train", 2, ("cat", "dog", "eel"))
        pets(tmp_path / "test", 2, ("cat", "dogs", "eel"))
        with pytest.raises(
            BirdplaneError,
            match=r"the class 'dog' is only in train/, but .* same classes; did you mean 'dogs'",
        ):
            both(tmp_path)
        assert len(both(tmp_path, classes=["cat", "eel"])[0]) == 4


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"path": "peets"}, "there is no folder or zip '.*peets'; did you mean 'pets'"),
        ({"path": "notes.txt"}, "is neither a folder nor a zip"),
        ({"split": "testing"}, "split is 'testing'; it is 'train' or 'test'; did you mean 'test'"),
        ({"on_error": "skipp"}, "on_error is 'skipp'; it is 'error' or 'skip'; did you mean 'skip'"),
        ({"size": 0}, "size is 0; it is at least 1"),
        ({"test_fraction": 1.0}, "test_fraction is 1.0; it is above 0 and below 1"),
    ],
)
def test_a_wrong_parameter_is_told(tmp_path: Path, parameters: dict[str, object], message: str) -> None:
    pets(tmp_path / "pets", 2)
    (tmp_path / "notes.txt").write_text("no zip")
    path = tmp_path / str(parameters.pop("path", "pets"))
    with pytest.raises(UsageError, match=message):
        ImageFolder(**{"split": "train", "path": path, **parameters})


def test_a_damaged_zip_is_told(tmp_path: Path) -> None:
    path = zipped(pets(tmp_path / "pets", 2), tmp_path / "pets.zip")
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(BirdplaneError, match=r"pets\.zip: the archive is cut short or damaged"):
        both(path)


class TestItems:
    def test_a_picture_is_rgb_of_the_size_with_its_label(self, tmp_path: Path) -> None:
        train, _ = both(pets(tmp_path), size=20)
        picture, label = train[-1]
        assert (picture.mode, picture.size, label, type(label)) == ("RGB", (20, 20), 1, int)

    def test_indices_are_those_of_a_list(self, tmp_path: Path) -> None:
        train, _ = both(pets(tmp_path))
        assert train[-1][0].tobytes() == train[len(train) - 1][0].tobytes()
        for outside in (len(train), -len(train) - 1):
            with pytest.raises(IndexError):
                train[outside]
            with pytest.raises(IndexError):
                train.images([outside])

    def test_a_batch_is_its_items(self, tmp_path: Path) -> None:
        train, _ = both(pets(tmp_path, 60), size=24)
        indices = np.random.default_rng(0).permutation(len(train))
        images, labels = train.images(indices), train.labels(indices)
        assert (images.dtype, images.shape, labels.dtype) == (np.uint8, (len(train), 3, 24, 24), np.int64)
        for row, index in enumerate(indices):
            picture, label = train[int(index)]
            assert np.array_equal(images[row], np.asarray(picture).transpose(2, 0, 1))
            assert labels[row] == label
        assert train.images([]).shape == (0, 3, 24, 24)

    @pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
    def test_a_dataset_works_in_other_processes(self, tmp_path: Path, packed: bool) -> None:
        root = pets(tmp_path / "pets", 50)
        train, _ = both(zipped(root, tmp_path / "pets.zip") if packed else root)
        expected = train.images(range(80))
        again = pickle.loads(pickle.dumps(train))
        assert np.array_equal(again.images(range(80)), expected)
        if "fork" in multiprocessing.get_all_start_methods():
            pipe, ours = multiprocessing.Pipe()
            worker = multiprocessing.get_context("fork").Process(
                target=lambda: ours.send(train.images(range(80)).tobytes())
            )
            worker.start()
            assert pipe.recv() == expected.tobytes()
            worker.join()

    def test_many_pictures_report_how_far_they_are(self, tmp_path: Path) -> None:
        train, _ = both(pets(tmp_path, 4))
        seen: list[tuple[str, int, int | None, str]] = []
        with reporting.listening(lambda *report: seen.append(report)):
            train.images([0] * 600)
            assert seen[0] == (f"decoding {tmp_path.name}", 0, 600, "pictures")
            assert seen[-1] == (f"decoding {tmp_path.name}", 600, 600, "pictures")
            seen.clear()
            train.images([0] * 64)
            assert seen == []


class TestDecoding:
    """One picture of every kind, at its own size unless the test is about resizing."""

    def decoded(
        self, tmp_path: Path, picture: Image.Image, name: str, size: int = 8, **options: object
    ) -> Image.Image:
        return decode_picture(save(tmp_path / name, picture, **options), (size, size))

    def test_a_picture_of_the_size_is_left_as_pillow_decodes_it(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.jpg", noise(32, 32), quality=90)
        with Image.open(path) as image:
            assert decode_picture(path, (32, 32)).tobytes() == image.tobytes()

    @pytest.mark.parametrize("size", [(64, 32), (32, 64)], ids=["wide", "tall"])
    def test_the_centre_square_is_kept_and_shapes_with_it(
        self, tmp_path: Path, size: tuple[int, int]
    ) -> None:
        picture = Image.new("RGB", size, RED)
        picture.paste(
            GREEN, tuple((side - 32) // 2 for side in size) + tuple((side + 32) // 2 for side in size)
        )
        found = self.decoded(tmp_path, picture, "a.png", size=16)
        assert found.getcolors() == [(256, GREEN)]

    def test_small_pictures_grow_and_large_ones_are_averaged(self, tmp_path: Path) -> None:
        assert self.decoded(tmp_path, Image.new("RGB", (2, 2), BLUE), "a.png").getcolors() == [(64, BLUE)]
        board = Image.fromarray(np.indices((256, 256)).sum(0).astype(np.uint8) % 2 * 255)
        grey = np.asarray(self.decoded(tmp_path, board, "b.png"))
        assert np.all(abs(grey.astype(int) - 127) <= 1)

    def test_a_large_jpeg_is_close_to_what_full_decoding_gives(self, tmp_path: Path) -> None:
        smooth = noise(16, 12).resize((1600, 1200), Image.Resampling.BICUBIC)
        path = save(tmp_path / "a.jpg", smooth, quality=95)
        square = smooth.crop((200, 0, 1400, 1200)).resize((32, 32), Image.Resampling.BILINEAR)
        difference = np.asarray(decode_picture(path, (32, 32))).astype(int) - np.asarray(square)
        assert abs(difference).mean() < 2

    @pytest.mark.parametrize("mode", ["1", "L", "P", "YCbCr", "CMYK"])
    def test_every_common_mode_becomes_rgb(self, tmp_path: Path, mode: str) -> None:
        picture = Image.new("RGB", (8, 8), WHITE).convert(mode)
        found = self.decoded(tmp_path, picture, "a.tif" if mode in ("YCbCr", "CMYK") else "a.png")
        assert (found.mode, found.getcolors()) == ("RGB", [(64, WHITE)])

    def test_a_cmyk_jpeg_keeps_its_colours(self, tmp_path: Path) -> None:
        found = self.decoded(tmp_path, Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "a.jpg", quality=95)
        assert colour(found, 4, 4, RED)

    @pytest.mark.parametrize(
        ("mode", "clear", "solid"), [("RGBA", (9, 9, 9, 0), (255, 0, 0, 255)), ("LA", (9, 0), (0, 255))]
    )
    def test_transparency_is_laid_over_white(
        self, tmp_path: Path, mode: str, clear: tuple[int, ...], solid: tuple[int, ...]
    ) -> None:
        picture = Image.new(mode, (8, 8), clear)
        picture.putpixel((0, 0), solid)
        found = self.decoded(tmp_path, picture, "a.png")
        assert found.getpixel((7, 7)) == WHITE
        assert found.getpixel((0, 0)) == (RED if mode == "RGBA" else (0, 0, 0))

    @pytest.mark.parametrize("name", ["a.png", "a.gif"])
    def test_a_transparent_palette_colour_is_white(self, tmp_path: Path, name: str) -> None:
        picture = Image.new("P", (8, 8), 0)
        picture.putpalette([*RED, *BLUE])
        picture.putpixel((0, 0), 1)
        found = self.decoded(tmp_path, picture, name, transparency=0)
        assert found.getpixel((7, 7)) == WHITE
        assert found.getpixel((0, 0)) == BLUE

    @pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
    def test_sixteen_bits_are_scaled_and_not_clipped(self, tmp_path: Path, name: str) -> None:
        values = np.zeros((8, 8), np.uint16)
        values[0, :4] = 256, 32_768, 65_278, 65_535
        found = self.decoded(tmp_path, Image.fromarray(values), name)
        assert [found.getpixel((x, 0)) for x in range(4)] == [(v, v, v) for v in (1, 128, 254, 255)]

    @pytest.mark.parametrize("kind", [np.float32, np.int32])
    def test_thirty_two_bits_are_refused_since_their_white_is_unknown(
        self, tmp_path: Path, kind: type
    ) -> None:
        path = save(tmp_path / "a.tif", Image.fromarray(np.full((8, 8), 70_000, kind)))
        with pytest.raises(BrokenPictureError, match=r"32 bits a pixel.*save it with 8 or 16"):
            decode_picture(path, (8, 8))

    def test_an_animation_is_its_first_frame(self, tmp_path: Path) -> None:
        frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN)]
        found = self.decoded(tmp_path, frames[0], "a.gif", save_all=True, append_images=frames[1:])
        assert found.getcolors() == [(64, RED)]

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_a_picture_is_turned_upright(self, tmp_path: Path, orientation: int) -> None:
        upright = Image.new("RGB", (32, 32), GREEN)
        upright.paste(RED, (0, 0, 16, 16))
        upright.paste(BLUE, (16, 0, 32, 16))
        turned = {
            1: None,
            2: Image.Transpose.FLIP_LEFT_RIGHT,
            3: Image.Transpose.ROTATE_180,
            4: Image.Transpose.FLIP_TOP_BOTTOM,
            5: Image.Transpose.TRANSPOSE,
            6: Image.Transpose.ROTATE_90,
            7: Image.Transpose.TRANSVERSE,
            8: Image.Transpose.ROTATE_270,
        }[orientation]
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = upright if turned is None else upright.transpose(turned)
        found = self.decoded(tmp_path, stored, "a.jpg", size=32, exif=exif, quality=95, subsampling=0)
        assert colour(found, 4, 4, RED)
        assert colour(found, 28, 4, BLUE)
        assert colour(found, 4, 28, GREEN)

    def test_damaged_metadata_does_not_matter(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.jpg", Image.new("RGB", (8, 8), RED), exif=b"Exif\0\0no metadata at all")
        assert colour(decode_picture(path, (8, 8)), 4, 4, RED)

    def test_a_program_in_disguise_is_not_run(self, tmp_path: Path) -> None:
        path = tmp_path / "a.png"
        path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n")
        with pytest.raises(BrokenPictureError, match="no picture format"):
            decode_picture(path, (8, 8))


def truncated() -> bytes:
    file = io.BytesIO()
    noise(64, 64).save(file, "JPEG", quality=95)
    return file.getvalue()[:-2000]


BROKEN = {"empty.png": b"", "text.jpg": b"this is a text", "torn.jpg": truncated()}


class TestBrokenPictures:
    @pytest.fixture(params=["folder", "zip"])
    def broken(self, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
        root = pets(tmp_path / "pets", 4)
        for name, content in BROKEN.items():
            (root / "cat" / name).write_bytes(content)
        return root if request.param == "folder" else zipped(root, tmp_path / "pets.zip")

    def test_they_are_left_out_and_named(self, broken: Path) -> None:
        train, test = both(broken, on_error="skip")
        assert len(train) + len(test) == 8
        skipped = dict(train.skipped + test.skipped)
        assert set(skipped) == {f"cat/{name}" for name in BROKEN}
        assert "no picture format" in skipped["cat/text.jpg"]
        assert "truncated" in skipped["cat/torn.jpg"]
        assert train.images(range(len(train))).shape[0] == len(train)

    @pytest.mark.parametrize("name", ["empty.png", "text.jpg"])
    def test_what_is_no_picture_is_told_at_once(self, tmp_path: Path, name: str) -> None:
        root = pets(tmp_path / "pets", 4)
        (root / "cat" / name).write_bytes(BROKEN[name])
        with pytest.raises(BirdplaneError) as caught:
            both(root)
        assert str(caught.value) == (
            f"{root / 'cat' / name}: is not a picture that can be used: no picture format is recognised in "
            'it; mend or remove it, or set dataset.on_error = "skip"'
        )

    def test_one_that_is_cut_short_is_told_when_it_is_decoded(self, tmp_path: Path) -> None:
        root = pets(tmp_path / "pets", 4)
        (root / "cat" / "torn.jpg").write_bytes(BROKEN["torn.jpg"])
        ds = next(part for part in both(root) if "cat/torn.jpg" in part.files)
        index = ds.files.index("cat/torn.jpg")
        for read in (lambda: ds[index], lambda: ds.images(range(len(ds)))):
            with pytest.raises(BirdplaneError, match=r"torn\.jpg: .*truncated.*on_error"):
                read()

    def test_a_damaged_member_of_a_zip_is_a_broken_picture(self, tmp_path: Path) -> None:
        path = zipped(pets(tmp_path / "pets", 20), tmp_path / "pets.zip")
        content = bytearray(path.read_bytes())
        content[content.index(b"IDAT") + 100] ^= 1
        path.write_bytes(content)
        train, test = both(path, on_error="skip")
        assert [name for name, _ in train.skipped + test.skipped] == ["cat/0.png"]

    def test_a_class_of_which_nothing_is_left_is_told(self, tmp_path: Path) -> None:
        root = pets(tmp_path / "pets", 2)
        for file in (root / "dog").iterdir():
            file.write_bytes(b"")
        with pytest.raises(BirdplaneError, match="every train picture of the class 'dog' is broken"):
            both(root, on_error="skip")

    @pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
    @pytest.mark.parametrize("factor", [1.5, 10])
    def test_a_decompression_bomb_is_refused(
        self, tmp_path: Path, factor: float, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 32 * 32)
        root = pets(tmp_path / "pets", 2)
        save(root / "cat" / "bomb.png", Image.new("RGB", (32, int(32 * factor))))
        with pytest.raises(BirdplaneError, match=r"bomb\.png: .*pixels"):
            both(root)

    def test_a_file_that_goes_away_is_told(self, tmp_path: Path) -> None:
        train, _ = both(pets(tmp_path / "pets", 4))
        shutil.rmtree(tmp_path / "pets")
        with pytest.raises(BirdplaneError, match="No such file"):
            train.images([0])


def test_parameters_are_readable_without_numpy_or_pillow() -> None:
    program = (
        "import inspect, sys; from birdplane_builtin.image_folder import ImageFolder; "
        "inspect.signature(ImageFolder, eval_str=True); "
        "print([name for name in ('numpy', 'PIL', 'torch') if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    found = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"


def test_the_real_pictures_are_what_pillow_makes_of_them(real_pictures: Path) -> None:
    test = ImageFolder(split="test", path=real_pictures, classes=["airplane", "bird"])
    assert len(test) == 1000
    images = test.images(range(1000))
    with zipfile.ZipFile(real_pictures) as archive:
        for index in range(0, 1000, 97):
            with Image.open(io.BytesIO(archive.read(test.files[index]))) as picture:
                assert np.array_equal(images[index], np.asarray(picture.convert("RGB")).transpose(2, 0, 1))
