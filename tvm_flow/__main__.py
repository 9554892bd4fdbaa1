"""``python -m tvm_flow``: the command line without the installed script."""

import sys

from tvm_flow.cli import main

if __name__ == "__main__":
    sys.exit(main())
