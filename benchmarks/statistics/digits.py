"""Many small networks that learn digits from similar teachers in parallel, for statistics over seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import pad

from nas_distill.losses.functional import dkd, kd, nkd
from nas_distill.train.release import holdout

CLASSES, HURT, TAKEN_FOR = 10, 3, 8
BATCH, RATE = 64, 1e-2


class Networks(nn.Module):
    """A batch of S networks, one per seed: [S, B, 64] -> [S, B, 10]."""

    def __init__(self, count: int, width: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.first = nn.Parameter(torch.randn(count, 64, width, generator=generator) / 8)
        self.bias = nn.Parameter(torch.zeros(count, 1, width))
        self.second = nn.Parameter(torch.randn(count, width, CLASSES, generator=generator) / width**0.5)

    def forward(self, images: Tensor) -> Tensor:
        return torch.bmm(torch.baddbmm(self.bias, images, self.first).relu(), self.second)


class Digits:
    """Images of digits, and the splits of each seed; the rows of `train`, `held` and `validation` belong to seeds."""

    def __init__(self, seeds: int, share: float) -> None:
        images, labels = load_digits(return_X_y=True)
        self.images = torch.from_numpy(images).float().view(-1, 8, 8) / 16
        self.labels = torch.from_numpy(labels).long()
        splits = [holdout(self.labels, 0.2, seed) for seed in range(seeds)]
        parts = [holdout(self.labels, share, seed, train) for seed, (train, _) in enumerate(splits)]
        self.train, self.held = (torch.stack(part) for part in zip(*parts, strict=True))
        self.validation = torch.stack([validation for _, validation in splits])
        self.generator = torch.Generator().manual_seed(seeds)
        # Decides which images of the class the teacher does not know, the same for all views of an image.
        self.difficulty = torch.rand(len(self.labels), generator=self.generator)

    def view(self, rows: Tensor) -> Tensor:
        """Return the images at `rows`, [S, B, 64], shifted by up to one pixel."""
        down, right = torch.randint(0, 3, (2,), generator=self.generator).tolist()
        return pad(self.images[rows], (1, 1, 1, 1))[..., down : down + 8, right : right + 8].flatten(2)

    def steps(self, rows: Tensor, epochs: int, networks: Networks) -> Iterator[tuple[int, Tensor]]:
        """Yield epoch and rows of a batch [S, B], and step the optimiser after each."""
        optimizer = torch.optim.AdamW(networks.parameters(), lr=RATE, weight_decay=0.02)
        count = rows.shape[1] // BATCH
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=count * epochs, pct_start=0.1)
        for epoch in range(epochs):
            order = torch.rand(rows.shape, generator=self.generator).argsort(dim=1)
            for batch in rows.gather(1, order)[:, : count * BATCH].split(BATCH, dim=1):
                optimizer.zero_grad()
                yield epoch, batch
                optimizer.step()
                schedule.step()


def teacher_loss(name: str, temperature: float, teacher: Tensor, labels: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the loss as a function of the student's logits."""
    losses: dict[str, Callable[[Tensor], Tensor]] = {
        "kd": lambda student: kd(student, teacher, temperature=temperature),
        "dkd": lambda student: dkd(student, teacher, labels, temperature=temperature),
        "nkd": lambda student: nkd(student, teacher, labels, temperature=temperature),
    }
    return losses[name]


def spoiled(logits: Tensor, is_hurt: Tensor, *, blank: bool) -> Tensor:
    """Return logits [..., 10], wrong where `is_hurt` [...] is true: of another class, or all equal if `blank`."""
    swapped = list(range(CLASSES))
    swapped[HURT], swapped[TAKEN_FOR] = TAKEN_FOR, HURT
    wrong = torch.zeros_like(logits) if blank else logits[..., swapped]
    return torch.where(is_hurt[..., None], wrong, logits)
