#!/usr/bin/env python3
"""Classify frames from a pipe with what comes with Python: no NumPy, no OpenCV.

ffmpeg -i video.mp4 -vf scale=640:480 -f rawvideo -pix_fmt rgb24 - \
    | python3 loop_plain.py BUNDLE 640 480
"""

import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def frames_of_pipe(width: int, height: int) -> "Iterator[memoryview]":
    """Height x width x 3 bytes, red first; the next frame takes the place of the last."""
    frame = memoryview(bytearray(width * height * 3))
    with open(0, "rb") as pipe:
        while pipe.readinto(frame) == len(frame):
            yield frame.cast("B", (height, width, 3))


def main(bundle: str, width: int, height: int) -> None:
    sys.path.insert(0, os.path.join(bundle, "python"))
    import tvm_flow  # noqa: PLC0415  (the bundle's own, where none is installed)

    try:
        network = tvm_flow.load(bundle)
    except tvm_flow.TvmFlowError as error:
        sys.exit(f"error: {error}")
    count, begin = 0, time.perf_counter()
    try:
        for frame in frames_of_pipe(width, height):
            network.set_picture(frame)
            (scores,) = network.run().tolist()  # a batch of one
            best = max(range(len(scores)), key=scores.__getitem__)
            label = network.labels[best] if network.labels else "-"
            count += 1
            print(f"{count}: {best} {label} {scores[best]:g}", flush=True)
    except KeyboardInterrupt:
        pass
    seconds = time.perf_counter() - begin
    print(f"{count} frames, {count / seconds:.1f} frames per second")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
