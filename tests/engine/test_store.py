"""The laws of the embedded store, on a healthy disk."""

import asyncio
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.engine.stored import LARGE, key, record
from tests.fakes import ManualClock
from xlstmd.engine import store_writer
from xlstmd.engine.session_record import Ending, Tombstone
from xlstmd.engine.sqlite_store import SqliteStore
from xlstmd.engine.store import bounded_groups
from xlstmd.engine.store_folder import DATABASE, StoreFolder
from xlstmd.engine.store_schema import LOG_BYTES, STEPS
from xlstmd.errors import ConfigError, Overloaded, StoreFailed, StoreFull

ROOT = Path(__file__).parents[2]
DAY_S = 24 * 3600.0


class WatchedFolder(StoreFolder):
    """Notes every statement of every connection."""

    def __init__(self, path):
        super().__init__(path)
        self.statements = []

    def connect(self):
        connection = super().connect()
        connection.set_trace_callback(self.statements.append)
        return connection


def opened(path, **parts):
    return closing(SqliteStore(StoreFolder(path), **parts))


def tombstone(name, reason=Ending.ENDED):
    return Tombstone(key=key(name), reason=reason)


def same(found, expected):
    """Says whether a session came back, whatever its age."""
    fields = [name for name in expected.__slots__ if name != "idle_s"]
    return all(getattr(found, name) == getattr(expected, name) for name in fields)


@contextmanager
def held_up(path):
    """Keeps the writer from writing, as another connection that writes does."""
    with closing(sqlite3.connect(path / DATABASE, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


steps_of_a_life = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 3), st.sampled_from([10, 9_000, LARGE])),
        st.tuples(st.just("end"), st.integers(0, 3), st.sampled_from(list(Ending))),
        st.tuples(st.just("reopen"), st.just(0), st.just(0)),
    ),
    max_size=12,
)


@given(life=steps_of_a_life, together=st.booleans())
def test_what_was_committed_is_read_back_equal(life, together, tmp_path_factory):
    path = tmp_path_factory.mktemp("store")
    expected, waiting = {}, []
    store = SqliteStore(StoreFolder(path))
    for seq, (what, number, detail) in enumerate(life, start=1):
        name = f"s{number}"
        if what == "reopen":
            store.close()
            store = SqliteStore(StoreFolder(path))
            continue
        put = what == "put"
        change = record(name, seq, size=detail) if put else tombstone(name, detail)
        expected[name] = change
        waiting.append(store.commit([change], durable=seq % 2 == 0))
        if not together:
            waiting[-1].result()
    for done in waiting:
        done.result()
    with closing(store):
        for name, change in expected.items():
            assert same(store.read(key(name)).result(), change)
        alive = [one for one in expected.values() if not isinstance(one, Tombstone)]
        status = store.status()
        assert status.sessions == len(alive)
        assert status.tombstones == len(expected) - len(alive)
        assert (status.failures, status.fallbacks, status.error) == (0, 0, None)
        assert status.waiting_bytes == 0
    files = len(list((path / "large").iterdir()))
    assert files <= 2 * sum(one.nbytes > 2**20 for one in alive) + len(alive)


def test_keys_differ_in_every_part(tmp_path):
    with opened(tmp_path) as store:
        changes = [
            record("a", 1),
            record("a", 2, surface="policy"),
            record("a", 3, tenant="u"),
            record("A", 4),
        ]
        store.commit(changes).result()
        for change in changes:
            assert same(store.read(change.key).result(), change)
        assert store.read(key("b")).result() is None


def test_a_batch_is_written_in_order(tmp_path):
    with opened(tmp_path) as store:
        store.commit([record("a", 1), tombstone("a"), record("a", 2), record("a", 3)]).result()
        assert store.read(key("a")).result().seq == 3
        assert (store.status().sessions, store.status().tombstones) == (1, 0)


def test_waiting_calls_share_a_transaction(tmp_path):
    folder = WatchedFolder(tmp_path)
    with closing(SqliteStore(folder)) as store:
        store.commit([record("a", 1)]).result()
        folder.statements.clear()
        with held_up(tmp_path):
            calls = [store.commit([record(f"s{k}", 1)], durable=True) for k in range(100)]
        for call in calls:
            call.result()
        assert folder.statements.count("COMMIT") <= 3
        assert store.status().sessions == 101


def test_only_who_asks_waits_for_the_disk(tmp_path):
    folder = WatchedFolder(tmp_path)
    with closing(SqliteStore(folder)) as store:
        for durable, size in ((False, 10), (True, 10), (False, 10), (False, LARGE)):
            store.commit([record("a", 1, size=size)], durable=durable).result()
        modes = [line for line in folder.statements if line.startswith("PRAGMA synchronous")]
        assert modes[-4:] == [f"PRAGMA synchronous = {m}" for m in ("NORMAL", "FULL") * 2]


def test_a_call_that_cannot_be_encoded_fails_alone(tmp_path):
    with opened(tmp_path) as store:
        with held_up(tmp_path):
            blocker = store.commit([record("a", 1)])
            bad = store.commit([record("a", 2), replace(record("b", 1), key=key("\ud800"))])
            good = store.commit([record("c", 1)])
        with pytest.raises(UnicodeEncodeError):
            bad.result()
        assert (blocker.result(), good.result()) == (None, None)
        assert store.read(key("a")).result().seq == 1
        assert store.status().sessions == 2


def test_a_cancelled_call_writes_nothing(tmp_path):
    with opened(tmp_path) as store:
        with held_up(tmp_path):
            blocker = store.commit([record("a", 1)])
            calls = [store.commit([record(f"s{k}", 1)]) for k in range(3)]
            was_cancelled = calls[1].cancel()
        blocker.result()
        calls[2].result()
        assert (store.read(key("s1")).result() is None) == was_cancelled


def test_an_event_loop_waits_without_standing_still(tmp_path):
    async def law():
        with opened(tmp_path) as store:
            with held_up(tmp_path):
                commit = asyncio.wrap_future(store.commit([record("a", 1)]))
                await asyncio.sleep(0)
                assert await asyncio.wrap_future(store.read(key("a"))) is None
                assert not commit.done()
            await commit
            assert same(await asyncio.wrap_future(store.read(key("a"))), record("a", 1))

    asyncio.run(law())


def test_what_waits_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(store_writer, "WAITING_BYTES", 10_000)
    with opened(tmp_path) as store:
        with held_up(tmp_path):
            calls = [store.commit([record(f"s{k}", 1)]) for k in range(50)]
            refused = [call for call in calls if call.done()]
            assert len(refused) >= 45
            assert store.status().waiting_bytes <= 10_000
        for call in refused:
            with pytest.raises(Overloaded):
                call.result()
        for call in calls:
            if call not in refused:
                call.result()
        # Even one that is larger than the bound gets its turn.
        store.commit([record("large", 1, size=20_000)]).result()


def test_the_log_is_bounded(tmp_path):
    with opened(tmp_path) as store:
        many = (record(f"s{k}", 1, size=60_000) for k in range(800))
        for group in bounded_groups(many, max_bytes=2**21):
            store.commit(group).result()
            assert store.status().log_bytes < LOG_BYTES + 2**22
        assert store.status().disk_bytes > 800 * 60_000


@given(
    sizes=st.lists(st.integers(0, 50), max_size=30),
    max_bytes=st.integers(1, 100),
    max_changes=st.integers(1, 5),
)
def test_groups_are_bounded_and_leave_nothing_out(sizes, max_bytes, max_changes):
    changes = [record("a", seq, size=size) for seq, size in enumerate(sizes)]
    groups = list(bounded_groups(changes, max_bytes=max_bytes, max_changes=max_changes))
    assert [one for group in groups for one in group] == changes
    for group in groups:
        assert 1 <= len(group) <= max_changes
        assert len(group) == 1 or sum(one.nbytes for one in group) <= max_bytes


def test_a_session_ends_with_a_reason_and_may_begin_again(tmp_path):
    with opened(tmp_path) as store:
        for reason in Ending:
            store.commit([record("a", 7, size=LARGE)]).result()
            store.commit([tombstone("a", reason)]).result()
            assert store.read(key("a")).result() == tombstone("a", reason)
            assert store.status().session_bytes == 0
        store.commit([record("a", 1)]).result()
        assert store.read(key("a")).result().seq == 1
        assert store.status().tombstones == 0
    assert not list((tmp_path / "large").iterdir())


def test_a_tombstone_stands_for_a_day_of_running_time(tmp_path):
    clock = ManualClock()
    with opened(tmp_path, clock=clock) as store:
        store.commit([tombstone(f"s{k}") for k in range(3)]).result()
        clock.advance(DAY_S - 1.0)
        assert store.read(key("s0")).result() == tombstone("s0")
        clock.advance(2.0)
        assert store.read(key("s0")).result() is None
        store.commit([record("other", 1)]).result()
        assert store.status().tombstones == 0


def test_many_tombstones_go_in_bounded_parts(tmp_path):
    clock = ManualClock()
    with opened(tmp_path, clock=clock) as store:
        store.commit([tombstone(f"s{k}") for k in range(3000)]).result()
        clock.advance(DAY_S + 1.0)
        left = []
        for k in range(3):
            store.commit([record("other", 1 + k)]).result()
            left.append(store.status().tombstones)
        assert left == [3000 - 1024, 3000 - 2048, 0]


def test_idle_time_is_running_time_and_survives_a_restart(tmp_path, monkeypatch):
    monkeypatch.setattr("time.time", lambda: pytest.fail("a wall clock was asked"))
    monkeypatch.setattr("time.time_ns", lambda: pytest.fail("a wall clock was asked"))
    clock = ManualClock()
    with opened(tmp_path, clock=clock) as store:
        store.commit([record("a", 1, idle_s=5.0), record("b", 1)]).result()
        clock.advance(100.0)
        assert store.read(key("a")).result().idle_s == pytest.approx(105.0)
        assert store.read(key("b")).result().idle_s == pytest.approx(100.0)
    # Another boot: the monotonic clock starts anew, and a year has passed for the wall.
    clock = ManualClock()
    with opened(tmp_path, clock=clock) as store:
        assert store.read(key("a")).result().idle_s == pytest.approx(105.0)
        clock.advance(10.0)
        assert [one.key.id for one in store.idle(longer_than_s=112.0, limit=9).result()] == ["a"]
        idle = store.idle(longer_than_s=0.0, limit=9).result()
        assert [(one.key.id, one.idle_s) for one in idle] == [
            ("a", pytest.approx(115.0)),
            ("b", pytest.approx(110.0)),
        ]
        assert len(store.idle(longer_than_s=0.0, limit=1).result()) == 1


def test_sessions_are_listed_page_by_page(tmp_path):
    with opened(tmp_path) as store:
        keys = [
            key(f"s{k:02}", surface=surface, tenant=tenant)
            for tenant in ("t", "t2")
            for surface in ("encode", "forecast")
            for k in range(7)
        ]
        changes = [record(one.id, 3, surface=one.surface, tenant=one.tenant) for one in keys]
        store.commit(changes[::-1]).result()
        for prefix in ((), ("t",), ("t", "forecast"), ("t2", "encode"), ("nobody",)):
            seen, after = [], None
            while page := store.page(prefix, after=after, limit=3).result():
                assert len(page) <= 3
                seen += page
                after = page[-1].key
            assert [one.key for one in seen] == [
                one for one in keys if one[: len(prefix)] == prefix
            ]
        first = store.page((), after=None, limit=1).result()[0]
        assert (first.model, first.seq, first.created_ns, first.used_ns) == ("small@1", 3, 1, 4)
        assert first.nbytes > changes[0].nbytes


def test_a_folder_has_one_store(tmp_path):
    with opened(tmp_path):
        with pytest.raises(ConfigError, match=r"in use by process \d+") as caught:
            SqliteStore(StoreFolder(tmp_path))
        assert str(tmp_path) in str(caught.value)
        code = (
            "import sys; from pathlib import Path\n"
            "from xlstmd.engine.sqlite_store import SqliteStore\n"
            "from xlstmd.engine.store_folder import StoreFolder\n"
            "SqliteStore(StoreFolder(Path(sys.argv[1])))"
        )
        command = [sys.executable, "-c", code, str(tmp_path)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert "ConfigError: state_dir: expected a folder that no other daemon uses" in done.stderr
    with opened(tmp_path) as store:
        store.commit([record("a", 1)]).result()


def test_a_folder_that_cannot_be_made_is_a_matter_of_configuration(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="state_dir"):
        SqliteStore(StoreFolder(tmp_path / "file" / "state"))


def test_what_sessions_hold_is_for_their_owner_alone(tmp_path):
    with opened(tmp_path / "state") as store:
        store.commit([record("a", 1, size=LARGE)]).result()
        store.back_up(tmp_path / "copy").result()
        places = [*(tmp_path / "state").rglob("*"), tmp_path / "state", tmp_path / "copy"]
        assert len(places) >= 7
        for place in places:
            assert place.stat().st_mode & 0o077 == 0, place


def test_close_writes_what_waits_and_may_be_repeated(tmp_path):
    store = SqliteStore(StoreFolder(tmp_path))
    calls = [store.commit([record(f"s{k}", 1)]) for k in range(50)]
    store.close()
    store.close()
    assert all(call.result() is None for call in calls)
    with pytest.raises(StoreFull):
        store.commit([record("late", 1)]).result()
    with pytest.raises(StoreFailed):
        store.read(key("s0")).result()
    assert not (tmp_path / f"{DATABASE}-wal").exists()
    with opened(tmp_path) as again:
        assert again.status().sessions == 50


WITH_NOTES = (*STEPS, ("ALTER TABLE sessions ADD COLUMN note TEXT NOT NULL DEFAULT 'none'",))


def test_an_older_schema_is_brought_up_to_date_and_a_newer_one_refused(tmp_path):
    with opened(tmp_path) as store:
        store.commit([record("a", 1), tombstone("b")]).result()
    with opened(tmp_path, steps=WITH_NOTES) as store:
        assert same(store.read(key("a")).result(), record("a", 1))
        store.commit([record("a", 2)]).result()
    with closing(sqlite3.connect(tmp_path / DATABASE)) as database:
        assert database.execute("SELECT note FROM sessions").fetchall() == [("none",)]
    with pytest.raises(ConfigError, match="version 1 or older, got version 2"):
        SqliteStore(StoreFolder(tmp_path))
    with opened(tmp_path, steps=WITH_NOTES) as store:
        assert store.read(key("a")).result().seq == 2
        assert store.read(key("b")).result() == tombstone("b")


def test_a_migration_that_fails_leaves_what_was(tmp_path):
    with opened(tmp_path) as store:
        store.commit([record("a", 1)]).result()
    broken = (*STEPS, ("DELETE FROM sessions", "ALTER TABLE nothing ADD COLUMN x"))
    with pytest.raises(StoreFailed, match="nothing"):
        SqliteStore(StoreFolder(tmp_path), steps=broken)
    with opened(tmp_path) as store:
        assert same(store.read(key("a")).result(), record("a", 1))


def test_the_database_of_another_program_is_left_alone(tmp_path):
    with closing(sqlite3.connect(tmp_path / DATABASE)) as database:
        database.execute("CREATE TABLE mine (x)")
        database.commit()
    with pytest.raises(ConfigError, match="another program"):
        SqliteStore(StoreFolder(tmp_path))


def test_a_backup_made_while_sessions_move_opens_as_a_store(tmp_path):
    with opened(tmp_path / "state") as store:
        names = ("a", "b", "large")
        sizes = {"a": 100, "b": 50_000, "large": LARGE}
        for seq in (1, 2, 3):
            store.commit([record(name, seq, size=sizes[name]) for name in names]).result()
        backup, seq = store.back_up(tmp_path / "copy"), 3
        while not backup.done():
            seq += 1
            store.commit([record(name, seq, size=sizes[name]) for name in names]).result()
        backup.result()
        assert [path.name for path in tmp_path.iterdir() if path.suffix] == []
    (tmp_path / "restored").mkdir()
    (tmp_path / "copy").rename(tmp_path / "restored" / DATABASE)
    with opened(tmp_path / "restored") as store:
        found = [store.read(key(name)).result() for name in names]
        assert len({one.seq for one in found}) == 1
        for name, one in zip(names, found, strict=True):
            assert same(one, record(name, one.seq, size=sizes[name]))
        store.commit([record("large", 99, size=LARGE)]).result()
        assert store.status().fallbacks == 0


def test_a_backup_that_fails_leaves_what_was_there(tmp_path):
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "file").write_text("kept")
    with opened(tmp_path / "state") as store:
        with pytest.raises(StoreFailed):
            store.back_up(tmp_path / "target").result()
        with pytest.raises(StoreFailed):
            store.back_up(tmp_path / "nowhere" / "copy").result()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["state", "target"]
