"""What a section is told."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    rounds: int
    sizes: tuple[int, ...]  # of the copies, in bytes
    threads: int  # of the copies
    alive: tuple[int, ...]  # how many arrays live while exchanges are timed
    listed: int  # arrays in the list that is converted as a whole
