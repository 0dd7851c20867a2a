"""A private PostgreSQL server, gone when the tests of a file are done with it."""

import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import tempfile

import psycopg

from .process import Child, free_port

PASSWORD = "the superuser of the tests"
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "60",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "autovacuum": "off",
    "max_prepared_transactions": "5",
}


class Postgres:
    """A PostgreSQL server of its own cluster and port."""

    def __init__(self):
        self.port = free_port()
        self._directory = tempfile.mkdtemp(prefix="greenroom-drivers-")
        self._options = unprivileged()
        bin_directory = programs()
        try:
            self._initialise(bin_directory)
            settings = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
            command = [bin_directory / "postgres", "-D", f"{self._directory}/data", "-p", str(self.port), *settings]
            # SIGQUIT is the server's immediate shutdown: SIGKILL would leave its children behind.
            self._server = Child(command, signal_at_once=signal.SIGQUIT, **self._options)
            self._server.until(lambda: self.run("select 1"))
        except BaseException:
            shutil.rmtree(self._directory)
            raise

    def run(self, *statements, database="postgres"):
        """Runs SQL as the superuser, directly, each statement by itself; the rows of the last one."""
        login = {"host": "127.0.0.1", "port": self.port, "user": "postgres", "password": PASSWORD}
        with psycopg.connect(**login, dbname=database, autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def stop(self):
        """Ends it as an operator's fast shutdown does."""
        try:
            self._server.end(signal.SIGINT)
        finally:
            shutil.rmtree(self._directory)

    def _initialise(self, bin_directory):
        password = pathlib.Path(self._directory, "password")
        password.write_text(PASSWORD)
        if "user" in self._options:
            for path in [self._directory, password]:
                shutil.chown(path, self._options["user"], self._options["group"])
        data = ["--pgdata", f"{self._directory}/data", "--no-sync", "--encoding=UTF8", "--locale=C"]
        login = ["--username=postgres", f"--pwfile={password}", "--auth=scram-sha-256"]
        subprocess.run([bin_directory / "initdb", *data, *login], **self._options, check=True, capture_output=True)


def programs():
    """The directory of `initdb` and `postgres`, of `psql` and `pg_dump`; the same places in which greenroom itself looks."""
    places = []
    if named := os.environ.get("GREENROOM_PG_BIN"):
        places = [named]
    else:
        if shutil.which("pg_config"):
            places.append(subprocess.check_output(["pg_config", "--bindir"], text=True).strip())
        places += sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
        places += os.environ.get("PATH", "").split(":")
    for place in map(pathlib.Path, places):
        if (place / "initdb").exists() and (place / "postgres").exists():
            return place
    raise FileNotFoundError(f"no PostgreSQL server programs in {places}; GREENROOM_PG_BIN names their directory")


def unprivileged():
    """Options of a program: PostgreSQL refuses to run as root, and settings of ours are not meant for it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    options = {"cwd": "/", "env": {**environment, "LC_ALL": "C"}}
    if os.getuid() != 0:
        return options
    accounts = {entry.pw_name: entry for entry in pwd.getpwall()}
    account = accounts.get("postgres") or accounts["nobody"]
    return {**options, "user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
