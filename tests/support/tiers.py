"""Every test file belongs to a tier, which says what it costs and what may run beside it.

``unit``: computes a little; ``compile``: compiles kernels, networks or bundles, and needs a core;
``process``: measures time, or starts processes and waits for them, and needs a quiet core.
``--tier unit,compile`` takes tests of these tiers and does not even import the other files.
"""

from __future__ import annotations

from pathlib import Path

import pytest

TIERS = ("unit", "compile", "process")
TESTS = Path(__file__).parents[1]

#: Folder or file below tests/ -> tier; the longest that matches counts.
TIER_OF = {
    "analysis": "unit",
    "analysis/test_network_counts.py": "compile",
    "api": "compile",
    "api/test_picture.py": "unit",
    "backends": "compile",
    "benchmarks": "process",
    "benchmarks/test_call_overhead.py": "compile",
    "benchmarks/test_environments.py": "compile",
    "benchmarks/test_layers.py": "unit",
    "benchmarks/test_networks.py": "unit",
    "benchmarks/test_table.py": "unit",
    "boards": "process",
    "bundle": "process",
    "bundle/test_board_bundles.py": "compile",
    "bundle/test_bundle_damage.py": "compile",
    "bundle/test_bundle_run.py": "compile",
    "bundle/test_bundle_runner.py": "compile",
    "bundle/test_bundle_write.py": "compile",
    "bundle/test_inputs_and_outputs.py": "compile",
    "bundle/test_musl.py": "compile",
    "bundle/test_kernel_check.py": "compile",
    "bundle/test_formats.py": "compile",
    "bundle/test_pythons.py": "compile",
    "cli": "process",
    "cli/test_cli_bad_input.py": "compile",
    "cli/test_cli_board_kit.py": "compile",
    "cli/test_cli_compile_all.py": "compile",
    "cli/test_cli_picture.py": "compile",
    "cli/test_readme.py": "compile",
    "codegen": "compile",
    "distribution": "process",
    "examples": "compile",
    "frontend": "compile",
    "frontend/test_damaged_files.py": "unit",
    "frontend/test_frontend_load.py": "unit",
    "frontend/test_frontend_weights.py": "unit",
    "frontend/test_onnx_windows.py": "unit",
    "ir": "unit",
    "ir/test_generic.py": "compile",
    "measure": "process",
    "measure/test_stats.py": "unit",
    "modelled": "compile",
    "models": "compile",
    "passes": "compile",
    "passes/test_activation_names.py": "unit",
    "passes/test_as_images.py": "unit",
    "passes/test_computed_weights.py": "unit",
    "passes/test_fusion_rewrites.py": "unit",
    "passes/test_rewrites.py": "unit",
    "passes/test_scales.py": "unit",
    "remote": "process",
    "runtime": "unit",
    "runtime/test_faults.py": "process",
    "runtime/test_front_end_faults.py": "process",
    "runtime/test_fuzz.py": "compile",
    "runtime/test_processes.py": "process",
    "runtime/test_pictures.py": "compile",
    "runtime/test_quotas.py": "process",
    "runtime/test_runner.py": "compile",
    "runtime/test_systems.py": "process",
    "runtime/test_tensor_files.py": "compile",
    "runtime/test_toys.py": "compile",
    "schedules": "compile",
    "schedules/test_algorithm_contract.py": "unit",
    "schedules/test_even_rows.py": "unit",
    "suites": "compile",
    "suites/test_suite_machinery.py": "process",
    "support": "process",
    "support/test_docs.py": "unit",
    "support/test_publish.py": "unit",
    "targets": "unit",
    "toolchain": "process",
    "tuning": "process",
    "tuning/test_committed_records.py": "compile",
    "tuning/test_old_records.py": "unit",
    "tuning/test_tuning_records.py": "unit",
    "verify": "compile",
    "verify/test_differences.py": "unit",
}


def tier_of(path: Path) -> str:
    """The tier of a test file. Raises :class:`pytest.UsageError` where it has none."""
    within = path.relative_to(TESTS)
    for part in (within, *within.parents):
        if tier := TIER_OF.get(part.as_posix()):
            return tier
    raise pytest.UsageError(f"{path} has no tier. Fix: add it to TIER_OF in {__file__}")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--tier", default=",".join(TIERS), help="only tests of these: unit, compile, process"
    )


def pytest_configure(config: pytest.Config) -> None:
    for tier in TIERS:
        config.addinivalue_line("markers", f"{tier}: the tier, set by tests/support/tiers.py")
    if unknown := set(_chosen(config)) - set(TIERS):
        raise pytest.UsageError(f"--tier {','.join(unknown)}: the tiers are {', '.join(TIERS)}")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    if not _is_ours(collection_path):
        return None
    return True if tier_of(collection_path) not in _chosen(config) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _is_ours(item.path):
            item.add_marker(tier_of(item.path))


def _chosen(config: pytest.Config) -> list[str]:
    return str(config.getoption("--tier")).split(",")


def _is_ours(path: Path) -> bool:
    return path.match("test_*.py") and path.is_relative_to(TESTS)
