#!/usr/bin/env python3
"""Classify frames as they come, with NumPy.

python3 loop.py BUNDLE camera         frames of the first camera, by OpenCV
python3 loop.py BUNDLE video.mp4      frames of a video, by OpenCV
... | python3 loop.py BUNDLE 640x480  raw rgb24 frames from a pipe, as ffmpeg writes them
"""

import os
import re
import sys
import time

import numpy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


def frames_of_opencv(source: str) -> "Iterator[Any]":
    """Height x width x 3 bytes, blue first."""
    try:
        import cv2  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415
    except ImportError:
        sys.exit("error: OpenCV is not installed. Fix: apt-get install python3-opencv, or a pipe")
    capture = cv2.VideoCapture(0 if source == "camera" else source)
    if not capture.isOpened():
        sys.exit("error: OpenCV cannot open " + source)
    try:
        there, frame = capture.read()
        while there:
            yield frame
            there, frame = capture.read()
    finally:
        capture.release()


def frames_of_pipe(width: int, height: int) -> "Iterator[Any]":
    """Height x width x 3 bytes, red first."""
    size = width * height * 3
    while True:
        data = sys.stdin.buffer.read(size)
        if len(data) < size:
            if data:
                sys.stderr.write(f"note: the last frame ends after {len(data)} of {size} bytes\n")
            return
        yield numpy.frombuffer(data, numpy.uint8).reshape(height, width, 3)


def main(bundle: str, source: str) -> None:
    sys.path.insert(0, os.path.join(bundle, "python"))
    import tvm_flow  # noqa: PLC0415  (the bundle's own, where none is installed)

    try:
        network = tvm_flow.load(bundle)
    except tvm_flow.TvmFlowError as error:
        sys.exit(f"error: {error}")
    size = re.match(r"(\d+)x(\d+)$", source)
    frames = frames_of_pipe(int(size[1]), int(size[2])) if size else frames_of_opencv(source)
    count, begin = 0, time.perf_counter()
    try:
        for frame in frames:
            network.set_picture(frame, order="rgb" if size else "bgr")
            scores = network.run()[0]  # the first of the batch
            best = int(numpy.argmax(scores))
            share = 1 / numpy.exp(scores - scores[best]).sum()
            label = network.labels[best] if network.labels else f"class {best}"
            count += 1
            print(f"{count}: {100 * share:.1f} % {label}", flush=True)
    except KeyboardInterrupt:
        pass
    seconds = time.perf_counter() - begin
    print(f"{count} frames, {count / seconds:.1f} frames per second")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
