"""What a worker is told of slabs to write, and who shares them among workers. No Ray."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from nas_distill.knowledge.layout import KnowledgeKey, ShardShape
from nas_distill.records.base import Record


class ShardJob(Record):
    """Slabs to be written.

    Attributes:
        folder: The knowledge folder, on a path that every node sees.
        key: What they depend on.
        shape: What they hold.
    """

    folder: str
    key: KnowledgeKey
    shape: ShardShape


class ShardPool(Protocol):
    """Processes that share the writing of slabs."""

    def workers(self, views: int) -> int:
        """Returns how many processes would share that many views; with fewer than two it is no help."""

    def write(self, job: ShardJob, views: Sequence[int]) -> Iterator[int]:
        """Writes the slabs of `views`, yielding each view once its receipt is written, in any order.

        Raises:
            NasDistillError: As a worker raised it, or the workers die.
        """
