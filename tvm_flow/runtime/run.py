#!/usr/bin/env python3
"""Run this bundle. Needs any Python from 3.6 on, and Pillow for pictures other than .ppm.

python3 run.py                   top classes of the sample input, and the time per run
python3 run.py photo.jpg         the same for a picture
python3 run.py --check           compare with the result the model gave for the sample
"""

import os
import sys

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, os.path.join(HERE, "python"))

from tvm_flow.runtime.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(HERE))
