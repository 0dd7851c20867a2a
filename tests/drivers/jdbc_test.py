"""
JDBC, Debian's driver of PostgreSQL: statements prepared after some executions, fetch sizes, batches, generated keys, COPY,
notifications, cancel, metadata. `jdbc/Session.java` is what one client does.
"""

import base64
import concurrent.futures
import itertools
import pathlib
import subprocess
import tempfile
import threading

from support.sides import LIMIT_SECONDS, DriverTest

DRIVER = "/usr/share/java/postgresql.jar"
SOURCE = pathlib.Path(__file__).parent / "jdbc/Session.java"
# It is over before it would be worth to compile more.
JAVA = ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m"]


class Machine:
    """A Java that does what many clients want at once."""

    def __init__(self):
        self._classes = tempfile.TemporaryDirectory(prefix="greenroom-jdbc-")
        subprocess.run(["javac", "-proc:none", "-cp", DRIVER, "-d", self._classes.name, SOURCE], check=True, timeout=60)
        command = [*JAVA, "-cp", f"{self._classes.name}:{DRIVER}", "Session"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._numbers = itertools.count(1)
        self._tasks = {}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def does(self, what, url, plugin):
        """Has a session do it, and tells what it has seen."""
        number = next(self._numbers)
        task = self._tasks[number] = concurrent.futures.Future()
        self._process.stdin.write(f"{number}\t{what}\t{url}\t{plugin}\n")
        self._process.stdin.flush()
        return task.result(LIMIT_SECONDS)

    def stop(self):
        """Ends it."""
        self._process.stdin.close()
        try:
            self._process.wait(10)
        finally:
            self._process.kill()
            self._process.wait(10)
            self._reader.join(5)
            self._process.stdout.close()
            self._classes.cleanup()

    def _read(self):
        for line in self._process.stdout:
            number, done, seen = line.rstrip("\n").split("\t")
            seen, task = base64.b64decode(seen).decode(), self._tasks.pop(int(number))
            if done == "true":
                task.set_result(seen.splitlines())
            else:
                task.set_exception(AssertionError(seen))


class Jdbc(DriverTest):
    """What JDBC does by itself, and what it offers."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.machine = Machine()
        cls.addClassCleanup(cls.machine.stop)

    def does(self, what, **expected):
        """The same as `same`, of a method of Session."""

        def act(side):
            login = f"user={side.login['user']}&password={side.login['password'].replace(' ', '%20')}"
            url = f"jdbc:postgresql://127.0.0.1:{side.port}/{side.database}?{login}"
            return self.machine.does(what, url, side.plugin)

        self.assertTrue(self.same(act, **{"clients": 4, **expected}))

    def test_a_statement_is_prepared_after_some_executions(self):
        self.does("preparesAfterSomeExecutions")

    def test_more_statements_than_are_kept_are_closed_and_prepared_again(self):
        self.does("forgetsTheLeastUsed")

    def test_rows_are_fetched_in_pieces(self):
        self.does("fetchesInPieces")

    def test_rows_of_a_result_are_updated(self):
        self.does("updatesItsRows")

    def test_batches_are_sent_with_and_without_keys(self):
        self.does("sendsBatches")

    def test_savepoints_are_set_by_hand_and_by_the_driver(self):
        self.does("savesPoints")

    def test_a_changed_table_is_met_as_on_postgresql(self):
        self.does("meetsAChangedTable")

    def test_copy_goes_both_ways_and_fails(self):
        self.does("copies")

    def test_notifications_are_heard(self):
        self.does("hearsNotifications")

    def test_a_query_is_cancelled_by_hand_and_by_its_timeout(self):
        self.does("cancels")

    def test_the_catalog_is_looked_at(self):
        self.does("looksAtTheCatalog")

    def test_settings_of_a_connection_are_its_own(self):
        self.does("keepsItsSettings")

    def test_more_connections_than_servers_all_come_to_an_end(self):
        self.does("sharesServers", clients=2)
