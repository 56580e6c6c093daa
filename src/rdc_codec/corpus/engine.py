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

TRIES = 4  # of a unit, with which its worker may have died
_BLOCKS = 4096  # of units: what Ray gives to an actor at a time
_STORE = 200_000_000  # bytes of shared memory; units and outcomes are small
_LEVEL = "RAY_BACKEND_LOG_LEVEL"
# Read when Ray is imported. What the user has set stays.
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    _LEVEL: "fatal",
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
    heard = os.environ[_LEVEL] != _QUIET[_LEVEL]
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
            try:
                with contextlib.nullcontext() if heard else _muted():
                    ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise BackendError(f"Ray: {one_line(error)}") from None
        yield workers or max(1, int(ray.cluster_resources().get("CPU", 1)) // threads)
    finally:
        if mine:
            ray.shutdown()


@contextlib.contextmanager
def _muted() -> Iterator[None]:
    """Let native code say nothing on stderr: Ray reports there that it took the level of its messages."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


class Ledger:
    """Knows what was begun and what came of it, in a process of its own: that of a worker may end at any time."""

    def __init__(self) -> None:
        self._tries: dict[int, int] = {}
        self._done: dict[int, str] = {}

    def begin(self, number: int) -> tuple[int, str | None]:
        """Return how often a unit was begun, this time included, and what came of it, if it was ended."""
        self._tries[number] = self._tries.get(number, 0) + 1
        return self._tries[number], self._done.get(number)

    def end(self, number: int, outcome: str) -> None:
        """Keep what came of a unit, for the case that Ray has it done again with others of its block."""
        self._done[number] = outcome


class Actor:
    """Does batches of units, which come and go as JSON, with one codec. ledger: the handle of a Ledger."""

    def __init__(self, settings: Settings, ledger: Any) -> None:
        self._worker = Worker(settings)
        self._ledger = ledger

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"outcome": np.array([self._outcome(Unit.load(text)) for text in batch["unit"]], dtype=object)}

    def _outcome(self, unit: Unit) -> str:
        import ray

        tries, known = ray.get(self._ledger.begin.remote(unit.number))
        if known is not None:
            return str(known)
        outcome = _died(unit) if tries > TRIES else self._worker.do(unit)
        ray.get(self._ledger.end.remote(unit.number, outcome.dump()))
        return outcome.dump()


def _died(unit: Unit) -> Outcome:
    text = f"the process that worked on this ended, {TRIES} times"
    return Outcome(unit.number, notes=[Note(name, WorkerDiedError.__name__, text) for name in unit.sources])


def run(units: Sequence[Unit], settings: Settings, workers: int) -> Iterator[Outcome]:
    """Yield an outcome for every unit, once, as they are done; in a session.

    A unit with which its worker died as often as it was tried has notes of WorkerDiedError, for each of its sources.
    Raises BackendError where workers cannot be started.
    """
    import ray
    from ray.data import ActorPoolStrategy, DataContext
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    context = DataContext.get_current()
    wanted = {
        "enable_progress_bars": False,
        "print_on_execution_start": False,
        "execution_no_progress_timeout_s": -1,  # a shard takes what it takes
        "max_errored_blocks": -1,
        "max_consecutive_actor_init_deaths": TRIES,
    }
    for name, value in wanted.items():
        if hasattr(context, name):
            setattr(context, name, value)
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what it would say stands in the report
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    ledger = ray.remote(Ledger).options(num_cpus=0, scheduling_strategy=here).remote()
    waiting = {unit.number: unit for unit in units}
    items = [{"unit": unit.dump()} for unit in units]
    done = ray.data.from_items(items, override_num_blocks=min(len(items), _BLOCKS)).map_batches(
        Actor,
        fn_constructor_args=[settings, ledger],
        batch_size=1,
        compute=ActorPoolStrategy(size=min(workers, len(units)), max_tasks_in_flight_per_actor=2),
        num_cpus=settings.threads,
    )
    try:
        for row in done.iter_rows():
            outcome = Outcome.load(row["outcome"])
            if waiting.pop(outcome.number, None) is not None:  # else a task that was run again
                yield outcome
    except ray.exceptions.RayError as error:
        raise BackendError(f"Ray: {one_line(error)}") from None
    for unit in waiting.values():  # lost with the machine that had them
        yield _died(unit)
