"""The C source of what a library of kernels tells the runtime (``runtime/c/module.h``)."""

from __future__ import annotations

from collections.abc import Sequence

from tvm_flow.ir.plan import PlannedKernel

_SERVICES = {
    "__TVMBackendParallelLaunch": "launch",
    "__TVMBackendAllocWorkspace": "alloc",
    "__TVMBackendFreeWorkspace": "free",
}


def symbol_of(kernel: str) -> str:
    """The name of a kernel's machine code: one that no C library has a function of, as it has of
    ``atan2`` and ``erf``, which kernels of these names call."""
    return f"kernel_{kernel}"


def module_source(kernels: Sequence[PlannedKernel]) -> str:
    """One wrapper per kernel that takes its pointers out of an array, and the table of them all.

    Compiled with ``runtime/c`` among the folders of headers. The variables through which kernels
    call their runtime are TVM's; a library whose kernels do not call it lacks them.
    """
    slots = "".join(
        f"extern __typeof__(((tvmf_services*)0)->{field}) {name} __attribute__((weak));\n"
        for name, field in _SERVICES.items()
    )
    attach = "".join(
        f"  if (&{name}) {name} = services->{field};\n" for name, field in _SERVICES.items()
    )
    entries = "".join(
        f'    {{"{k.symbol}", call_{n}, {len(k.argument_bytes)}, {k.outputs}, bytes_{n}}},\n'
        for n, k in enumerate(kernels)
    )
    return (
        '#include "module.h"\n\n'
        + slots
        + "".join(_wrapper(number, kernel) for number, kernel in enumerate(kernels))
        + f"\nstatic const tvmf_kernel kernels[] = {{\n{entries}    {{0}},\n}};\n"
        + f"\nstatic void attach(const tvmf_services* services) {{\n{attach}}}\n"
        + '\n__attribute__((visibility("default"))) const tvmf_module_table tvmf_module = '
        + f"{{TVMF_MODULE_ABI, {len(kernels)}, kernels, attach}};\n"
    )


def _wrapper(number: int, kernel: PlannedKernel) -> str:
    count = len(kernel.argument_bytes)
    types, values = ", ".join(["void*"] * count), ", ".join(f"a[{i}]" for i in range(count))
    sizes = ", ".join(f"{size}u" for size in kernel.argument_bytes)
    symbol = symbol_of(kernel.symbol)
    return (
        f"\nextern int {symbol}({types or 'void'});\n"
        f"static const uint64_t bytes_{number}[] = {{{sizes or '0'}}};\n"
        f"static int call_{number}(void* const* a) {{ return {symbol}({values}); }}\n"
    )
