"""Train the two digit networks: ``python -m examples.digits.train [--model ...] [--epochs N]``.

The same seed gives the same bits on one machine: one thread, fixed order, fixed shifts.
"""

from __future__ import annotations

import argparse
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from examples.digits.data import Images, Split, accuracy, load
from examples.digits.models import FasterNetDigits, ShuffleNetDigits

MODELS: dict[str, type[FasterNetDigits] | type[ShuffleNetDigits]] = {
    "fasternet": FasterNetDigits,
    "shufflenet": ShuffleNetDigits,
}
BATCH = 64
SHIFT = 3  # pixels of the 32 x 32 image, under one pixel of the original


def shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Move every image by up to ``SHIFT`` pixels each way; (N, 1, H, W) keeps its shape."""
    count, _, height, width = images.shape
    padded = F.pad(images, (SHIFT,) * 4, value=-1.0)
    offsets = torch.randint(0, 2 * SHIFT + 1, (2, count, 1), generator=generator)
    rows, columns = offsets[0] + torch.arange(height), offsets[1] + torch.arange(width)
    which = torch.arange(count)[:, None, None]
    return padded[which, 0, rows[:, :, None], columns[:, None, :]][:, None]


def fit(name: str, split: Split, *, epochs: int, seed: int = 0) -> nn.Module:
    """Train one of :data:`MODELS` from scratch on at least ``BATCH`` images; returns it in eval.

    AdamW under a one-cycle learning rate. The caller's random state is left alone.
    """
    images, labels = torch.from_numpy(split.images), torch.from_numpy(split.labels)
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MODELS[name]()
    steps = epochs * (len(labels) // BATCH)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=3e-3, total_steps=steps)
    model.train()
    for _ in range(epochs):
        order = torch.randperm(len(labels), generator=generator)
        for batch in order[: len(labels) // BATCH * BATCH].split(BATCH):
            logits = model(shifted(images[batch], generator))
            loss = F.cross_entropy(logits, labels[batch], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return model.eval()


def predict(model: nn.Module, images: Images) -> NDArray[np.float32]:
    """Logits of ``model`` for (N, 1, 32, 32) images, in numpy."""
    with torch.inference_mode():
        return model(torch.from_numpy(images)).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=sorted(MODELS), help="train only this one")
    parser.add_argument("--epochs", type=int, default=40)
    options = parser.parse_args()
    if options.epochs < 1:
        parser.error("--epochs must be at least 1")
    torch.set_num_threads(1)  # the order of summation, and so the bits, depends on it
    torch.use_deterministic_algorithms(True)
    train, held_out = load()
    for name in [options.model] if options.model else sorted(MODELS):
        model = fit(name, train, epochs=options.epochs)
        score = accuracy(partial(predict, model), held_out)
        path = MODELS[name].weights_file
        path.parent.mkdir(exist_ok=True)
        save_file(model.state_dict(), path)
        print(f"{name}: {100 * score:.2f} % of {len(held_out.labels)} held-out digits, {path}")


if __name__ == "__main__":
    main()
