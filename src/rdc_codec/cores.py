"""How many cores this process may use: fewer than the machine has where it is pinned or lives in a container."""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def limit(cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP) -> int | None:
    """Return how many cores the process is held to by its affinity and by the quotas of its control groups.

    None where neither holds it to fewer than the machine has: engines then choose by themselves, and know which of
    the cores are only threads of others.
    """
    machine = os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else machine
    quotas = [math.ceil(quota) for quota in _quotas(cgroups, membership)]
    cores = max(1, min([allowed, *quotas]))
    return cores if cores < machine else None


def _quotas(cgroups: Path, membership: Path) -> list[float]:
    """Return the quotas, in cores, of the group of the process and of those around it, of both versions of cgroups."""
    found = []
    for line in _text(membership).splitlines():
        _, controllers, path = line.split(":", 2)
        root = cgroups if not controllers else cgroups / "cpu"
        if controllers and "cpu" not in controllers.split(","):
            continue
        group = root / path.lstrip("/")
        # In a container the path may be that of the host: then only the root is there.
        for folder in (group, *group.parents):
            if not folder.is_relative_to(root):
                break
            if controllers:
                quota, period = _text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")
            else:
                quota, _, period = _text(folder / "cpu.max").partition(" ")
            if quota.strip().isdigit() and period.strip().isdigit() and int(period):
                found.append(int(quota) / int(period))
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
