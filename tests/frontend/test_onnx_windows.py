"""Windows and resizing of ONNX come as what kernels compute, and compute what ONNX says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tvm_flow.backends.cpu import CPU, phases
from tvm_flow.frontend.export import import_model
from tvm_flow.frontend.model import load
from tvm_flow.ir.generic import generic_operators
from tvm_flow.verify.network import verified_graph

SHAPE = (2, 6, 7, 9)


def saved(path: Path, op: str, *constants: np.ndarray | None, **attrs: Any) -> str:
    """A model of one operator."""
    names = ["" if value is None else f"c{i}" for i, value in enumerate(constants)]
    node = helper.make_node(op, ["x", *names], ["y"], **attrs)
    pairs = zip(names, constants, strict=True)
    stored = [numpy_helper.from_array(v, name) for name, v in pairs if v is not None]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "window", [x], [y], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    return str(path)


def weight(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def scales(*factors: float) -> np.ndarray:
    return np.array([1, 1, *factors], np.float32)


def sizes(*given: int) -> np.ndarray:
    return np.array([*SHAPE[:2], *given], np.int64)


UP = weight(6, 4, 3, 3)
MODELS: dict[str, tuple[Any, ...]] = {
    "up": ("ConvTranspose", [weight(6, 4, 2, 2), weight(4)], {"strides": [2, 2]}),
    "up_padded": ("ConvTranspose", [UP], {"strides": [2, 2], "pads": [1, 0, 0, 1]}),
    "up_more": (
        "ConvTranspose",
        [UP, weight(4)],
        {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]},
    ),
    "up_same": ("ConvTranspose", [UP], {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    "up_grouped": ("ConvTranspose", [weight(6, 2, 3, 3)], {"strides": [2, 2], "group": 3}),
    "nearest": ("Resize", [None, scales(2, 3)], {"mode": "nearest"}),
    "nearest_floor": (
        "Resize",
        [None, scales(2, 2)],
        {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
    ),
    "linear": ("Resize", [None, scales(2, 2)], {"mode": "linear"}),
    "linear_sizes": (
        "Resize",
        [None, None, sizes(5, 20)],
        {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
    ),
    "cubic": ("Resize", [None, None, sizes(14, 20)], {"mode": "cubic"}),
    "max_ceil": ("MaxPool", [], {"kernel_shape": [3, 2], "strides": [2, 2], "ceil_mode": 1}),
    "max_dilated": ("MaxPool", [], {"kernel_shape": [2, 2], "dilations": [3, 2]}),
    "max_uneven": ("MaxPool", [], {"kernel_shape": [2, 2], "pads": [0, 1, 1, 0]}),
    "avg_ceil": ("AveragePool", [], {"kernel_shape": [2, 3], "strides": [2, 2], "ceil_mode": 1}),
    "avg_uneven": (
        "AveragePool",
        [],
        {"kernel_shape": [3, 3], "pads": [0, 1, 2, 1], "count_include_pad": 1},
    ),
    "avg_dilated": (
        "AveragePool",
        [],
        {"kernel_shape": [3, 3], "dilations": [2, 1], "pads": [2, 1, 2, 1]},
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_kernels_compute_it(name: str, tmp_path: Path) -> None:
    op, constants, attrs = MODELS[name]
    path = saved(tmp_path / "window.onnx", op, *constants, **attrs)
    graph = verified_graph(lambda: import_model(load(path)), phases()).graph
    assert generic_operators(graph, lambda node: bool(CPU.ways(node, CPU.typical))) == ()
    left = {node.op for node in graph.nodes()}
    assert left <= {"input", "const", "permute", "reshape", "multiply", "conv_transpose", "resize",
                    "pool2d"}, graph.text()  # fmt: skip
