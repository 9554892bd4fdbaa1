"""Imports every module of tvm-flow where nothing else is installed: ``python import_all.py NAME…``.

A module may lack one of the named packages; anything else that goes wrong is an error. Prints how
many modules were imported and how many lacked a package.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys

import tvm_flow

MISSING = set(sys.argv[1:])
imported = lacking = 0
for module in pkgutil.walk_packages(tvm_flow.__path__, "tvm_flow."):
    if module.name == "tvm_flow.__main__" or module.name.startswith("tvm_flow.runtime.run"):
        continue  # programs
    try:
        importlib.import_module(module.name)
        imported += 1
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in MISSING:
            raise
        lacking += 1
print(imported, lacking)
