"""Tasks on a Dask cluster. Importing this needs the extra ``distributed``."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

from distributed import Client, KilledWorker, WorkerPlugin, as_completed, get_worker

from sklearn_kt.exceptions import EngineError

from .sources import Task
from .tasks import Plan, write_part

__all__ = ["run_tasks"]

# Tasks under way for each thread of the cluster, so that none waits for the next.
_TASKS_PER_THREAD = 2


class _Model(WorkerPlugin):
    """Carries the model to every worker once, also to those that join later."""

    def __init__(self, name: str, estimator: Any) -> None:
        self.name = name
        self.estimator = estimator


def run_tasks(
    client: Client, estimator: Any, plan: Plan, tasks: Iterator[Task]
) -> Iterator[tuple[Task, dict[str, Any], bytes]]:
    """Run tasks on a cluster.

    Parameters
    ----------
    client : distributed.Client
        Of the cluster; what a lost worker was doing, another does again.
    estimator : estimator
        Fitted.
    plan : Plan
        What is done with each task.
    tasks : iterator of Task
        Drawn as threads become free.

    Yields
    ------
    task : Task
        Finished, in any order.
    counts : dict
        Of its rows.
    content : bytes
        Its part, a parquet file.

    Raises
    ------
    EngineError
        If workers die of the same task again and again.
    """
    name = f"sklearn_kt-{uuid4().hex}"
    client.register_plugin(_Model(name, estimator))
    running: dict[Any, Task] = {}
    try:
        finished = as_completed()
        while True:
            room = _TASKS_PER_THREAD * max(sum(client.nthreads().values()), 1) - len(running)
            for _ in range(room):
                task = next(tasks, None)
                if task is None:
                    break
                future = client.submit(_run_task, task, plan, name, pure=False)
                running[future] = task
                finished.add(future)
            if not running:
                return
            future = next(finished)
            try:
                counts, content = future.result()
            except KilledWorker as error:
                raise EngineError(
                    f"the cluster gave up on rows from {running[future].first_row} of "
                    f"{running[future].place}: {error} Finished parts are kept; the same call "
                    "goes on."
                ) from error
            yield running.pop(future), counts, content
            future.release()
    finally:
        client.cancel(list(running))
        client.unregister_worker_plugin(name)


def _run_task(task: Task, plan: Plan, name: str) -> tuple[dict[str, Any], bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "part.parquet"
        model: Any = get_worker().plugins[name]
        counts = write_part(task, plan, model.estimator, path)
        return counts, path.read_bytes()
