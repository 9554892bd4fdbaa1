"""Picture files, read by Pillow where that is installed."""

from tvm_flow.support.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Suffixes; .ppm is read without Pillow.
PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff"}


def read_picture(path: str) -> "Any":
    """Height x width x 3 bytes. Raises :class:`UsageError`."""
    try:
        from PIL import Image  # noqa: PLC0415  (not needed on a board that is fed tensors)
    except ImportError:
        raise UsageError(
            "cannot read " + path,
            why="Pillow, which reads pictures other than .ppm, is not installed",
            fix="apt-get install python3-pil, or pass a .ppm, .npy or .bin file",
        ) from None
    try:
        with Image.open(path) as file:
            picture = file.convert("RGB")
        width, height = picture.size
        return memoryview(picture.tobytes()).cast("B", (height, width, 3))
    except Exception as error:  # Pillow raises many types for a file it cannot read
        raise UsageError(
            "cannot read " + path, why=str(error), fix="pass a readable picture, .npy or .bin file"
        ) from None
