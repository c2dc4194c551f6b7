"""The slots of an arena: which ones are free, and how many sessions may have one."""


class SlotPool:
    """Counts rooms and hands out slots, as long as the worker lives that has allocated them.

    A room is the right of a session to a slot; there are fewer rooms than slots, so that there are
    always free ones to compute in.
    """

    def __init__(self, rooms: int, spares: int) -> None:
        """Starts with every slot free and clear.

        Args:
          rooms: 1 or more.
          spares: slots beyond them, 1 or more.
        """
        self.rooms = rooms
        self._free = list(range(rooms + spares))
        self._used: set[int] = set()
        self._taken = 0
        self._owed = 0

    @property
    def spare(self) -> int:
        """Slots that can be computed in now."""
        return len(self._free) - self._owed

    @property
    def free_rooms(self) -> int:
        """Rooms that nobody has."""
        return self.rooms - self._taken

    def reserve(self) -> "Room | None":
        """Takes a room, if there is one."""
        if self._taken == self.rooms:
            return None
        self._taken += 1
        self._owed += 1
        return Room(self)

    def settle(self) -> None:
        """Notes that a reserved room has got its slot; for `Room`."""
        self._owed -= 1

    def cancel(self) -> None:
        """Takes a reserved room back; for `Room`."""
        self._owed -= 1
        self._taken -= 1

    def vacate(self, slot: int) -> None:
        """Takes back a room with its slot."""
        self._taken -= 1
        self.give_back(slot)

    def take(self) -> int:
        """Takes a free slot, to be cleared or written whole before it is read."""
        return self._free.pop()

    def give_back(self, slot: int) -> None:
        """Gives back a slot that holds something."""
        self._free.append(slot)
        self._used.add(slot)

    def sweep(self) -> list[int]:
        """Lists the free slots that hold something; the caller clears them."""
        slots = [slot for slot in self._free if slot in self._used]
        self._used.clear()
        return slots


class Room:
    """A room that has no slot yet: of whoever reserved it, until one of its methods is called."""

    def __init__(self, pool: SlotPool) -> None:
        """Belongs to a pool; `SlotPool.reserve` makes it.

        Args:
          pool: that may end before.
        """
        self.pool = pool
        self._is_owed = True

    def settle(self) -> None:
        """Notes that it has got its slot."""
        if self._is_owed:
            self._is_owed = False
            self.pool.settle()

    def cancel(self) -> None:
        """Gives it back, unless it has got its slot."""
        if self._is_owed:
            self._is_owed = False
            self.pool.cancel()
