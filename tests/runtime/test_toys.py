"""Bundles without TVM, which other tests stand on, compute what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.runtime import library, toy


@pytest.mark.parametrize("threads", [1, 2])
def test_network(tmp_path: Path, threads: int) -> None:
    made = toy.network(threads)
    folder = toy.write(made, tmp_path)
    with library.open_bundle(folder, threads=threads) as net:
        for factor in (1, -2):
            x, bias = made.samples[0] * np.float32(factor), made.samples[1] * factor
            net.fill(x, bias)
            y, total, positive = net.run()
            assert np.array_equal(y, made.expected[0] * np.float32(factor))
            assert total == pytest.approx(y.astype(np.float64).sum() + bias, rel=1e-6)
            assert positive.dtype == np.bool_
            assert np.array_equal(positive, (y > 0).reshape(60))
        assert net.check(folder) <= made.tolerance


def test_from_memory(tmp_path: Path) -> None:
    made = toy.network()
    folder = toy.write(made, tmp_path)
    code = (folder / "model.so").read_bytes()
    model = library.Model.from_memory(toy.plan_of(made, code), made.weights, code)
    net = model.open()
    net.fill(*made.samples)
    assert np.array_equal(net.run()[0], made.expected[0])
    net.close()
    model.unload()


def test_pause_occupies_its_instance_and_fails(tmp_path: Path) -> None:
    with library.open_bundle(toy.write(toy.pause(), tmp_path)) as net:
        net.fill(np.array(300))
        library.call("tvmf_start", net.handle)
        with pytest.raises(library.Refused) as busy:
            net.run()
        assert busy.value.status == library.BUSY
        library.call("tvmf_wait", net.handle)
        assert net.outputs[0] == 300
        net.fill(np.array(-1))
        with pytest.raises(library.Refused, match="pause_for failed") as failed:
            net.run()
        assert failed.value.status == library.ENVIRONMENT
