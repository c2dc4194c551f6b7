"""The queue of a lane: bounded by rows and bytes, fair between tasks."""

from collections import OrderedDict
from collections.abc import Iterator

from xlstmd.engine.job import Batch, Job, Part

Key = tuple[int, tuple[float, ...]]
Group = OrderedDict[Job, None]


class WaitingRoom:
    """The unfinished jobs of a lane.

    Jobs that can be computed together (equal horizon and levels) form a group. Groups take turns,
    and within a group every job gets the same share of a batch, so that a task of ten thousand
    series delays the others by its share of one batch and not by itself.
    """

    def __init__(self, *, max_rows: int, max_bytes: int) -> None:
        """Sets the bounds; a job counts from `admit` to `leave`."""
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._inside: set[Job] = set()
        self._groups: OrderedDict[Key, Group] = OrderedDict()
        self.rows = 0
        self.nbytes = 0

    def __iter__(self) -> Iterator[Job]:
        """Gives every unfinished job."""
        return iter(tuple(self._inside))

    def __len__(self) -> int:
        """Gives the number of unfinished jobs."""
        return len(self._inside)

    def has_room(self, rows: int, nbytes: int) -> bool:
        """Says whether a job of this size fits."""
        return self.rows + rows <= self._max_rows and self.nbytes + nbytes <= self._max_bytes

    def admit(self, job: Job) -> None:
        """Takes in a job; asks nobody whether there is room."""
        self._inside.add(job)
        self.rows += job.task.rows
        self.nbytes += job.nbytes
        self._groups.setdefault(job.key, OrderedDict())[job] = None

    def leave(self, job: Job) -> None:
        """Frees the room of a settled job."""
        if job in self._inside:
            self._inside.discard(job)
            self.rows -= job.task.rows
            self.nbytes -= job.nbytes
            group: Group = self._groups.get(job.key, OrderedDict())
            group.pop(job, None)
            if not group:
                self._groups.pop(job.key, None)

    def take(self, *, max_rows: int, max_points: int) -> Batch | None:
        """Takes the next batch out of the waiting rows; `None` when no row waits.

        Args:
          max_rows: of the batch.
          max_points: rows times the longest row; a longer row makes a batch of its own.
        """
        while self._groups:
            key, jobs = self._groups.popitem(last=False)
            parts = _fill(jobs, horizon=key[0], max_rows=max_rows, max_points=max_points)
            if jobs:
                self._groups[key] = jobs
            if parts:
                return Batch(parts)
        return None


def _fill(jobs: Group, *, horizon: int, max_rows: int, max_points: int) -> tuple[Part, ...]:
    """Takes a fair share of each job's rows; jobs with rows left stay, behind the others."""
    taken: dict[Job, Part] = {}
    rows = longest = 0
    is_full = False
    while jobs and rows < max_rows and not is_full:
        share = max(1, (max_rows - rows) // len(jobs))
        for _ in range(len(jobs)):
            job, _ = jobs.popitem(last=False)
            wanted = min(share, job.waiting_rows, max_rows - rows)
            count = 0
            while count < wanted and not is_full:
                longer = max(longest, len(job.task.histories[job.taken]) + horizon)
                is_full = rows > 0 and (rows + 1) * longer > max_points
                if not is_full:
                    longest = longer
                    rows, count, job.taken = rows + 1, count + 1, job.taken + 1
            if count:
                earlier = taken.get(job)
                first = earlier.first if earlier else job.taken - count
                taken[job] = Part(job, first, job.taken - first)
            if job.waiting_rows:
                jobs[job] = None
            if is_full or rows == max_rows:
                break
    return tuple(taken.values())
