"""How often somebody may try to log in: wrong keys are counted per address and in all, for one minute each.

A key has 256 bits, so nobody guesses one: whoever is wrong too often is told to stop, and a right key is let in all the
same, for addresses are shared and anybody can use up what is allowed in all. In this process only.
"""

from __future__ import annotations

import ipaddress
import math
import threading
from collections import deque

from orchestrator.domain.ports import Clock

MOST_OF_ONE = 10
MOST_IN_ALL = 100
"""Of every address together: what is remembered is bounded."""
WINDOW_SECONDS = 60.0
IPV6_NETWORK_BITS = 64
"""One household or server holds at least so much of IPv6: its addresses count as one."""


class LoginAttempts:
    """Counts tries by the monotonic clock. A right key is forgotten, a wrong one counts until its minute is over."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._tries: deque[tuple[float, str]] = deque()

    def begin(self, address: str) -> int | None:
        """Count a try and return None; or, when there were too many, the whole seconds to wait: that one is not counted."""
        place = _place_of(address)
        with self._lock:
            now = self._clock.monotonic()
            while self._tries and self._tries[0][0] <= now - WINDOW_SECONDS:
                self._tries.popleft()
            mine = [at for at, whose in self._tries if whose == place]
            if len(mine) >= MOST_OF_ONE:
                return _wait(mine[0], now)
            if len(self._tries) >= MOST_IN_ALL:
                return _wait(self._tries[0][0], now)
            self._tries.append((now, place))
            return None

    def forget(self, address: str) -> None:
        """Forget the tries of an address: somebody there had a right key."""
        place = _place_of(address)
        with self._lock:
            self._tries = deque(each for each in self._tries if each[1] != place)


def _wait(since: float, now: float) -> int:
    return max(1, math.ceil(since + WINDOW_SECONDS - now))


def _place_of(address: str) -> str:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:  # a name, such as a test's or a unix socket's
        return address
    if found.version == 6 and found.ipv4_mapped is None:
        return str(ipaddress.ip_network((found, IPV6_NETWORK_BITS), strict=False))
    return str(found)
