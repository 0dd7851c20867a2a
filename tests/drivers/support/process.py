"""Programs that never outlive the tests that started them."""

import atexit
import collections
import signal
import socket
import subprocess
import threading
import time

START_LIMIT_SECONDS = 30


class Child:
    """A running program; it is ended when this Python ends, by the signal that its owner names."""

    def __init__(self, command, *, signal_at_once=signal.SIGKILL, **options):
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        self._process = subprocess.Popen(command, **streams, text=True, errors="replace", **options)
        self._signal_at_once = signal_at_once
        self._said = collections.deque(maxlen=200)
        self._reader = threading.Thread(target=lambda: self._said.extend(self._process.stdout), daemon=True)
        self._reader.start()
        atexit.register(self.end_at_once)

    @property
    def said(self):
        """The end of what it wrote, for the message of a failure."""
        return "".join(self._said)

    def until(self, ready):
        """Waits until `ready` no longer raises; fails at once when the program ends before that."""
        deadline = time.monotonic() + START_LIMIT_SECONDS
        while True:
            try:
                return ready()
            except Exception as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"{self._process.args[0]} does not start: {self.said}") from error
                time.sleep(0.02)

    def end(self, signal_number, limit_seconds=40):
        """Asks it to end, waits until it has, and returns its exit code."""
        self._process.send_signal(signal_number)
        try:
            return self._process.wait(limit_seconds)
        finally:
            self.end_at_once()

    def end_at_once(self):
        """Ends it if it still runs."""
        atexit.unregister(self.end_at_once)
        if self._process.poll() is None:
            self._process.send_signal(self._signal_at_once)
            self._process.wait(10)
        self._reader.join(5)
        self._process.stdout.close()


def free_port():
    """A TCP port of the loopback address that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
