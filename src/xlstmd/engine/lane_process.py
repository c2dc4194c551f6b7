"""The process of a lane: `python -m xlstmd.engine.lane_process CONNECTION MEMORY LIFELINE`.

It is started by `process_lane` with three descriptors. It ends when the connection does, whatever
the front of the daemon has died of, also in the middle of a call.
"""

import gc
import os
import signal
import socket
import sys
import threading
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Final

from xlstmd.engine.lane import HEARTBEAT_S, RESTART_S
from xlstmd.engine.lane_channel import Closed, LaneChannel, Message, NoRoom
from xlstmd.engine.lane_wire import pack_answer, pack_error, unpack_order
from xlstmd.engine.lane_worker import LaneWorker
from xlstmd.engine.model_facts import facts_of
from xlstmd.engine.model_source import ModelSource
from xlstmd.errors import LaneDown

# Where memory is short a lane goes before the front, which can start another one.
_OOM_SCORE: Final = "500"


def main() -> None:
    """Serves one front until it is gone."""
    connection, memory, lifeline = map(int, sys.argv[1:])
    # The front drains and then closes the connection; a signal to the whole group is for it alone.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE, encoding="ascii")
    channel = LaneChannel(socket.socket(fileno=connection), memory, is_lane=True)
    os.close(memory)
    with suppress(Closed):
        worker = _loaded(channel)
        if worker is not None:
            _serve(channel, worker)


def _loaded(channel: LaneChannel) -> LaneWorker | None:
    """Loads the model that the first message names, and tells of it or of the failure."""
    source = ModelSource(**channel.receive().header["load"])
    channel.give_sign()
    try:
        model = source.load()
        facts = asdict(facts_of(model))
    except BaseException as error:
        channel.send(*pack_error(error))
        return None
    # What loading has made stays: collections need not walk through it again and again.
    gc.collect()
    gc.freeze()
    channel.give_sign()
    channel.send({"facts": facts})
    return LaneWorker(model)


def _serve(channel: LaneChannel, worker: LaneWorker) -> None:
    channel.connection.settimeout(HEARTBEAT_S)
    while True:
        channel.give_sign()
        try:
            message = channel.receive()
        except TimeoutError:
            continue
        except NoRoom:
            # The front waits for an answer all the same.
            channel.send(*_no_room())
            continue
        channel.give_sign()
        try:
            answer = pack_answer(worker.do(unpack_order(message)))
        except BaseException as error:  # The worker outlives whatever the model raises.
            answer = pack_error(error)
        channel.give_sign()
        try:
            channel.send(*answer)
        except NoRoom:
            channel.send(*_no_room())


def _no_room() -> Message:
    what = "the model's process has no memory or no open file left for a message"
    return pack_error(LaneDown(what, retry_after_s=RESTART_S))


def _end_with(lifeline: int) -> None:
    """Ends this process when the front does, which alone holds the other end of a pipe."""
    os.read(lifeline, 1)
    os._exit(1)


if __name__ == "__main__":
    main()
