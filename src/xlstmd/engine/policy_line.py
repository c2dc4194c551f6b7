"""The unfinished requests of one policy session, in the order in which they will be taken."""

from xlstmd.engine.policy_reply import PolicyReply
from xlstmd.engine.policy_request import PolicyRequest
from xlstmd.engine.session_table import Session
from xlstmd.errors import SeqConflict, SeqReused, SessionConflict


class PolicyLine:
    """Says what a request is told that has no time to wait for its turn."""

    def __init__(self) -> None:
        """Starts empty."""
        self._requests: list[PolicyRequest] = []

    def __len__(self) -> int:
        """Gives the number of requests."""
        return len(self._requests)

    def add(self, request: PolicyRequest) -> None:
        """Takes in a request, behind all others."""
        self._requests.append(request)

    def leave(self, request: PolicyRequest) -> None:
        """Lets go of a request that was taken or refused."""
        if request in self._requests:
            self._requests.remove(request)

    def answer_late(self, request: PolicyRequest, session: Session | None) -> PolicyReply:
        """Gives the reply to a request that is not taken yet.

        Args:
          request: in the line.
          session: in memory; None for one that is not, or not yet.

        Raises:
          SeqConflict: it will not be taken: its number is not the next one.
          SeqReused: likewise, another one had its number.
        """
        before = self._requests[: self._requests.index(request)]
        last = before[-1] if before else None
        if last is not None and (last.seq, last.request_hash) == _names(request):
            return self._given(last, before[:-1], session)
        if session is not None and not before and _is_reply_to(session, request):
            return request.own(session.reply)
        if not (request.reset and request.seq == 1):
            try:
                _check(request, last, session)
            except SessionConflict:
                # Those behind it follow the one before it.
                self.leave(request)
                raise
        return self._given(request, before, session)

    def _given(
        self, request: PolicyRequest, before: list[PolicyRequest], session: Session | None
    ) -> PolicyReply:
        """Gives the reply that a request has, or has from now on."""
        known = request.made or request.late
        if known is not None:
            return known
        given = [one.made or one.late for one in before]
        reply = next((one for one in reversed(given) if one is not None), None)
        if reply is None and session is not None:
            reply = request.own(session.reply)
        return request.answer_late(reply, request.seq - 1 if reply is None else reply.episode_step)


def _names(request: PolicyRequest) -> tuple[int, bytes]:
    return request.seq, request.request_hash


def _is_reply_to(session: Session, request: PolicyRequest) -> bool:
    first = session.seq - session.reply.count + 1
    return (first, session.request_hash) == _names(request)


def _check(request: PolicyRequest, last: PolicyRequest | None, session: Session | None) -> None:
    """Refuses what will be refused when its turn comes, as far as that is known."""
    if last is None and session is None:
        return
    durable_seq = 0 if session is None else session.durable_seq
    expected = last.end + 1 if last is not None else 1
    if last is None and session is not None:
        expected = session.seq + 1
    if request.seq == expected:
        return
    if last is not None and request.seq == last.seq:
        raise SeqReused(f"seq: {request.seq} was another request of session {request.key.id}")
    raise SeqConflict(request.seq, expected, durable_seq)
