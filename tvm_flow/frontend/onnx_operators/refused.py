"""What cannot be had, and why: operators whose results have sizes that only an input decides, and
those that are random."""

from __future__ import annotations

from tvm_flow.frontend.onnx_operators.call import Call, Converted, Converter, NotConvertibleError


def _because(why: str) -> Converter:
    def convert(call: Call) -> Converted:
        raise NotConvertibleError(why)

    return convert


_DYNAMIC = _because("how many elements it gives depends on the input, and is fixed in a bundle")
_RANDOM = _because("it is random, and a bundle gives the same for the same input")
_BRANCH = _because("its course depends on the input, and is fixed in a bundle")


def _roi_align(call: Call) -> Converted:
    if call.attr("mode", "avg") == "max":
        raise NotConvertibleError("its mode is max, which frameworks define differently")
    return None


CONVERTERS: dict[str, Converter] = {
    **dict.fromkeys(("Compress", "NonMaxSuppression", "NonZero", "Unique"), _DYNAMIC),
    **dict.fromkeys(("If", "Loop", "Scan", "SequenceMap"), _BRANCH),
    **dict.fromkeys(
        ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
         "RandomUniformLike"), _RANDOM,
    ),
    "RoiAlign": _roi_align,
}  # fmt: skip
