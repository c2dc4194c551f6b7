"""How an action came about."""

from enum import StrEnum
from typing import Final


class ActionStatus(StrEnum):
    """Of one action; the last of those that apply in the order of the guards."""

    OK = "ok"
    CLIPPED = "clipped"
    RATE_LIMITED = "rate_limited"
    FALLBACK_STALE = "fallback_stale"
    FALLBACK_LATE = "fallback_late"
    FALLBACK_NONFINITE = "fallback_nonfinite"
    FALLBACK_OOD = "fallback_ood"


# By the number with which a reply is stored: new ones come last.
STATUSES: Final = tuple(ActionStatus)

# Those of observations that the memory has taken in.
OF_THE_POLICY: Final = (ActionStatus.OK, ActionStatus.CLIPPED, ActionStatus.RATE_LIMITED)
