"""The greenroom under test: the real program with a configuration file, on ports of its own."""

import json
import os
import pathlib
import re
import signal
import tempfile
import urllib.request

from .process import Child, free_port

PROGRAM = os.environ.get("GREENROOM", pathlib.Path(__file__).resolve().parents[3] / "target/debug/greenroom")


class Greenroom:
    """A running `greenroom serve`; `settings` are those of the key `greenroom`, by name."""

    def __init__(self, *, postgres, login, database, **settings):
        self.port = free_port()
        self._http_port = free_port()
        self._file = tempfile.NamedTemporaryFile("w", prefix="greenroom-drivers-", suffix=".yaml")
        connection = {"host": "127.0.0.1", "port": postgres.port, **login, "database": database}
        # JSON is YAML, and quotes itself.
        json.dump(
            {
                "backend": {"database": {"client": "pg", "connection": connection}},
                "greenroom": {
                    "listen": [{"host": "127.0.0.1", "port": self.port}],
                    "http": {"host": "127.0.0.1", "port": self._http_port},
                    **settings,
                },
            },
            self._file,
        )
        self._file.flush()
        self._child = Child([PROGRAM, "serve", "--config", self._file.name])
        self._child.until(lambda: self._get("/readyz"))

    def stop(self):
        """Drains and ends it; that it did so without a fault is a promise too."""
        code = self._child.end(signal.SIGTERM)
        self._file.close()
        if code != 0:
            raise AssertionError(f"greenroom ended with {code}: {self._child.said}")

    @property
    def said(self):
        """The end of its log, for the message of a failure."""
        return self._child.said

    def pins(self, plugin):
        """Why sessions of a plugin kept their server beyond a transaction."""
        lines = re.findall(r"^greenroom_pins_total\{(.*)\} (\d+)$", self._get("/metrics"), re.MULTILINE)
        labels = [dict(re.findall(r'(\w+)="([^"]*)"', labels)) for labels, count in lines if int(count) > 0]
        return {label["reason"] for label in labels if label["plugin"] == plugin}

    def _get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self._http_port}{path}", timeout=10) as answer:
            return answer.read().decode()
