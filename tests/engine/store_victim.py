"""A process that writes sessions until it is killed, or runs into a full disk. Not a test.

Usage: `python -m tests.engine.store_victim endless|until|full FOLDER [POINT]`
"""

import itertools
import os
import random
import resource
import signal
import sys
from contextlib import closing
from pathlib import Path

from tests.engine.stored import LARGE, key, record
from xlstmd.engine.session_record import Ending, Tombstone
from xlstmd.engine.sqlite_store import SqliteStore
from xlstmd.engine.store_folder import StoreFolder
from xlstmd.errors import StoreFull

SIZES = {"s0": 500, "s1": 5_000, "s2": 48_000, "s3": 300_000, "large": LARGE, "brief": 20_000}


def say(*words):
    """Writes a line that survives the process."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def endless(path):
    """Moves sessions on in random groups; says what it tries and what was committed."""
    rng = random.Random(os.getpid())
    with closing(SqliteStore(StoreFolder(path))) as store:
        seqs = {}
        for name in SIZES:
            found = store.read(key(name)).result()
            seqs[name] = getattr(found, "seq", 0)
        say("ready")
        for _ in itertools.count():
            group = []
            for name in rng.sample(list(SIZES), rng.randint(1, len(SIZES))):
                if name == "brief" and seqs[name] and rng.random() < 0.3:
                    seqs[name] = 0
                    group.append(Tombstone(key=key(name), reason=Ending.ENDED))
                else:
                    seqs[name] += 1
                    group.append(record(name, seqs[name], size=SIZES[name]))
            words = [f"{one.key.id}={getattr(one, 'seq', 0)}" for one in group]
            say("try", *words)
            store.commit(group, durable=rng.random() < 0.3).result()
            say("done", *words)


class Trap(StoreFolder):
    """Kills the process at one point of a commit, once armed."""

    def __init__(self, path, point):
        super().__init__(path)
        self.point = point
        self.is_armed = False

    def at(self, point):
        """Dies if this is the point."""
        if self.is_armed and point == self.point:
            os.kill(os.getpid(), signal.SIGKILL)

    def connect(self):
        """Watches statements."""
        connection = super().connect()
        connection.set_trace_callback(lambda line: self.at(line.split("(")[0]))
        return connection

    def write_large(self, name, snapshot):
        """Stands before and after the file, and beside a half-written one."""
        self.at("before file")
        if self.is_armed and self.point == "half file":
            (self.path / "large" / f"{name}.partial").write_bytes(snapshot[:1000])
            self.at("half file")
        super().write_large(name, snapshot)
        self.at("after file")

    def sync_large(self):
        """Stands between the files and the commit."""
        super().sync_large()
        self.at("before commit")

    def remove_large(self, name):
        """Stands after the commit, before old files go."""
        self.at("after commit")
        super().remove_large(name)


def until(path, point):
    """Commits two generations, then dies inside the third."""
    folder = Trap(path, point)
    store = SqliteStore(folder)
    for seq in (1, 2):
        store.commit([record("s0", seq), record("large", seq, size=LARGE)], durable=True).result()
    folder.is_armed = True
    last = store.commit([record("s0", 3), record("large", 3, size=LARGE)], durable=True)
    last.result()
    store.close()
    say("survived")


def full(path):
    """Fills what it may write, is refused, gets room again and goes on."""
    with closing(SqliteStore(StoreFolder(path))) as store:
        store.commit([record("large", 1, size=LARGE), record("s0", 1)]).result()
        resource.setrlimit(resource.RLIMIT_FSIZE, (LARGE - 1, resource.RLIM_INFINITY))
        seqs, refused = {"s0": 1, "large": 1}, 0
        for k in range(400):
            name = f"s{k % 40}"
            seq = seqs.get(name, 0) + 1
            try:
                store.commit([record(name, seq, size=20_000)]).result()
                seqs[name] = seq
            except StoreFull as error:
                refused += 1
                say("refused", error)
            if refused == 3:
                break
        try:
            store.commit([record("s0", 99), record("large", 2, size=LARGE)]).result()
        except StoreFull as error:
            say("refused", error)
        say("status", store.status().failures, store.status().error is not None)
        check(store, seqs)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        store.commit([record(name, seq + 1) for name, seq in seqs.items()]).result()
        seqs = {name: seq + 1 for name, seq in seqs.items()}
        check(store, seqs)
        say("healed", store.status().error, store.status().sessions == len(seqs))


def check(store, seqs):
    """Says which sessions are not as committed."""
    for name, seq in seqs.items():
        found = store.read(key(name)).result()
        expected = record(name, seq, size=len(found.payload))
        if (found.seq, found.payload) != (seq, expected.payload):
            say("wrong", name, found.seq, seq)


if __name__ == "__main__":
    {"endless": endless, "until": until, "full": full}[sys.argv[1]](
        Path(sys.argv[2]), *sys.argv[3:]
    )
