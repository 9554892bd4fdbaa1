#!/usr/bin/env python3
"""Run this bundle. Needs apache-tvm and NumPy, and Pillow for pictures; not tvm-flow.

python run.py                    top classes of the sample input, and the time per run
python run.py photo.jpg          the same for a picture
python run.py --check            compare with the result PyTorch gave for the sample
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "python"))

from tvm_flow.runtime.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(HERE))
