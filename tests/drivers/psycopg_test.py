"""
psycopg 3: parameters bound by the server, statements that it prepares by itself, pipelines, rows in binary, cursors of every
kind, COPY, notifications, two-phase commit, cancel.
"""

import asyncio
import concurrent.futures
import datetime
import decimal
import threading
import uuid

import psycopg
from psycopg import pq, sql
from psycopg.rows import dict_row
from psycopg.types.composite import CompositeInfo, register_composite
from psycopg.types.enum import EnumInfo
from psycopg.types.json import Jsonb
from psycopg.types.range import Range

from support.sides import DriverTest


def connected(side, **more):
    """A connection of libpq's to the plugin's database."""
    return psycopg.connect(**side.login, dbname=side.database, **more)


def error_of(act):
    """What of an error a client can see."""
    try:
        act()
    except psycopg.Error as error:
        diagnosis = error.diag
        return [type(error).__name__, error.sqlstate, diagnosis.message_primary, diagnosis.message_detail, diagnosis.constraint_name]
    raise AssertionError("expected an error")


class Psycopg(DriverTest):
    """What psycopg 3 does by itself, and what it offers."""

    def test_parameters_of_every_kind_come_back_as_they_went_in_text_and_in_binary(self):
        values = [
            -32768, 2**31 - 1, 2**63 - 1, decimal.Decimal("1234567890.0987654321"), 1.5, True, None, "ἀρχή \\ ' \n", b"\0\1\xff",
            datetime.date(2024, 2, 29), datetime.datetime(2024, 2, 29, 12, 34, 56, 789012), datetime.timedelta(1, 2, 3),
            datetime.datetime(2024, 2, 29, tzinfo=datetime.timezone.utc), uuid.UUID(int=7), Jsonb({"a": [1, None]}),
            [1, None, 3], ["a,b", '"', None], Range(1, 5), [[1, 2], [3, 4]],
        ]  # fmt: skip

        def act(side):
            seen = []
            with connected(side, autocommit=True) as connection:
                for binary in (False, True):
                    for mark in ("%s", "%t", "%b"):
                        for value in values:
                            cursor = connection.execute(f"select {mark} as value", [value], binary=binary)
                            seen.append([repr(cursor.fetchone()), cursor.description[0].type_code])
            return seen

        self.same(act)

    def test_a_query_seen_often_is_prepared_and_forgotten_as_its_threshold_says(self):
        def act(side):
            seen = []
            with connected(side, autocommit=True) as connection:
                connection.prepare_threshold, connection.prepared_max = 2, 3
                connection.execute("create table item (id int, name text)")
                for round_number in range(12):
                    connection.execute("insert into item values (%s, %s)", [round_number, f"item {round_number}"])
                    seen.append(connection.execute("select name from item where id = %s", [round_number]).fetchall())
                    # More of them than are kept: the oldest is closed.
                    for number in range(4):
                        seen.append(connection.execute(f"select {number} + %s", [round_number]).fetchone())
                connection.execute("alter table item add column more int default 7")
                seen.append(connection.execute("select * from item where id = %s", [3]).fetchall())
            return seen

        self.same(act)

    def test_a_query_is_prepared_at_once_if_asked_and_never_if_not(self):
        def act(side):
            seen = []
            with connected(side) as connection:
                for prepare in (True, False, None):
                    for number in range(7):
                        cursor = connection.execute("select %s::int + 1, current_schema()", [number], prepare=prepare)
                        seen.append(cursor.fetchone())
                        connection.commit()
                seen.append(error_of(lambda: connection.execute("select 1 / %s::int", [0], prepare=True)))
                connection.rollback()
                seen.append(connection.execute("select 1 / %s::int", [1], prepare=True).fetchone())
            return seen

        self.same(act)

    def test_a_prepared_query_whose_table_has_changed_fails_or_not_as_on_postgresql(self):
        def act(side):
            with connected(side, autocommit=True) as connection, connected(side, autocommit=True) as other:
                connection.execute("create table item (id int)")
                connection.execute("select * from item", prepare=True)
                other.execute("alter table item add column name text")
                failed = error_of(lambda: connection.execute("select * from item", prepare=True))
                return [failed, connection.execute("select count(*) from item", prepare=True).fetchall()]

        self.same(act, clients=2)

    def test_a_pipeline_is_answered_in_order_and_fails_where_it_fails(self):
        def act(side):
            seen = []
            with connected(side, autocommit=True) as connection:
                with connection.pipeline():
                    connection.execute("create table item (id int primary key)")
                    cursors = [connection.execute("insert into item values (%s) returning id", [n]) for n in range(50)]
                    seen.extend(cursor.fetchone() for cursor in cursors)
                with connection.pipeline() as pipeline:
                    first = connection.execute("select count(*) from item")
                    pipeline.sync()
                    seen.append(first.fetchone())
                    connection.execute("insert into item values (100)")
                    # The error is raised by whatever hears it first, the execute() or the fetch.
                    for sql in ("insert into item values (1)", "insert into item values (101)"):
                        seen.append(error_of(lambda sql=sql: connection.execute(sql).fetchone()))
                    pipeline.sync()
                    seen.append(connection.execute("select max(id) from item").fetchone())
                with connection.transaction(), connection.pipeline():
                    with connection.transaction():
                        connection.execute("delete from item where id = 3")
                    many = connection.cursor()
                    many.executemany("insert into item values (%s) returning id", [(n,) for n in range(200, 205)], returning=True)
                    seen.append([result.fetchall() for result in many.results()])
                seen.append(connection.execute("select count(*), sum(id) from item").fetchone())
            return seen

        self.same(act)

    def test_cursors_of_the_server_are_read_in_pieces_and_scrolled(self):
        def act(side):
            with connected(side) as connection:
                with connection.cursor("Named Cursor") as cursor:
                    cursor.itersize = 7
                    cursor.execute("select n, 'row ' || n from generate_series(1, %s) n", [100])
                    seen = [cursor.fetchmany(3), len(list(cursor))]
                with connection.cursor("back", scrollable=True, row_factory=dict_row) as cursor:
                    cursor.execute("select n from generate_series(1, 10) n")
                    cursor.scroll(5)
                    seen.append(cursor.fetchone())
                    cursor.scroll(-2)
                    seen.append(cursor.fetchall())
                connection.execute("create table item as select 1 as id")
                with connection.cursor("mine") as cursor:
                    cursor.execute("select id from item for update")
                    cursor.fetchone()
                    connection.execute("update item set id = 2 where current of mine")
                seen.append(connection.execute("select id from item").fetchone())
                connection.commit()
                seen.append(error_of(lambda: connection.execute("fetch all from mine")))
            return seen

        self.same(act)

    def test_a_held_cursor_outlives_its_transaction(self):
        def act(side):
            with connected(side) as connection:
                cursor = connection.cursor("held", withhold=True)
                cursor.execute("select n from generate_series(1, 20) n")
                seen = [cursor.fetchmany(5)]
                connection.commit()
                seen.append(cursor.fetchmany(5))
                connection.rollback()
                seen.append(len(cursor.fetchall()))
                cursor.close()
                return seen

        self.same(act, pins=["held_cursor"])

    def test_rows_stream_one_by_one(self):
        def act(side):
            with connected(side, autocommit=True) as connection, connection.cursor() as cursor:
                seen = [sum(n for (n,) in cursor.stream("select generate_series(1, %s)", [3000]))]
                if pq.version() >= 170000:
                    seen.append(sum(n for (n,) in cursor.stream("select generate_series(1, 1000)", size=64)))
                halfway = cursor.stream("select 10 / (5 - n) from generate_series(1, 10) n")
                seen.append(error_of(lambda: list(halfway)))
                seen.append(connection.execute("select 1").fetchone())
            return seen[:1] + seen[-2:]

        self.same(act)

    def test_copy_carries_rows_in_text_in_binary_and_by_itself(self):
        def act(side):
            rows = [(number, f"row\t{number}", None if number % 3 else number / 2) for number in range(3000)]
            seen = []
            with connected(side) as connection:
                cursor = connection.cursor()
                for kind in ("", "(format binary)", "(format csv, header)"):
                    cursor.execute("drop table if exists item")
                    cursor.execute("create table item (id int4, name text, half float8)")
                    if "csv" not in kind:
                        with cursor.copy(f"copy item from stdin {kind}") as copy:
                            copy.set_types(["int4", "text", "float8"])
                            for row in rows:
                                copy.write_row(row)
                    with cursor.copy(f"copy (select * from item order by id) to stdout {kind}") as copy:
                        data = b"".join(bytes(block) for block in copy)
                    cursor.execute("truncate item")
                    with cursor.copy(f"copy item from stdin {kind}") as copy:
                        copy.write(data)
                    seen.append([len(data), cursor.execute("select count(*), sum(half) from item").fetchone()])
                connection.commit()
                with cursor.copy("copy (select n, n::text from generate_series(1, 20) n) to stdout (format binary)") as copy:
                    copy.set_types(["int4", "text"])
                    seen.append(list(copy.rows()))
            return seen

        self.same(act)

    def test_a_copy_that_fails_on_either_side_leaves_nothing(self):
        def act(side):
            seen = []
            with connected(side, autocommit=True) as connection:
                cursor = connection.execute("create table item (id int primary key)")

                def write(*lines, give_up=False):
                    with cursor.copy("copy item from stdin") as copy:
                        for line in lines:
                            copy.write(line)
                        if give_up:
                            raise ZeroDivisionError("the client's own fault")

                seen.append(error_of(lambda: write("1\n", "1\n")))
                seen.append(error_of(lambda: write("x\n")))
                try:
                    write("2\n", give_up=True)
                except ZeroDivisionError as error:
                    seen.append(str(error))
                write("3\n")
                seen.append(cursor.execute("select array_agg(id) from item").fetchone())
            return seen

        self.same(act)

    def test_notifications_come_while_a_client_waits_and_while_it_asks(self):
        def act(side):
            heard = []
            channel = sql.Identifier(f"events of {side.plugin}")
            with connected(side, autocommit=True) as listener, connected(side) as teller:
                listener.execute(sql.SQL("listen {}").format(channel))
                for text in ("first", "second"):
                    teller.execute("select pg_notify(%s, %s)", [channel._obj[0], text])
                    teller.commit()
                teller.execute(sql.SQL("notify {}, 'never'").format(channel))
                teller.rollback()
                heard.extend([note.channel, note.payload] for note in listener.notifies(timeout=20, stop_after=2))
                listener.add_notify_handler(lambda note: heard.append(["handler", note.payload]))
                listener.execute(sql.SQL("notify {}, 'own'").format(channel))
                listener.execute(sql.SQL("unlisten {}").format(channel))
                teller.execute(sql.SQL("notify {}, 'unheard'").format(channel))
                teller.commit()
                listener.execute("select 1")
            return heard

        heard = self.same(act)
        self.assertEqual([payload for _, payload in heard], ["first", "second", "own"])

    def test_transactions_nest_with_their_characteristics(self):
        def act(side):
            seen = []
            with connected(side) as connection:
                connection.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
                connection.read_only, connection.deferrable = True, True
                with connection.transaction():
                    for name in ("isolation", "read_only", "deferrable"):
                        seen.append(connection.execute(f"show transaction_{name}").fetchone())
                    seen.append(connection.info.transaction_status.name)
                connection.isolation_level = connection.read_only = connection.deferrable = None
                connection.execute("create table item (id int unique deferrable initially deferred)")
                connection.commit()
                with connection.transaction():
                    connection.execute("insert into item values (1)")
                    with connection.transaction(force_rollback=True):
                        connection.execute("insert into item values (2)")
                    try:
                        with connection.transaction("Save Point"):
                            connection.execute("insert into item values (3)")
                            connection.execute("selekt")
                    except psycopg.errors.SyntaxError as error:
                        seen.append(str(error))
                connection.execute("insert into item values (1)")
                seen.append(error_of(connection.commit))
                seen.append(connection.execute("select id from item").fetchall())
            return seen

        self.same(act)

    def test_a_prepared_transaction_is_committed_by_another_session(self):
        def act(side):
            with connected(side) as connection, connected(side) as other:
                connection.execute("create table item (id int)")
                connection.commit()
                xid = connection.xid(1, side.plugin, "branch")
                connection.tpc_begin(xid)
                connection.execute("insert into item values (1)")
                connection.tpc_prepare()
                connection.close()
                seen = [xid.bqual for xid in other.tpc_recover() if xid.gtrid == side.plugin]
                other.rollback()
                other.tpc_commit(xid)
                return [seen, other.execute("select id from item").fetchall()]

        self.same(act, clients=2)

    def test_types_of_its_own_are_looked_up_and_understood(self):
        def act(side):
            with connected(side, autocommit=True) as connection:
                connection.execute("create type mood as enum ('calm', 'wild')")
                connection.execute("create type pair as (a int, b text)")
                mood = EnumInfo.fetch(connection, "mood")
                pair = CompositeInfo.fetch(connection, "pair")
                register_composite(pair, connection)
                value = pair.python_type(1, "one")
                return [
                    list(mood.labels), list(pair.field_names),
                    connection.execute("select %s, %s::mood", [value, "wild"]).fetchone()[1],
                    tuple(connection.execute("select %b::pair", [value], binary=True).fetchone()[0]),
                ]  # fmt: skip

        self.same(act)

    def test_a_cancelled_query_fails_and_its_connection_goes_on(self):
        def act(side):
            seen = []
            with connected(side, autocommit=True) as connection:
                for cancel in (connection.cancel, connection.cancel_safe):
                    timer = threading.Timer(0.5, cancel)
                    timer.start()
                    seen.append(error_of(lambda: connection.execute("select pg_sleep(60)")))
                    timer.join()
                    seen.append(connection.execute("select 1").fetchone())
            return seen

        self.same(act, clients=3)

    def test_asynchronous_connections_share_the_servers(self):
        async def one(side, number):
            async with await psycopg.AsyncConnection.connect(**side.login, dbname=side.database) as connection:
                sums = []
                for round_number in range(20):
                    async with connection.transaction():
                        cursor = await connection.execute("select %s::int * %s::int", [number, round_number])
                        sums.append((await cursor.fetchone())[0])
                return sums

        async def all_of(side):
            return await asyncio.gather(*(one(side, number) for number in range(6)))

        self.same(lambda side: asyncio.run(all_of(side)), clients=2)

    def test_settings_of_a_connection_are_its_own(self):
        def act(side):
            options = "-c statement_timeout=7s -c geqo=off"
            with connected(side, options=options, application_name="mine") as connection, connected(side) as other:
                connection.execute("set time zone 'Pacific/Auckland'")
                connection.commit()
                seen = []
                for who in (connection, other):
                    for name in ("statement_timeout", "geqo", "TimeZone", "application_name"):
                        seen.append(who.execute(f"show {name}").fetchone())
                    who.commit()
                seen.append([str(connection.info.timezone), connection.info.parameter_status("application_name")])
                return seen

        self.same(act, clients=2)

    def test_client_cursors_and_raw_ones_ask_as_they_are_told(self):
        def act(side):
            with connected(side, autocommit=True) as connection:
                client, raw = psycopg.ClientCursor(connection), psycopg.RawCursor(connection)
                client.execute("select %s, %s; select %s", ["it's", 7, None])
                seen = [client.fetchall(), client.nextset(), client.fetchall(), client.mogrify("select %s", ["\\"])]
                seen.append(raw.execute("select $2::text || $1::text", ["a", "b"]).fetchall())
                seen.append(error_of(lambda: raw.execute("select $1::int; select 2", [1])))
            return seen

        self.same(act)

    def test_large_values_pass_in_both_directions(self):
        def act(side):
            with connected(side, autocommit=True) as connection:
                value = bytes(range(256)) * 20_000
                given = connection.execute("select %b::bytea", [value], binary=True).fetchone()[0]
                return [given == value, len(given)]

        self.same(act, clients=3)

    def test_wrong_logins_and_names_are_told_apart(self):
        def act(side):
            seen = []
            for wrong in ({"password": "no"}, {"dbname": "nowhere"}, {"options": "-c nosuch=1"}):
                try:
                    psycopg.connect(**{**side.login, "dbname": side.database, **wrong})
                except psycopg.OperationalError as error:
                    seen.append(str(error).replace(str(side.port), "port").splitlines()[0])
            return seen

        self.assertEqual(len(self.same(act)), 3)

    def test_more_connections_than_servers_all_come_to_an_end(self):
        def act(side):
            def one(number):
                with connected(side) as connection:
                    for _ in range(10):
                        connection.execute("insert into item values (%s)", [number], prepare=True)
                        connection.commit()
                    return connection.execute("select count(*) from item where id = %s", [number]).fetchone()[0]

            with connected(side, autocommit=True) as connection:
                connection.execute("create table item (id int)")
            with concurrent.futures.ThreadPoolExecutor(10) as threads:
                return list(threads.map(one, range(10)))

        self.same(act, clients=2)
