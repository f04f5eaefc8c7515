"""Limits on requests: token buckets in memory, one for each session and one for each address.

Addresses are kept in memory alone, and only as long as they are needed to tell who shares one.
"""

import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from threading import Lock

KEPT = 20_000
SESSIONS_KEPT = 100_000
BURST_S = 5.0  # what may come at once: this many seconds' worth
SPARE = 0.5  # of an address's burst is for those who have a session: newcomers, however many, leave it alone


class Buckets:
    """A bucket of tokens for each key, refilled steadily; the longest unused is forgotten when there are too many.

    Args:
        rate: tokens a second; 0 for no limit.
        clock: seconds, never going back.
    """

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic):
        self._rate = rate
        self._most = max(1.0, rate * BURST_S)
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # key: tokens, and when they were counted

    def take(self, key: str, cost: float = 1.0, *, spare: float = 0.0) -> float:
        """Takes tokens from the key's bucket.

        Args:
            key: whose bucket.
            cost: tokens to take; what costs more than a bucket holds passes a full one.
            spare: share of a full bucket that has to be left.

        Returns:
            0.0 when they were there; else nothing is taken, and the seconds after which to ask again.
        """
        if not self._rate:
            return 0.0
        now = self._clock()
        tokens, at = self._left.pop(key, (self._most, now))
        tokens = min(self._most, tokens + (now - at) * self._rate)
        cost = min(cost, self._most)
        needed = min(cost + spare * self._most, self._most)
        enough = tokens >= needed
        self._left[key] = (tokens - cost if enough else tokens, now)
        if len(self._left) > KEPT:
            self._left.popitem(last=False)
        return 0.0 if enough else (needed - tokens) / self._rate


class Addresses:
    """The network from which each session asked last; the longest silent are forgotten when there are too many."""

    def __init__(self):
        self._networks: OrderedDict[str, str] = OrderedDict()
        self._lock = Lock()

    def saw(self, session: str, address: str) -> None:
        """Notes that a session asked from an address."""
        with self._lock:
            self._networks[session] = network(address)
            self._networks.move_to_end(session)
            if len(self._networks) > SESSIONS_KEPT:
                self._networks.popitem(last=False)

    def share(self, one: str, other: str) -> bool:
        """True if two sessions asked from one network."""
        where = self._networks.get(one)
        return where is not None and where == self._networks.get(other)


@dataclass
class Limits:
    """The limits of one app, and how often they were met.

    Attributes:
        sessions: by the session.
        addresses: by the client's address; of IPv6 by the /64 network, which is one customer's.
        met: how often each of the two said no.
        whereabouts: of the sessions.
    """

    sessions: Buckets
    addresses: Buckets
    met: Counter[str]
    whereabouts: Addresses = field(default_factory=Addresses)

    @classmethod
    def of(cls, per_session: float, per_address: float) -> "Limits":
        """Limits in requests a second; 0 for none."""
        return cls(Buckets(per_session), Buckets(per_address), Counter(session=0, address=0))

    def wait(self, session: str, address: str, cost: float) -> float:
        """Seconds that a request has to wait; 0.0 lets it pass.

        Args:
            session: the id of a session whose cookie is good, or "" without one.
            address: the client's.
            cost: in usual requests, for the address; a session always pays 1.
        """
        if session:
            if wait := self.sessions.take(session):
                self.met["session"] += 1
                return wait
            self.whereabouts.saw(session, address)
        if wait := self.addresses.take(network(address), cost, spare=0.0 if session else SPARE):
            self.met["address"] += 1
        return wait


@lru_cache(maxsize=4096)
def network(address: str) -> str:
    """The part of an address that stands for one customer of a provider: IPv4 whole, of IPv6 the first 64 bits."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        return str(parsed.ipv4_mapped or int(parsed) >> 64)
    return address
