"""What threads of the numeric libraries do while they have no work."""

from __future__ import annotations

import os


def let_waiting_threads_sleep() -> None:
    """Give cores to others while threads of OpenMP wait, unless the user has chosen otherwise.

    By default they spin, and where another process needs a core, each wait for a thread that has
    none takes a whole slice of time: a dub then takes several times as long. Has no effect once
    torch is loaded, which reads this when it is.
    """
    if "GOMP_SPINCOUNT" not in os.environ:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
