"""How a worker process is told to stop, and to hurry."""

from __future__ import annotations

import asyncio
import os
import signal

SIGNALS = (signal.SIGTERM, signal.SIGINT)
DRAIN = b"d"
HURRY = b"h"


class ShutdownSignals:
    """`stop`: finish what is on the wire, and end. `hurry`: end now."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.hurry = asyncio.Event()

    def listen_for_signals(self) -> None:
        """The first SIGTERM or SIGINT stops, the second hurries."""
        loop = asyncio.get_running_loop()
        signalled = False

        def on_signal() -> None:
            nonlocal signalled
            (self.hurry if signalled else self.stop).set()
            signalled = True

        for number in SIGNALS:
            loop.add_signal_handler(number, on_signal)

    def listen_to_supervisor(self, lifeline: int) -> None:
        """DRAIN and HURRY, read from the pipe `lifeline`, do the same; its end says that the supervisor is gone.

        They are no signals, because a service manager may signal the supervisor and its children alike, and nobody
        could tell a second signal from the first one passed on.
        """
        loop = asyncio.get_running_loop()

        def on_signal() -> None:
            said = os.read(lifeline, 64)
            if HURRY in said:
                self.hurry.set()
            self.stop.set()
            if not said:
                loop.remove_reader(lifeline)

        os.set_blocking(lifeline, False)
        loop.add_reader(lifeline, on_signal)
