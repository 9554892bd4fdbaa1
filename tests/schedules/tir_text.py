"""TIR as text without its names: two kernels with the same text differ in names at most."""

from __future__ import annotations

import hashlib
import re

from tvm import tirx

#: A string, or a name that is neither an attribute (``.view``) nor a keyword (``data=``).
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|(?<![\w.])[A-Za-z_]\w*(?!\w|=[^=])')
#: What a line of TVM script binds, at its start: a function, loop variables, a buffer or value.
_DEF = re.compile(r"def (\w+)\((.*)\)(?: -> .*)?:$")
_PARAMETER = re.compile(r"(?:^|, )(\w+): ")
_FOR = re.compile(r"for (\w+(?:, \w+)*) in ")
_AS = re.compile(r"with .* as (\w+(?:, \w+)*|\(\w+(?:, \w+)*\)):$")
_ASSIGN = re.compile(r"(\w+(?:, \w+)*)(?:: [^=]+)? = ")
#: The function's name as an attribute; TVM prints it only where it differs from the function's.
_SYMBOL = re.compile(r'"global_symbol": "(?:[^"\\]|\\.)*"(?:, )?')


def normalise(script: str) -> str:
    """TVM script with functions, parameters, buffers and variables numbered as they are bound.

    Each binding gets a number of its own, since TVM uses a name again once its scope is left, and
    which ones it uses again depends on the names. What is not bound in the text stays as it is:
    types, intrinsics, annotations, strings.
    """
    names: dict[str, str] = {}
    count = 0
    lines = []
    for line in script.splitlines():
        code = line.strip()
        if not code or code.startswith("#"):
            continue
        for name in _bound(code):
            names[name] = f"n{count}"
            count += 1
        kept = _SYMBOL.sub("", line) if code.startswith("T.func_attr(") else line
        lines.append(_TOKEN.sub(lambda match: names.get(match[0], match[0]), kept))
    return "\n".join(lines) + "\n"


def _bound(code: str) -> list[str]:
    if function := _DEF.match(code):
        # the types of parameters hold no names followed by a colon
        return [function[1], *_PARAMETER.findall(function[2])]
    found = _FOR.match(code) or _AS.match(code) or _ASSIGN.match(code)
    return re.findall(r"\w+", found[1]) if found else []


def text_of(func: tirx.PrimFunc) -> str:
    return normalise(func.script())


def digest(text: str) -> str:
    """Short hash of a text: 16 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
