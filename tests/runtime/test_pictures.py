"""Pictures as inputs: bit for bit what Pillow and NumPy make of them."""

from __future__ import annotations

import ctypes
import struct
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.runtime import library, toy
from tvm_flow import targets
from tvm_flow.boards.emulate import emulator_command
from tvm_flow.ir.picture import PictureRecipe
from tvm_flow.runtime.pictures import read_picture
from tvm_flow.support.errors import UsageError

Array = library.Array
RGB, BGR, RGBA, BGRA, GRAY = range(5)
CHANNELS = {RGB: 3, BGR: 3, RGBA: 4, BGRA: 4, GRAY: 1}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGENET = PictureRecipe(256, 224, 224, MEAN, STD)
#: Width and height.
SIZES = [
    (1, 1), (3, 500), (500, 3), (640, 480), (480, 641), (1920, 1080), (224, 224), (256, 256),
    (257, 255), (100, 37), (33, 447),
]  # fmt: skip


def picture_toy(recipe: PictureRecipe, layout: str = "NCHW", channels: int = 3, **more: Any) -> Any:
    planes = (recipe.height, recipe.width)
    shape = (1, channels, *planes) if layout == "NCHW" else (1, *planes, channels)
    dtype = more.pop("dtype", "float32")
    return toy.copies((shape, dtype), layout=layout, pictures=((0, recipe),), **more)


def pixels(width: int, height: int, order: int = RGB, seed: int = 3) -> Array:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, CHANNELS[order]), np.uint8)


def set_picture(
    net: library.Instance, values: Array, order: int, stride: int = 0, size: Any = None
) -> Array:
    height, width = size or values.shape[:2]
    library.call(
        "tvmf_set_picture", net.handle, 0, values.ctypes.data, width, height, stride, order
    )
    return net.inputs[0].copy()


def as_pillow(values: Array, order: int) -> Image.Image:
    if order == GRAY:
        return Image.fromarray(values[:, :, 0])
    colors = values[:, :, [2, 1, 0] if order in (BGR, BGRA) else [0, 1, 2]]
    return Image.fromarray(np.ascontiguousarray(colors))


def cropped(picture: Image.Image, recipe: PictureRecipe) -> Array:
    width, height = recipe.width, recipe.height
    scale = recipe.resize / min(picture.width, picture.height)
    scale = max(scale, width / picture.width, height / picture.height)
    size = (max(width, round(picture.width * scale)), max(height, round(picture.height * scale)))
    left, top = round((size[0] - width) / 2), round((size[1] - height) / 2)
    # Pillow makes the whole resized picture; of a picture of 3 x 500 that is 10 megapixels
    resized = picture.resize(size, Image.Resampling.BILINEAR)
    return np.asarray(resized.crop((left, top, left + width, top + height)))


def reference(
    values: Array, order: int, recipe: PictureRecipe, layout: str = "NCHW", channels: int = 3
) -> Array:
    """The input as Pillow and NumPy compute it, in float32 throughout."""
    picture = as_pillow(values, order).convert("RGB" if channels == 3 else "L")
    plane = cropped(picture, recipe).reshape(recipe.height, recipe.width, channels)
    if recipe.order == "bgr":
        plane = plane[:, :, ::-1]
    scaled = plane.astype(np.float32)
    if recipe.range != 255:
        scaled = scaled / np.float32(255)
    if recipe.range not in (1, 255):
        scaled = scaled * np.float32(recipe.range)
    mean, std = np.array(recipe.mean, np.float32), np.array(recipe.std, np.float32)
    result = ((scaled - mean) / std)[None]
    return result.transpose(0, 3, 1, 2) if layout == "NCHW" else result


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.write(picture_toy(IMAGENET), tmp_path_factory.mktemp("pictures") / "imagenet")


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_equals_pillow(imagenet: Path, width: int, height: int) -> None:
    values = pixels(width, height)
    with library.open_bundle(imagenet) as net:
        result = set_picture(net, values, RGB)
    assert np.array_equal(result, reference(values, RGB, IMAGENET))


def test_one_instance_takes_pictures_of_any_size_in_turn(imagenet: Path) -> None:
    """What is kept from picture to picture is of that size and no other."""
    with library.open_bundle(imagenet) as net:
        sizes = [*SIZES[3:], (33, 448), (34, 448), *SIZES[3:]]
        for seed, (width, height) in enumerate(sizes):
            values = pixels(width, height, RGB, seed)
            wanted = reference(values, RGB, IMAGENET)
            assert np.array_equal(set_picture(net, values, RGB), wanted)
            assert np.array_equal(set_picture(net, values, RGB), wanted)


@pytest.mark.parametrize("order", [RGB, BGR, RGBA, BGRA, GRAY])
@pytest.mark.parametrize("gap", [0, 1, 64])
def test_orders_and_strides(imagenet: Path, order: int, gap: int) -> None:
    values = pixels(301, 203, order)
    row = values.shape[1] * CHANNELS[order]
    padded = np.full((203, row + gap), 77, np.uint8)
    padded[:, :row] = values.reshape(203, row)
    with library.open_bundle(imagenet) as net:
        result = set_picture(net, padded, order, padded.shape[1], (203, 301))
    assert np.array_equal(result, reference(values, order, IMAGENET))


@pytest.mark.parametrize("order", [RGB, BGR, BGRA, GRAY])
def test_gray_input(tmp_path: Path, order: int) -> None:
    recipe = PictureRecipe(32, 28, 28, (0.1307,), (0.3081,))
    values = pixels(90, 61, order)
    with library.open_bundle(toy.write(picture_toy(recipe, channels=1), tmp_path)) as net:
        result = set_picture(net, values, order)
    assert np.array_equal(result, reference(values, order, recipe, channels=1))


RECIPES = [
    PictureRecipe(64, 56, 48, MEAN, STD, order="bgr"),
    PictureRecipe(48, 48, 48, (123.675, 116.28, 103.53), (58.4, 57.1, 57.4), "bgr", 255.0),
    PictureRecipe(48, 48, 48, (0.5, 0.4, 0.3), (0.5, 0.6, 0.7), "rgb", 2.0),
    PictureRecipe(40, 80, 30, (0.0,) * 3, (1.0,) * 3),  # wider than the resized picture
    PictureRecipe(16, 16, 16, (0.0,) * 3, (1.0,) * 3),  # up to the picture's edges
    PictureRecipe(20, 48, 48, (0.0,) * 3, (1.0,) * 3),  # a crop larger than the resized side
]


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes(tmp_path: Path, recipe: PictureRecipe, layout: str) -> None:
    with library.open_bundle(toy.write(picture_toy(recipe, layout), tmp_path)) as net:
        for width, height in [(123, 77), (77, 123), (31, 31)]:
            values = pixels(width, height)
            result = set_picture(net, values, RGB)
            assert np.array_equal(result, reference(values, RGB, recipe, layout))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_uint8_inputs_take_the_values_as_they_are(tmp_path: Path, layout: str) -> None:
    recipe = PictureRecipe(40, 32, 36, MEAN, STD)
    values = pixels(97, 64)
    wanted = cropped(as_pillow(values, RGB), recipe)
    with library.open_bundle(
        toy.write(picture_toy(recipe, layout, dtype="uint8"), tmp_path)
    ) as net:
        result = set_picture(net, values, RGB)[0]
    assert np.array_equal(result, wanted.transpose(2, 0, 1) if layout == "NCHW" else wanted)


def test_the_other_input_takes_no_pictures(tmp_path: Path) -> None:
    recipe = PictureRecipe(8, 8, 8, MEAN, STD)
    tensors = ((1, 3, 8, 8), "float32"), ((1, 3, 8, 8), "float32")
    bundle = toy.write(toy.copies(*tensors, pictures=((1, recipe),)), tmp_path)
    values = pixels(9, 9)
    with library.open_bundle(bundle) as net:
        with pytest.raises(library.Refused, match=r"in0.*picture flags") as refused:
            set_picture(net, values, RGB)
        assert refused.value.status == library.USAGE
        library.call("tvmf_set_picture", net.handle, 1, values.ctypes.data, 9, 9, 0, RGB)
        assert np.array_equal(net.inputs[1], reference(values, RGB, recipe))
        assert not net.inputs[0].any()
        with pytest.raises(library.Refused, match="no input"):
            library.call("tvmf_set_picture", net.handle, 2, values.ctypes.data, 9, 9, 0, RGB)


@pytest.mark.parametrize(
    ("width", "height", "stride", "order", "sentence"),
    [
        (0, 9, 0, RGB, "sides of 1 to 65536"),
        (9, -1, 0, RGB, "sides of 1 to 65536"),
        (2**31 - 1, 9, 0, RGB, "sides of 1 to 65536"),
        (9, 70000, 0, RGB, "sides of 1 to 65536"),
        (9, 9, 26, RGB, "26 bytes apart do not fit"),
        (9, 9, 2**64 - 1, RGB, "do not fit"),
        (9, 9, 2**62, RGB, "do not fit"),
        (9, 9, 0, 5, "known order"),
        (9, 9, 0, -1, "known order"),
    ],
)
def test_impossible_pictures(
    imagenet: Path, width: int, height: int, stride: int, order: int, sentence: str
) -> None:
    values = pixels(9, 9)
    with library.open_bundle(imagenet) as net:
        with pytest.raises(library.Refused, match=sentence) as refused:
            set_picture(net, values, order, stride, (height, width))
        assert refused.value.status == library.USAGE
        with pytest.raises(library.Refused, match="no pixels"):
            library.call("tvmf_set_picture", net.handle, 0, None, 9, 9, 0, RGB)


@pytest.mark.parametrize(
    ("shape", "dtype", "layout"),
    [
        ((2, 3, 8, 8), "float32", "NCHW"),
        ((1, 2, 8, 8), "float32", "NCHW"),
        ((1, 3, 8, 9), "float32", "NCHW"),
        ((1, 3, 8, 8), "float32", "NHWC"),
        ((1, 3, 8, 8), "float32", "CHWN"),
        ((1, 3, 8, 8), "float64", "NCHW"),
        ((1, 3, 8, 8), "int8", "NCHW"),
        ((3, 8, 8), "float32", "NCHW"),
        ((), "float32", "NCHW"),
    ],
)
def test_inputs_that_are_no_picture(
    tmp_path: Path, shape: tuple[int, ...], dtype: str, layout: str
) -> None:
    recipe = PictureRecipe(8, 8, 8, MEAN, STD)
    made = toy.copies((shape, dtype), layout=layout, pictures=((0, recipe),))
    with (
        library.open_bundle(toy.write(made, tmp_path)) as net,
        pytest.raises(library.Refused, match="pictures do not fit the input in0"),
    ):
        set_picture(net, pixels(9, 9), RGB)


def test_a_busy_instance_is_refused(imagenet: Path) -> None:
    values = pixels(9, 9)
    with library.open_bundle(imagenet) as net:
        library.call("tvmf_start", net.handle)
        with pytest.raises(library.Refused, match="in use") as refused:
            set_picture(net, values, RGB)
        assert refused.value.status == library.BUSY
        library.call("tvmf_wait", net.handle)
        set_picture(net, values, RGB)


def test_pictures_at_the_end_of_memory(imagenet: Path) -> None:
    """Not a byte beyond the last pixel is read: the page after it may not be."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype, page = ctypes.c_void_p, 4096
    libc.mmap.argtypes = [
        ctypes.c_void_p,
        *[ctypes.c_size_t] * 2,
        *[ctypes.c_int] * 2,
        ctypes.c_long,
    ]
    libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    pages, readable, private_anonymous = 16 * page, 3, 0x22
    memory = libc.mmap(None, pages + page, readable, private_anonymous, -1, 0)
    assert libc.mprotect(memory + pages, page, 0) == 0
    with library.open_bundle(imagenet) as net:
        for order in (RGB, RGBA, GRAY):
            values = pixels(61, 47, order)
            start = memory + pages - values.nbytes
            ctypes.memmove(start, values.ctypes.data, values.nbytes)
            library.call("tvmf_set_picture", net.handle, 0, start, 61, 47, 0, order)
            assert np.array_equal(net.inputs[0], reference(values, order, IMAGENET))


@pytest.mark.system("emulate")
def test_the_same_bits_on_arm(tmp_path: Path) -> None:
    """Where compilers may fuse multiplications and additions, which rounds once less."""
    recipe = PictureRecipe(72, 64, 56, MEAN, STD, "bgr", 3.3)
    bundle = toy.write(picture_toy(recipe, "NHWC", arch="aarch64"), tmp_path / "toy")
    for width, height in [(123, 77), (31, 31), (500, 333)]:
        values, picture, result = pixels(width, height), tmp_path / "x.ppm", tmp_path / "y.npy"
        Image.fromarray(values).save(picture)
        command = [
            *emulator_command(targets.load("raspberry-pi-4")),
            library.runner("aarch64"),
            picture,
        ]
        command += ["--bundle", bundle, "--runs", "0", "--save", result]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=60)
        assert np.array_equal(np.load(result), reference(values, RGB, recipe, "NHWC"))


#: What NumPy makes upright of pixels that EXIF says this of.
UPRIGHT = {
    1: lambda p: p, 2: lambda p: p[:, ::-1], 3: lambda p: p[::-1, ::-1], 4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1), 6: lambda p: np.rot90(p, -1),
    7: lambda p: np.rot90(p, 2).swapaxes(0, 1), 8: np.rot90, 9: lambda p: p,
}  # fmt: skip


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["jpg", "png", "webp"])
def test_pictures_are_turned_as_exif_says(tmp_path: Path, orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned.{kind}"
    Image.fromarray(pixels(24, 16)).save(path, exif=exif)
    with Image.open(path) as plain:
        stored = np.asarray(plain.convert("RGB"))
        pillow = np.asarray(ImageOps.exif_transpose(plain).convert("RGB"))
    found = np.asarray(read_picture(str(path)))
    np.testing.assert_array_equal(found, UPRIGHT[orientation](stored))
    np.testing.assert_array_equal(found, pillow)


def test_exif_that_cannot_be_read_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    Image.fromarray(pixels(24, 16)).save(path, exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12")
    assert np.asarray(read_picture(str(path))).shape == (16, 24, 3)


def test_pictures_that_are_too_large_or_damaged(tmp_path: Path) -> None:
    """A PNG of 400 megapixels in a few bytes, and files that end or change somewhere."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc32(kind + data))

    head = struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0)
    large = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    (tmp_path / "large.png").write_bytes(large)
    with pytest.raises(UsageError, match=r"cannot read .*large\.png.*400000000 pixels"):
        read_picture(str(tmp_path / "large.png"))
    for kind in ("jpg", "png", "gif", "bmp", "tif", "webp"):
        path, rng = tmp_path / f"x.{kind}", np.random.default_rng(5)
        Image.fromarray(pixels(24, 16)).save(path)
        whole = path.read_bytes()
        for _ in range(20):
            data = bytearray(whole[: rng.integers(0, len(whole) + 1)])
            for place in rng.integers(0, max(len(data), 1), 3 if data else 0):
                data[place] = rng.integers(0, 256)
            path.write_bytes(bytes(data))
            with suppress(UsageError):
                read_picture(str(path))
