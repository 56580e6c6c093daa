"""Ray Data has units done by actors, each with a codec of its own. What an actor did not end, another one does.

Pictures do not pass through Ray's object store: an actor reads and writes them itself.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .. import cores
from ..errors import BackendError
from ..files import one_line
from .settings import Settings
from .units import Note, Outcome, Unit, WorkerDiedError
from .work import Worker

RETRIES = 3  # of a unit whose worker died
_BLOCKS = 4096  # of units: what Ray gives to an actor at a time
_STORE = 200_000_000  # bytes of shared memory; units and outcomes are small
# Read when Ray is imported. What the user has set stays.
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "1",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
}


@contextlib.contextmanager
def session(address: str | None, workers: int | None, threads: int) -> Iterator[int]:
    """Hold Ray for the block, and give the number of workers: as asked, or as many as the cluster has cores for.

    address: of a cluster. Without it Ray is started on this machine and stopped again, with no dashboard and without
    statistics of use; where the process has Ray started already, that is used. Raises BackendError.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    import ray

    mine = not ray.is_initialized()
    options: dict[str, Any] = {"address": address}
    if address is None:
        here = cores.limit() or os.cpu_count() or 1
        options = {
            "address": "local",
            "num_cpus": max(here, (workers or 1) * threads),
            "include_dashboard": False,
            "object_store_memory": _STORE,
        }
    try:
        if mine:
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
        yield workers or max(1, int(ray.cluster_resources().get("CPU", 1)) // threads)
    except (ConnectionError, ValueError) as error:
        raise BackendError(f"Ray: {one_line(error)}") from None
    finally:
        if mine:
            ray.shutdown()


class _Actor:
    """Does batches of units, which come and go as JSON."""

    def __init__(self, settings: Settings) -> None:
        self._worker = Worker(settings)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        outcomes = [self._worker.do(Unit.load(text)).dump() for text in batch["unit"]]
        return {"outcome": np.array(outcomes, dtype=object)}


def run(units: Sequence[Unit], settings: Settings, workers: int) -> Iterator[Outcome]:
    """Yield an outcome for every unit, once, as they are done; in a session.

    A unit whose worker died as often as it was tried has notes of WorkerDiedError, for each of its sources.
    """
    import ray
    from ray.data import ActorPoolStrategy, DataContext

    context = DataContext.get_current()
    wanted = {
        "enable_progress_bars": False,
        "print_on_execution_start": False,
        "execution_no_progress_timeout_s": -1,  # a shard takes what it takes
        "max_errored_blocks": -1,
        "max_consecutive_actor_init_deaths": RETRIES,
    }
    for name, value in wanted.items():
        if hasattr(context, name):
            setattr(context, name, value)
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what it would say stands in the report
    waiting = {unit.number: unit for unit in units}
    items = [{"unit": unit.dump()} for unit in units]
    done = ray.data.from_items(items, override_num_blocks=min(len(items), _BLOCKS)).map_batches(
        _Actor,
        fn_constructor_args=[settings],
        batch_size=1,
        compute=ActorPoolStrategy(size=min(workers, len(units)), max_tasks_in_flight_per_actor=2),
        num_cpus=settings.threads,
        max_restarts=-1,
        max_task_retries=RETRIES,
    )
    for row in done.iter_rows():
        outcome = Outcome.load(row["outcome"])
        if waiting.pop(outcome.number, None) is not None:  # else a task that was run again
            yield outcome
    for unit in waiting.values():
        text = f"the worker died {RETRIES + 1} times"
        notes = [Note(name, WorkerDiedError.__name__, text) for name in unit.sources]
        yield Outcome(unit.number, notes=notes)
