"""Which LLVM name a CPU has, by the identification registers; data only.

Hypervisors hide the model name ("AMD EPYC"), never the family and model numbers. Sources: the
vendors' optimization guides (AMD 17h to 1Ah, Intel, Arm Neoverse and Cortex).
"""

from __future__ import annotations

from typing import NamedTuple


class CpuModel(NamedTuple):
    """``fma``: vector FMA instructions per cycle and core at the CPU's full vector width;
    ``fma256``: the same where only 256-bit vectors may be used (x86)."""

    mcpu: str
    fma: int
    fma256: int = 2


# (family, first model, last model): AMD
AMD: list[tuple[int, int, int, CpuModel]] = [
    (23, 0x00, 0x2F, CpuModel("znver1", 1, 1)),  # 128-bit units: a 256-bit FMA takes both
    (23, 0x30, 0xFF, CpuModel("znver2", 2)),
    (25, 0x00, 0x0F, CpuModel("znver3", 2)),
    (25, 0x10, 0x1F, CpuModel("znver4", 1)),  # 512-bit FMA is double pumped
    (25, 0x20, 0x5F, CpuModel("znver3", 2)),
    (25, 0x60, 0xAF, CpuModel("znver4", 1)),
    (26, 0x00, 0xFF, CpuModel("znver5", 2)),
]

# Intel, family 6
INTEL: dict[int, CpuModel] = {
    **dict.fromkeys((0x3C, 0x3F, 0x45, 0x46), CpuModel("haswell", 2)),
    **dict.fromkeys((0x3D, 0x47, 0x4F, 0x56), CpuModel("broadwell", 2)),
    **dict.fromkeys((0x4E, 0x5E, 0x8E, 0x9E, 0xA5, 0xA6), CpuModel("skylake", 2)),
    0x55: CpuModel("skylake-avx512", 2),  # Cascade and Cooper Lake share the number
    **dict.fromkeys((0x6A, 0x6C), CpuModel("icelake-server", 2)),
    **dict.fromkeys((0x7D, 0x7E), CpuModel("icelake-client", 1)),
    **dict.fromkeys((0x8C, 0x8D), CpuModel("tigerlake", 1)),
    0xA7: CpuModel("rocketlake", 1),
    **dict.fromkeys((0x8F, 0xCF), CpuModel("sapphirerapids", 2)),
    **dict.fromkeys((0xAD, 0xAE), CpuModel("graniterapids", 2)),
    **dict.fromkeys((0x97, 0x9A, 0xB7, 0xBA, 0xBF), CpuModel("alderlake", 2)),
}

# (implementer, part): Arm
ARM: dict[tuple[int, int], CpuModel] = {
    (0x41, 0xD03): CpuModel("cortex-a53", 1),
    (0x41, 0xD05): CpuModel("cortex-a55", 1),
    (0x41, 0xD07): CpuModel("cortex-a57", 1),
    (0x41, 0xD08): CpuModel("cortex-a72", 1),
    (0x41, 0xD09): CpuModel("cortex-a73", 1),
    (0x41, 0xD0A): CpuModel("cortex-a75", 1),
    (0x41, 0xD0B): CpuModel("cortex-a76", 2),
    (0x41, 0xD0C): CpuModel("neoverse-n1", 2),
    (0x41, 0xD0D): CpuModel("cortex-a77", 2),
    (0x41, 0xD40): CpuModel("neoverse-v1", 4),
    (0x41, 0xD41): CpuModel("cortex-a78", 2),
    (0x41, 0xD42): CpuModel("cortex-a78ae", 2),
    (0x41, 0xD49): CpuModel("neoverse-n2", 2),
    (0x41, 0xD4F): CpuModel("neoverse-v2", 4),
    (0x4E, 0x004): CpuModel("carmel", 2),
}

# /proc/cpuinfo flag -> LLVM feature. Each is passed as +feature or -feature, so that a wrong
# mcpu, or a hypervisor that masks instructions, cannot lead to an illegal one.
X86_FEATURES: dict[str, str] = {
    "pni": "sse3",
    "ssse3": "ssse3",
    "sse4_1": "sse4.1",
    "sse4_2": "sse4.2",
    "sse4a": "sse4a",
    "popcnt": "popcnt",
    "cx16": "cx16",
    "movbe": "movbe",
    "abm": "lzcnt",
    "bmi1": "bmi",
    "bmi2": "bmi2",
    "adx": "adx",
    "rdrand": "rdrnd",
    "rdseed": "rdseed",
    "3dnowprefetch": "prfchw",
    "clflushopt": "clflushopt",
    "clwb": "clwb",
    "clzero": "clzero",
    "fsgsbase": "fsgsbase",
    "rdpid": "rdpid",
    "pku": "pku",
    "wbnoinvd": "wbnoinvd",
    "aes": "aes",
    "pclmulqdq": "pclmul",
    "sha_ni": "sha",
    "gfni": "gfni",
    "vaes": "vaes",
    "vpclmulqdq": "vpclmulqdq",
    "avx": "avx",
    "f16c": "f16c",
    "fma": "fma",
    "avx2": "avx2",
    "avx_vnni": "avxvnni",
    "avx512f": "avx512f",
    "avx512cd": "avx512cd",
    "avx512bw": "avx512bw",
    "avx512dq": "avx512dq",
    "avx512vl": "avx512vl",
    "avx512ifma": "avx512ifma",
    "avx512vbmi": "avx512vbmi",
    "avx512_vbmi2": "avx512vbmi2",
    "avx512_vnni": "avx512vnni",
    "avx512_bitalg": "avx512bitalg",
    "avx512_vpopcntdq": "avx512vpopcntdq",
    "avx512_bf16": "avx512bf16",
    "avx512_fp16": "avx512fp16",
    "avx512_vp2intersect": "avx512vp2intersect",
    "amx_tile": "amx-tile",
    "amx_int8": "amx-int8",
    "amx_bf16": "amx-bf16",
}
AVX2_FLAGS = frozenset({"avx2", "fma", "f16c", "bmi1", "bmi2"})
AVX512_FLAGS = frozenset({"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"})

AARCH64_FEATURES: dict[str, str] = {
    "asimd": "neon",
    "atomics": "lse",
    "asimdhp": "fullfp16",
    "asimddp": "dotprod",
    "asimdrdm": "rdm",
    "i8mm": "i8mm",
    "bf16": "bf16",
    "sve": "sve",
    "sve2": "sve2",
}
