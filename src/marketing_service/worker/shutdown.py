"""How a worker process is told to drain, or to stop now."""

from __future__ import annotations

import asyncio
import os
import signal

SIGNALS = (signal.SIGTERM, signal.SIGINT)
DRAIN = b"d"
STOP_NOW = b"s"


class ShutdownSignals:
    """`drain` is set when the process must finish the sends that are already marked, and end. `stop_now` is set when it
    must not wait for them any longer."""

    def __init__(self) -> None:
        self.drain = asyncio.Event()
        self.stop_now = asyncio.Event()

    def listen_for_signals(self) -> None:
        """The first SIGTERM or SIGINT sets `drain`, the second sets `stop_now`."""
        loop = asyncio.get_running_loop()
        signalled = False

        def on_signal() -> None:
            nonlocal signalled
            (self.stop_now if signalled else self.drain).set()
            signalled = True

        for number in SIGNALS:
            loop.add_signal_handler(number, on_signal)

    def listen_to_supervisor(self, control_pipe: int) -> None:
        """Act on the commands DRAIN and STOP_NOW that the supervisor writes to the pipe. `control_pipe` is the file
        descriptor of the end to read from. The end of the file means that the supervisor is gone, and sets `drain`.

        The commands are not signals, because a service manager may signal the supervisor and its children at once. A
        child could not tell a second signal from the first one that the supervisor passes on.
        """
        loop = asyncio.get_running_loop()

        def on_readable() -> None:
            commands = os.read(control_pipe, 64)
            if STOP_NOW in commands:
                self.stop_now.set()
            self.drain.set()
            if not commands:
                loop.remove_reader(control_pipe)

        os.set_blocking(control_pipe, False)
        loop.add_reader(control_pipe, on_readable)
