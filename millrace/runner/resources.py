"""The cores and memory of this machine, and what running tasks have requested of them."""

from __future__ import annotations

import os
from pathlib import Path

from millrace.ir.spec import Resources

_CGROUP = Path("/sys/fs/cgroup")
_DEFAULT = Resources(cpu_request=1)


class ResourcePool:
    """Cores and bytes that tasks take and give back.

    A request beyond the total counts as the total: such a task runs alone.
    """

    def __init__(self, cores: float = 0, memory: int = 0) -> None:
        self.cores = cores or machine_cores()
        self.memory = memory or machine_memory()
        self._cores, self._memory, self._tasks = 0.0, 0, 0

    def take(self, resources: Resources) -> bool:
        """Takes what a task requests, if it is free."""
        cores, memory = self._asked(resources)
        free = self._cores + cores <= self.cores and self._memory + memory <= self.memory
        if self._tasks and not free:
            return False
        self._cores, self._memory, self._tasks = (
            self._cores + cores,
            self._memory + memory,
            self._tasks + 1,
        )
        return True

    def give_back(self, resources: Resources) -> None:
        """Gives back what a task has taken."""
        cores, memory = self._asked(resources)
        self._cores, self._memory, self._tasks = (
            self._cores - cores,
            self._memory - memory,
            self._tasks - 1,
        )

    def _asked(self, resources: Resources) -> tuple[float, int]:
        cores = resources.cpu_request or resources.cpu_limit or _DEFAULT.cpu_request
        memory = resources.memory_request or resources.memory_limit
        return min(cores, self.cores), min(memory, self.memory)


def machine_cores() -> float:
    """Returns the cores that this process may use: its affinity, or its container's quota."""
    cores = float(len(os.sched_getaffinity(0)))
    quota, _, period = _cgroup("cpu.max").partition(" ")
    return min(cores, int(quota) / int(period)) if quota.isdigit() and period.isdigit() else cores


def machine_memory() -> int:
    """Returns the bytes that this process may use: the machine's, or its container's limit."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _cgroup("memory.max")
    return min(total, int(limit)) if limit.isdigit() else total


def _cgroup(name: str) -> str:
    try:
        return (_CGROUP / name).read_text().strip()
    except OSError:
        return ""
