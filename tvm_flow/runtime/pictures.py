"""Picture files, read by Pillow where that is installed."""

from tvm_flow.support.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Suffixes; .ppm is read without Pillow.
PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff"}
_ORIENTATION = 274  # EXIF's tag
#: What makes it upright, as Pillow names it. 1 is upright.
_TURNS = {
    2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE",
    6: "ROTATE_270", 7: "TRANSVERSE", 8: "ROTATE_90",
}  # fmt: skip


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
            picture = _upright(Image, file).convert("RGB")
        width, height = picture.size
        return memoryview(picture.tobytes()).cast("B", (height, width, 3))
    except Exception as error:  # Pillow raises many types for a file it cannot read
        raise UsageError(
            "cannot read " + path, why=str(error), fix="pass a readable picture, .npy or .bin file"
        ) from None


def _upright(image: "Any", picture: "Any") -> "Any":
    """As it is to be looked at, and not as the camera was held: EXIF's orientation, which Pillow
    leaves to its callers. What cannot be understood of EXIF says nothing."""
    try:
        # of Pillow before version 6 only the first is there
        read = getattr(picture, "_getexif", None) or picture.getexif
        turn: Any = (read() or {}).get(_ORIENTATION)
    except Exception:  # Pillow raises many types for EXIF that it cannot read
        return picture
    name = _TURNS.get(turn)
    return picture.transpose(getattr(image, name)) if name else picture
