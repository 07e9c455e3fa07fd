"""Whether anything answers at the address of a Ray cluster, before Ray waits minutes for it."""

import os
import re
import socket

from gae_metric.errors import InputError, refusing

#: Seconds that an answer may take.
LIMIT = 5.0


def check_address(address: str | None) -> None:
    """Refuse an address at which nothing answers.

    Parameters
    ----------
    address
        ``HOST:PORT`` or ``ray://HOST:PORT``. ``auto``, ``local`` and what other schemes name are
        left to Ray, and so is None unless ``RAY_ADDRESS`` is set.

    Raises
    ------
    InputError
        If it is no address, or nothing answers there within a few seconds.
    """
    source = "address" if address else "RAY_ADDRESS"
    given = address or os.environ.get("RAY_ADDRESS", "")
    if given in ("", "auto", "local") or re.match(r"(?!ray:)\w+://", given):
        return
    found = re.fullmatch(r"(?:ray://)?(?:\[(?P<six>[^]]+)\]|(?P<host>[^:/]+)):(?P<port>\d+)", given)
    if found is None or not 0 < int(found["port"]) < 65536:
        raise InputError(
            f"{source}: expected HOST:PORT, ray://HOST:PORT, auto or local, got {given!r}"
        )
    what = f"expected a Ray cluster, and nothing answers at {given!r} within {LIMIT:g} s"
    with refusing(f"{source}: {what}", OSError, ValueError):  # ValueError: a host that is no name
        socket.create_connection((found["six"] or found["host"], int(found["port"])), LIMIT).close()
