"""A test that does the same at PostgreSQL and through greenroom, and wants the same answers."""

import concurrent.futures
import dataclasses
import itertools
import unittest

from .greenroom import Greenroom
from .postgres import Postgres

# May neither create databases nor roles; owns the one database that greenroom keeps all plugins in.
LOGIN = {"user": "backstage", "password": "the login of all plugins"}
SHARED_DATABASE = "backstage"
# Fewer than the clients of any test.
SERVERS = 3
CLIENTS = 5
LIMIT_SECONDS = 60


@dataclasses.dataclass(frozen=True)
class Side:
    """The database of one plugin, and where it is reached: the words of libpq for it."""

    plugin: str
    port: int
    through_greenroom: bool

    @property
    def login(self):
        """For `connect(**side.login)`; `dbname` is called `database` by some drivers."""
        return {"host": "127.0.0.1", "port": self.port, **LOGIN}

    @property
    def database(self):
        """The name that Backstage gives to the plugin's database."""
        return f"backstage_plugin_{self.plugin}"


class DriverTest(unittest.TestCase):
    """The tests of one driver: they share a PostgreSQL and a greenroom that has less servers than they have clients."""

    _plugins = itertools.count(1)

    @classmethod
    def setUpClass(cls):
        cls.postgres = Postgres()
        cls.addClassCleanup(cls.postgres.stop)
        cls.postgres.run(
            f"create role {LOGIN['user']} login password '{LOGIN['password']}' nocreatedb nocreaterole nosuperuser",
            f"create database {SHARED_DATABASE} owner {LOGIN['user']}",
        )
        cls.greenroom = Greenroom(
            postgres=cls.postgres,
            login=LOGIN,
            database=SHARED_DATABASE,
            division="schema",
            maxServerConnections=SERVERS,
        )
        cls.addClassCleanup(cls.greenroom.stop)

    def same(self, act, *, pins=(), clients=CLIENTS):
        """
        Does `act` once directly, and then for `clients` plugins at once through greenroom, and wants the same answers of all.

        `act` is given a `Side` of a database that nobody else uses, and returns what the sides are compared by; the plugin's
        name is left out of it. What keeps a session on its server has to be announced: `pins` are all reasons.
        """
        expected = self._answers(act, self._directly())
        sides = [self._through_greenroom() for _ in range(clients)]
        with concurrent.futures.ThreadPoolExecutor(clients) as threads:
            answers = [threads.submit(self._answers, act, side) for side in sides]
            for side, answer in zip(sides, answers):
                try:
                    given = answer.result(LIMIT_SECONDS)
                except Exception as error:
                    error.add_note(f"greenroom said: {self.greenroom.said[-3000:]}")
                    raise
                self.maxDiff = None
                self.assertEqual(given, expected, f"{side.plugin} through greenroom, and PostgreSQL")
        found = set().union(*(self.greenroom.pins(side.plugin) for side in sides))
        self.assertEqual(found, set(pins), "pins")
        return expected

    @staticmethod
    def _answers(act, side):
        return anonymous(act(side), side.plugin)

    def _directly(self):
        # A real database of the name, and with the schema, that greenroom makes its plugin believe in.
        side = Side(f"plugin{next(self._plugins):03}", self.postgres.port, through_greenroom=False)
        self.postgres.run(
            f"create database {side.database} owner {LOGIN['user']}",
            f"alter database {side.database} set search_path to {side.plugin}",
        )
        self.postgres.run(f"create schema {side.plugin} authorization {LOGIN['user']}", database=side.database)
        return side

    def _through_greenroom(self):
        return Side(f"plugin{next(self._plugins):03}", self.greenroom.port, through_greenroom=True)


def anonymous(answer, plugin):
    """The answer of one plugin in words that are those of all."""
    match answer:
        case str():
            return answer.replace(f"backstage_plugin_{plugin}", "own database").replace(plugin, "own")
        case dict():
            return {anonymous(key, plugin): anonymous(value, plugin) for key, value in answer.items()}
        case list() | tuple():
            return [anonymous(value, plugin) for value in answer]
        case _:
            return answer
