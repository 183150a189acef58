"""How often an address may guess: a few times a minute, by whichever way it sends a token."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict, deque

ATTEMPTS, ATTEMPT_SECONDS = 10, 60.0
_MOST_ADDRESSES = 10_000
_IPV6_SITE_BITS = 64
"""What one customer has for the asking is one address here."""


class Attempts:
    """Which addresses have sent wrong tokens within the last minute, and which have ever sent the right one.

    Of both only the newest `_MOST_ADDRESSES` are kept, so that nobody fills memory by coming from many.
    """

    def __init__(self) -> None:
        self._failed: OrderedDict[str, deque[float]] = OrderedDict()
        self._known: OrderedDict[str, None] = OrderedDict()

    def may_pass(self, address: str, now_s: float, *, right: bool) -> bool:
        """Return whether a token is looked at at all.

        An address that has guessed too often waits, even with the right token, or guessing would go on. Where the
        right one has come from before it still lets in: a program that has a wrong one, or a stranger
        behind the same router, keeps out nobody who was in.
        """
        failed = self._failed.get(address) or deque()
        too_many = len(failed) == ATTEMPTS and now_s - failed[0] < ATTEMPT_SECONDS
        return not too_many or (right and address in self._known)

    def note(self, address: str, now_s: float, *, right: bool) -> None:
        """Remember what a token that was looked at has been."""
        if right:
            self._known[address] = None
            self._known.move_to_end(address)
        else:
            self._failed.setdefault(address, deque(maxlen=ATTEMPTS)).append(now_s)
            self._failed.move_to_end(address)
        for book in (self._known, self._failed):
            if len(book) > _MOST_ADDRESSES:
                book.popitem(last=False)


def site_of(host: str) -> str:
    """Return what counts as one address: of IPv6 the network that one customer has.

    >>> site_of("10.0.0.7"), site_of("::ffff:10.0.0.7"), site_of("2001:db8::1:2:3:4")
    ('10.0.0.7', '10.0.0.7', '2001:db8::/64')
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((int(address), _IPV6_SITE_BITS), strict=False))
    return str(address)
