"""Steps that wait for a model: fair between tenants, and between the sessions of one."""

from collections import OrderedDict
from collections.abc import Iterator

from xlstmd.engine.step_job import StepJob

Line = OrderedDict[StepJob, None]


class StepQueue:
    """The unfinished steps of one model.

    Tenants take turns, whatever the number of their sessions; a session has one step at a time, so
    that the first of a tenant's line is always that of another session.
    """

    def __init__(self) -> None:
        """Starts empty."""
        self._inside: set[StepJob] = set()
        self._lines: OrderedDict[str, Line] = OrderedDict()

    def __iter__(self) -> Iterator[StepJob]:
        """Gives every unfinished step."""
        return iter(tuple(self._inside))

    def __len__(self) -> int:
        """Gives the number of unfinished steps."""
        return len(self._inside)

    def add(self, job: StepJob, *, is_waiting: bool = True) -> None:
        """Takes in a step; it counts until `leave`.

        Args:
          job: of a session that has no other one here.
          is_waiting: for `take`, and not somewhere else.
        """
        self._inside.add(job)
        if not is_waiting:
            return
        self._lines.setdefault(job.key.tenant, OrderedDict())[job] = None

    def leave(self, job: StepJob) -> None:
        """Lets go of a settled step."""
        self._inside.discard(job)
        line = self._lines.get(job.key.tenant)
        if line is not None:
            line.pop(job, None)
            if not line:
                del self._lines[job.key.tenant]

    def take(self, *, max_rows: int, max_points: int) -> list[StepJob]:
        """Takes the next batch.

        Args:
          max_rows: of the batch.
          max_points: of all its steps together; a larger step goes alone.
        """
        batch: list[StepJob] = []
        points = 0
        while self._lines and len(batch) < max_rows:
            tenant, line = next(iter(self._lines.items()))
            job = next(iter(line))
            if batch and points + job.points > max_points:
                break
            del line[job]
            self._lines.move_to_end(tenant)
            if not line:
                del self._lines[tenant]
            if job.is_open:
                batch.append(job)
                points += job.points
        return batch
