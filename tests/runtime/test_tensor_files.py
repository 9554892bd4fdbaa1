"""Files as inputs: what is read, and what is refused in a sentence."""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.runtime import library, toy
from tests.runtime.test_pictures import IMAGENET, RGB, picture_toy, pixels, reference
from tvm_flow.ir.picture import PictureRecipe

SHAPE = (1, 2, 3)
FLOATS = np.arange(6, dtype=np.float32).reshape(SHAPE)
DTYPES = [
    "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32",
    "uint64", "bool",
]  # fmt: skip


@pytest.fixture(scope="module")
def floats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[library.Instance]:
    """One input of float32 and :data:`SHAPE`."""
    bundle = toy.write(toy.copies((SHAPE, "float32")), tmp_path_factory.mktemp("files") / "toy")
    with library.open_bundle(bundle) as net:
        yield net


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[library.Instance]:
    bundle = toy.write(picture_toy(IMAGENET), tmp_path_factory.mktemp("files") / "pictures")
    with library.open_bundle(bundle) as net:
        yield net


def refusal(net: library.Instance, path: Path | str, status: int = library.USAGE) -> str:
    with pytest.raises(library.Refused) as refused:
        net.read(path)
    assert refused.value.status == status
    assert str(path) in str(refused.value)
    assert "Fix:" in str(refused.value)
    return str(refused.value)


# ---- .npy


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (1,), (7,), (0, 3), (2, 1, 3, 4, 1)])
def test_npy_of_every_type_and_shape(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(1).integers(0, 2, shape).astype(dtype)
    np.save(tmp_path / "x.npy", values)
    with library.open_bundle(toy.write(toy.copies((shape, dtype)), tmp_path / "toy")) as net:
        net.inputs[0][...] = 5
        assert np.array_equal(net.read(tmp_path / "x.npy"), values)
        assert np.array_equal(net.run()[0], values)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_npy_versions(floats: library.Instance, tmp_path: Path, version: tuple[int, int]) -> None:
    path = tmp_path / "x.NPY"
    with path.open("wb") as file:
        np.lib.format.write_array(file, FLOATS, version)
    assert np.array_equal(floats.read(path), FLOATS)


def npy(header: str, data: bytes = FLOATS.tobytes(), version: bytes = b"\1\0") -> bytes:
    length = struct.pack("<H" if version[0] == 1 else "<I", len(header))
    return b"\x93NUMPY" + version + length + header.encode() + data


GOOD_HEADERS = [
    "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2, 3), }",
    "{'shape':(1,2,3,),'fortran_order':False,'descr':'<f4'}   \n",
    " { 'shape' : ( 1 , 2 , 3 ) , 'descr' : '<f4' , 'fortran_order' : False } ",
]
GOOD = GOOD_HEADERS[0]


@pytest.mark.parametrize("header", GOOD_HEADERS)
def test_npy_headers(floats: library.Instance, tmp_path: Path, header: str) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(npy(header))
    assert np.array_equal(floats.read(path), FLOATS)


BAD_NPY = {
    "other type": (npy(GOOD.replace("<f4", "<i4")), "of type int32, float32 is needed"),
    "big-endian": (npy(GOOD.replace("<f4", ">f4")), "of type >f4, float32"),
    "no order": (npy(GOOD.replace("<f4", "|f4")), "of type |f4"),
    "double": (npy(GOOD.replace("<f4", "<f8"), b"0" * 48), "of type float64"),
    "Fortran": (npy(GOOD.replace("False", "True")), "Fortran"),
    "NHWC": (npy(GOOD.replace("1, 2, 3", "1, 3, 2")), "shape (1, 3, 2), (1, 2, 3) is needed"),
    "flat": (npy(GOOD.replace("(1, 2, 3)", "(6,)")), "shape (6,), (1, 2, 3)"),
    "scalar": (npy(GOOD.replace("(1, 2, 3)", "()")), "shape (), (1, 2, 3)"),
    "more dimensions": (npy(GOOD.replace("2, 3", "2, 3, 1")), "shape (1, 2, 3, 1)"),
    "fewer dimensions": (npy(GOOD.replace("1, 2, 3", "1, 2")), "shape (1, 2)"),
    "negative": (npy(GOOD.replace("1, 2", "-1, 2")), "header"),
    "overflow": (npy(GOOD.replace("1, 2", f"{2**64 + 1}, 2")), "header"),
    "no tuple": (npy(GOOD.replace("(1, 2, 3)", "(6)")), "header"),
    "no comma": (npy(GOOD.replace("(1, 2, 3)", "(1 2 3)")), "header"),
    "two commas": (npy(GOOD.replace("1, 2", "1,, 2")), "header"),
    "key twice": (npy(GOOD[:-1] + "'shape': (1, 2, 3)}"), "header"),
    "key missing": (npy(GOOD.replace("'fortran_order': False, ", "")), "header"),
    "other key": (npy(GOOD.replace("shape", "shapes")), "header"),
    "record": (npy(GOOD.replace("'<f4'", "[('a', '<f4')]")), "header"),
    "after the header": (npy(GOOD + "x"), "header"),
    "empty header": (npy(""), "header"),
    "short data": (
        npy(GOOD, FLOATS.tobytes()[:-1]),
        "it has 23 bytes of values, its shape needs 24",
    ),
    "long data": (npy(GOOD, FLOATS.tobytes() + b"0"), "it has 25 bytes"),
    "no data": (npy(GOOD, b""), "it has 0 bytes"),
    "header is cut off": (npy(GOOD)[:40], "ends within its header"),
    "header of 4 GiB": (b"\x93NUMPY\2\0" + b"\xff" * 4 + b"{" * 50, "ends within its header"),
    "version 4": (npy(GOOD, version=b"\4\0"), "version 4.0"),
    "version 1.1": (npy(GOOD, version=b"\1\1"), "version 1.1"),
    "other magic": (b"\x93NUMPI" + npy(GOOD)[6:], "no .npy"),
    "short": (b"\x93NUMPY\1\0", "no .npy"),
    "empty": (b"", "empty"),
    "far too long": (npy(GOOD, b"0" * 100_000), "too many"),
}


@pytest.mark.parametrize("case", BAD_NPY)
def test_bad_npy(floats: library.Instance, tmp_path: Path, case: str) -> None:
    content, sentence = BAD_NPY[case]
    path = tmp_path / "x.npy"
    path.write_bytes(content)
    assert sentence in refusal(floats, path)


def test_damaged_npy_is_read_as_numpy_reads_it_or_refused(
    floats: library.Instance, tmp_path: Path
) -> None:
    path, chance = tmp_path / "x.npy", random.Random(2)
    accepted, statuses = 0, set()
    for _ in range(3000):
        content = bytearray(npy(GOOD))
        for _ in range(chance.randint(1, 3)):
            content[chance.randrange(len(GOOD) + 10)] = chance.choice(b"\0 ,'(){}:0129<>|f4\xff")
        path.write_bytes(content[: chance.choice([len(content), chance.randrange(len(content))])])
        try:
            found = floats.read(path)
        except library.Refused as refused:
            statuses.add(refused.status)
            continue
        accepted += 1
        assert np.array_equal(found, np.load(path))
    assert statuses == {library.USAGE}
    assert accepted > 5  # a blank for another, or two damages that make up for each other


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("suffix", [".npy", ".bin"])
def test_nan_and_infinity(
    floats: library.Instance, tmp_path: Path, value: float, suffix: str
) -> None:
    values = FLOATS.copy()
    values[0, 1, 1] = value
    path = tmp_path / f"x{suffix}"
    if suffix == ".npy":
        np.save(path, values)
    else:
        values.tofile(path)
    assert "NaN or infinity" in refusal(floats, path, library.USAGE)


# ---- .bin and everything else


@pytest.mark.parametrize("extra", [-24, -4, -1, 0, 1, 3, 4])
def test_bin_has_exactly_the_inputs_bytes(
    floats: library.Instance, tmp_path: Path, extra: int
) -> None:
    path, content = tmp_path / "x.bin", FLOATS.tobytes()
    path.write_bytes((content + bytes(8))[: len(content) + extra])
    if extra == 0:
        assert np.array_equal(floats.read(path), FLOATS)
    else:
        assert "empty" in refusal(floats, path) or f"{24 + extra} bytes, 24" in refusal(
            floats, path
        )


@pytest.mark.parametrize("name", ["x.txt", "x", "x.npy.gz", ".hidden", "x.jpg", "dir.npy/x"])
def test_other_suffixes_are_told_what_is_possible(
    floats: library.Instance, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(FLOATS.tobytes())
    sentence = refusal(floats, path)
    assert all(suffix in sentence for suffix in (".npy", ".bin", ".ppm", ".pgm"))


@pytest.mark.parametrize("suffix", [".npy", ".bin", ".ppm", ".pgm"])
def test_what_is_no_file(pictures: library.Instance, tmp_path: Path, suffix: str) -> None:
    pipe, folder, nothing = (tmp_path / f"{name}{suffix}" for name in ("pipe", "dir", "nothing"))
    os.mkfifo(pipe)
    folder.mkdir()
    empty = tmp_path / f"empty{suffix}"
    empty.touch()
    assert "not a file" in refusal(pictures, pipe)
    assert "not a file" in refusal(pictures, folder)
    assert "No such file" in refusal(pictures, nothing)
    assert "it is empty" in refusal(pictures, empty)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(floats: library.Instance, tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(FLOATS.tobytes())
    path.chmod(0)
    assert "Permission denied" in refusal(floats, path)


def test_inputs_by_number_and_a_busy_instance(tmp_path: Path) -> None:
    made = toy.copies((SHAPE, "float32"), ((), "int64"))
    np.save(tmp_path / "n.npy", np.array(-5))
    with library.open_bundle(toy.write(made, tmp_path / "toy")) as net:
        assert net.read(tmp_path / "n.npy", 1) == -5
        for number in (-1, 2):
            with pytest.raises(library.Refused, match="no input"):
                library.call("tvmf_read_input", net.handle, number, bytes(tmp_path / "n.npy"))
        library.call("tvmf_start", net.handle)
        with pytest.raises(library.Refused, match="in use") as refused:
            net.read(tmp_path / "n.npy", 1)
        assert refused.value.status == library.BUSY
        library.call("tvmf_wait", net.handle)
        net.read(tmp_path / "n.npy", 1)


# ---- .ppm and .pgm


@pytest.mark.parametrize(
    "header",
    [
        b"P6\n5 4\n255\n",
        b"P6 5 4 255 ",
        b"P6#none\n5\t4\r\n255\n",
        b"P6\n# by a program\n5 # wide\n# and\n#\n4\n#x\n255\n",
        b"P6\n5#\n4#4 4 4\n255#ends the header\n",
        b"P6\n# a comment that ends in CR\r5 4\v\f255\n",
        b"P6\n005 04\n0255\n",
    ],
)
def test_ppm_headers(pictures: library.Instance, tmp_path: Path, header: bytes) -> None:
    values = pixels(5, 4)
    path = tmp_path / "x.ppm"
    path.write_bytes(header + values.tobytes())
    assert np.array_equal(pictures.read(path), reference(values, RGB, IMAGENET))
    path.write_bytes(header + values.tobytes() + b"\nP6 1 1 255 abc")  # the first of several
    assert np.array_equal(pictures.read(path), reference(values, RGB, IMAGENET))


@pytest.mark.parametrize("most", [1, 2, 7, 100, 254, 255])
@pytest.mark.parametrize("kind", ["P5", "P6"])
def test_values_up_to_another_number(
    pictures: library.Instance, tmp_path: Path, most: int, kind: str
) -> None:
    """As Pillow scales them; what is above is the most."""
    path = tmp_path / "x.pnm.ppm"
    count = 16 * 16 * (3 if kind == "P6" else 1)
    data = bytes(i % 256 for i in range(count))
    path.write_bytes(f"{kind} 16 16 {most}\n".encode() + data)
    with Image.open(path) as picture:
        values = np.asarray(picture.convert("RGB"))
    assert np.array_equal(pictures.read(path), reference(values, RGB, IMAGENET))


def test_a_color_picture_for_a_gray_input(tmp_path: Path) -> None:
    recipe = PictureRecipe(8, 8, 8, (0.5,), (0.5,))
    values = pixels(20, 11)
    path = tmp_path / "x.PPM"
    Image.fromarray(values).save(path, "ppm")
    with library.open_bundle(toy.write(picture_toy(recipe, channels=1), tmp_path / "toy")) as net:
        assert np.array_equal(net.read(path), reference(values, RGB, recipe, channels=1))


BAD_PPM = {
    "16 bits": (b"P6 1 1 65535\n" + bytes(6), "largest value is 65535"),
    "no values": (b"P6 1 1 0\n" + bytes(3), "largest value is 0"),
    "text": (b"P3 1 1 255\n1 2 3", "no binary picture"),
    "bits": (b"P4 1 1\n\1", "no binary picture"),
    "PAM": (b"P7\nWIDTH 1\n", "no binary picture"),
    "other": (b"\x89PNG\r\n\x1a\n" + bytes(30), "no binary picture"),
    "one byte": (b"P", "no binary picture"),
    "magic alone": (b"P6", "no binary picture"),
    "magic and a blank": (b"P6 ", "header"),
    "no blank after the magic": (b"P65 4 255\n" + bytes(60), "header"),
    "cut off header": (b"P6 5 4 255", "header"),
    "endless comment": (b"P6 5 4 # no end of line", "header"),
    "letters": (b"P6 5x4 255\n" + bytes(60), "header"),
    "negative": (b"P6 -5 4 255\n" + bytes(60), "header"),
    "overflow": (b"P6 18446744073709551621 4 255\n" + bytes(60), "header"),
    "cut off": (b"P6 5 4 255\n" + bytes(59), "no 5 x 4 pixels"),
    "zero": (b"P6 0 4 255\n" + bytes(60), "no 0 x 4 pixels"),
    "zero high": (b"P6 4 0 255\n" + bytes(60), "no 4 x 0 pixels"),
    "huge": (b"P6 2147483647 2147483647 255\n" + bytes(60), "no 2147483647 x 2147483647"),
    "product overflows": (b"P5 4294967296 4294967296 255\n", "pixels"),
    "too wide": (b"P5 70000 1 255\n" + bytes(70000), "sides of 1 to 65536"),
}


@pytest.mark.parametrize("case", BAD_PPM)
def test_bad_ppm(pictures: library.Instance, tmp_path: Path, case: str) -> None:
    content, sentence = BAD_PPM[case]
    path = tmp_path / "x.ppm"
    path.write_bytes(content)
    with pytest.raises(library.Refused) as refused:
        pictures.read(path)
    assert refused.value.status == library.USAGE
    assert sentence in str(refused.value)


def test_a_bundle_that_takes_no_pictures(floats: library.Instance, tmp_path: Path) -> None:
    path = tmp_path / "x.ppm"
    path.write_bytes(b"P6 1 1 255\nabc")
    with pytest.raises(library.Refused, match="picture flags"):
        floats.read(path)
