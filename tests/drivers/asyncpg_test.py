"""
asyncpg: every query prepared and kept, types looked up between a Parse and its Bind, cursors as portals, executemany in one write,
COPY, notifications, a pool that resets what it lends.
"""

import asyncio
import datetime
import decimal
import io
import json
import uuid

import asyncpg

from support.sides import DriverTest


def connected(side, **more):
    """A connection to the plugin's database; it is to be awaited."""
    return asyncpg.connect(**side.login, database=side.database, **more)


async def error_of(awaitable):
    """What of an error a client can see."""
    try:
        await awaitable
    except asyncpg.PostgresError as error:
        return [type(error).__name__, error.sqlstate, str(error), error.detail, error.constraint_name]
    raise AssertionError("expected an error")


class Asyncpg(DriverTest):
    """What asyncpg does by itself, and what it offers."""

    def same_of(self, act, **expected):
        """The same as `same`, of a coroutine that is given a connection and its side."""

        async def run(side):
            connection = await connected(side)
            try:
                return await act(connection, side)
            finally:
                await connection.close()

        return self.same(lambda side: asyncio.run(run(side)), **expected)

    def test_values_of_every_kind_come_back_as_they_went(self):
        values = {
            "int2": -32768, "int8": 2**63 - 1, "numeric": decimal.Decimal("1234567890.0987654321"), "float8": 1.5, "bool": True,
            "text": "ἀρχή \\ ' \n", "bytea": b"\0\1\xff", "date": datetime.date(2024, 2, 29), "uuid": uuid.UUID(int=7),
            "timestamptz": datetime.datetime(2024, 2, 29, 12, 34, 56, 789012, datetime.timezone.utc),
            "interval": datetime.timedelta(1, 2, 3), "jsonb": '{"a": [1, null]}', "int4[]": [1, None, 3], "text[]": ["a,b", '"', None],
            "int4[][]": [[1, 2], [3, 4]], "int4range": asyncpg.Range(1, 5), "point": asyncpg.Point(1, 2), "bit(4)": asyncpg.BitString("1010"),
        }  # fmt: skip

        async def act(connection, _):
            seen = []
            for kind, value in values.items():
                for given in (value, None):
                    seen.append(repr(await connection.fetchval(f"select $1::{kind}", given)))
            return seen

        self.same_of(act)

    def test_types_of_its_own_are_looked_up_in_the_middle_of_a_batch(self):
        async def act(connection, _):
            await connection.execute("create type mood as enum ('calm', 'wild')")
            await connection.execute("create type pair as (a int, b text)")
            await connection.execute("create domain positive as int check (value > 0)")
            await connection.execute("create table item (id int, mood mood, pairs pair[], positive positive)")
            # Prepared before, with a literal, and used behind the look-up.
            earlier = await connection.prepare("select timestamptz '2026-01-02 03:04+00', 'a literal'")
            seen = [repr(await connection.fetch("select row(1, 'one')::pair, 'wild'::mood, array['calm']::mood[]"))]
            await connection.execute("insert into item values ($1, $2, $3, $4)", 1, "calm", [(1, "a"), (2, None)], 5)
            seen.append(repr(await connection.fetchrow("select * from item where mood = $1", "calm")))
            seen.append(await error_of(connection.execute("insert into item (positive) values ($1)", -1)))
            seen.append(repr(await earlier.fetch()))
            seen.append(await connection.fetchval("show jit"))
            async with connection.transaction():
                await connection.execute("create type late as enum ('x')")
                seen.append(repr(await connection.fetch("select 'x'::late, 'again'")))
                seen.append(repr(await earlier.fetch()))
            return seen

        # It turns jit off and on again for a look-up, by statements with names, and others create types meanwhile.
        self.same_of(act)

    def test_a_look_up_without_a_cache_of_statements_keeps_no_server_for_good(self):
        async def act(_, side):
            connection = await connected(side, statement_cache_size=0)
            await connection.execute("create type mood as enum ('calm', 'wild')")
            seen = []
            for _ in range(3):
                seen.append(repr(await connection.fetch("select 'wild'::mood, array['calm']::mood[], $1::text", "a")))
            await connection.close()
            return seen

        self.same_of(act)

    def test_codecs_of_the_client_are_set_for_types_of_the_server(self):
        async def act(connection, _):
            await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
            seen = [await connection.fetchval("select $1::jsonb", {"a": [1, None]})]
            await connection.reset_type_codec("jsonb", schema="pg_catalog")
            seen.append(await connection.fetchval("select $1::jsonb", '{"a": 1}'))
            return seen

        self.same_of(act)

    def test_more_queries_than_are_kept_are_closed_and_prepared_again(self):
        async def act(_, side):
            connection = await connected(side, statement_cache_size=3)
            seen = []
            for round_number in range(4):
                for number in range(6):
                    seen.append(await connection.fetchval(f"select {number} + $1::int, 'literal'", round_number))
            await connection.close()
            connection = await connected(side, statement_cache_size=0)
            seen.append([await connection.fetchval("select $1::text || current_schema()", "in ") for _ in range(3)])
            await connection.close()
            return seen

        self.same_of(act)

    def test_a_changed_table_is_prepared_again_by_itself_and_fails_in_a_transaction(self):
        async def act(connection, side):
            other = await connected(side)
            await connection.execute("create table item (id int); insert into item values (1)")
            seen = [repr(await connection.fetch("select * from item"))]
            await other.execute("alter table item add column name text default 'new'")
            seen.append(repr(await connection.fetch("select * from item")))

            async def in_transaction():
                async with connection.transaction():
                    await connection.fetch("select * from item")
                    await other.close()
                    await connection.execute("alter table item drop column name")
                    await connection.fetch("select * from item")

            seen.append(await error_of(in_transaction()))
            seen.append(repr(await connection.fetch("select * from item")))
            return seen

        self.same_of(act, clients=2)

    def test_statements_are_prepared_with_and_without_names(self):
        async def act(connection, _):
            statement = await connection.prepare("select $1::int * 2 as double, 'x'")
            seen = [[p.name for p in statement.get_parameters()], [a.name for a in statement.get_attributes()]]
            seen += [await statement.fetchval(n) for n in range(4)]
            named = await connection.prepare("select 7", name="mine")
            seen.append(await connection.fetchval("execute mine"))
            seen.append(await named.fetchval())
            seen.append(repr(await connection.fetch("select name, statement from pg_prepared_statements where name = 'mine'")))
            seen.append(await error_of(connection.prepare("select $1::nowhere")))
            seen.append(await error_of(connection.fetch("select 10 / $1::int", 0)))
            return seen

        self.same_of(act, pins=["sql_prepare"])

    def test_cursors_read_in_pieces(self):
        async def act(connection, _):
            async with connection.transaction():
                rows = [row[0] async for row in connection.cursor("select generate_series(1, $1)", 100, prefetch=7)]
                cursor = await connection.cursor("select n, 'row ' || n from generate_series(1, 20) n")
                seen = [rows, repr(await cursor.fetchrow()), await cursor.forward(3), repr(await cursor.fetch(5))]
                # Other queries between two pieces.
                seen.append(await connection.fetchval("select 'between'"))
                seen.append(repr(await cursor.fetch(100)))
            try:
                async for _ in connection.cursor("select 1"):
                    pass
            except asyncpg.NoActiveSQLTransactionError as error:
                seen.append(str(error))
            return seen

        self.same_of(act)

    def test_many_rows_go_in_one_write_all_or_none(self):
        async def act(connection, _):
            await connection.execute("create table item (id int primary key, name text)")
            await connection.executemany("insert into item values ($1, $2)", [(n, f"row {n}") for n in range(500)])
            twice = connection.executemany("insert into item values ($1, $2)", [(n, "again") for n in (1000, 1001, 7)])
            seen = [await error_of(twice)]
            returned = await connection.fetchmany("insert into item values ($1, $2) returning id", [(n, "x") for n in (600, 601)])
            seen += [repr(returned), repr(await connection.fetchrow("select count(*), sum(id) from item"))]
            return seen

        self.same_of(act)

    def test_copy_carries_records_files_and_queries(self):
        async def act(connection, side):
            await connection.execute("create table item (id int, name text)")
            records = [(n, f"row\t{n}") for n in range(3000)]
            seen = [await connection.copy_records_to_table("item", records=records)]
            out = io.BytesIO()
            seen.append(await connection.copy_from_table("item", output=out, format="csv", header=True))
            out.seek(0)
            seen.append(await connection.copy_to_table("item", source=out, format="csv", header=True))
            some = io.BytesIO()
            seen.append(await connection.copy_from_query("select * from item where id < $1", 5, output=some))
            seen += [len(out.getvalue()), sorted(some.getvalue().decode().splitlines())]
            bad = connection.copy_to_table("item", source=io.BytesIO(b"x\ty\n"))
            seen.append((await error_of(bad))[:2])

            async def gives_up():
                yield b"1\tone\n"
                raise ZeroDivisionError("the client's own fault")

            try:
                await connection.copy_to_table("item", source=gives_up())
            except ZeroDivisionError as error:
                seen.append(str(error))
            seen.append(await connection.fetchval("select count(*) from item"))
            return seen

        self.same_of(act)

    def test_transactions_nest_and_say_what_they_are(self):
        async def act(connection, _):
            await connection.execute("create table item (id int)")
            seen = []
            async with connection.transaction(isolation="serializable", readonly=True, deferrable=True):
                for name in ("isolation", "read_only", "deferrable"):
                    seen.append(await connection.fetchval(f"show transaction_{name}"))
                seen.append(connection.is_in_transaction())
                seen.append(await error_of(connection.execute("insert into item values (1)")))
            async with connection.transaction():
                await connection.execute("insert into item values ($1)", 1)
                try:
                    async with connection.transaction():
                        await connection.execute("insert into item values ($1)", 2)
                        await connection.execute("selekt")
                except asyncpg.PostgresSyntaxError as error:
                    seen.append(str(error))
                seen.append(repr(await connection.fetch("select id from item")))
            return seen

        async def leaves_a_failed_one(connection, side):
            try:
                return await act(connection, side)
            except asyncpg.InFailedSQLTransactionError as error:
                return str(error)

        self.same_of(leaves_a_failed_one)

    def test_notifications_come_to_those_who_listen(self):
        async def act(connection, side):
            heard = asyncio.Queue()
            channel = f"events of {side.plugin}"
            teller = await connected(side)
            await connection.add_listener(channel, lambda *told: heard.put_nowait(list(told[2:])))
            await teller.execute("select pg_notify($1, $2)", channel, "first")
            async with teller.transaction():
                await teller.execute("select pg_notify($1, $2)", channel, "second")
            seen = [await asyncio.wait_for(heard.get(), 20) for _ in range(2)]
            await connection.execute(f'notify "{channel}", \'own\'')
            seen.append(await asyncio.wait_for(heard.get(), 20))
            await connection.reset()
            await teller.execute("select pg_notify($1, $2)", channel, "unheard")
            await connection.fetchval("select 1")
            await teller.close()
            return [seen, heard.qsize()]

        self.same_of(act, clients=2)

    def test_listeners_with_and_without_a_cache_of_statements_come_and_go(self):
        async def act(first, side):
            teller = await connected(side)
            # Of all plugins together more than there are servers. The last one's LISTEN has no name.
            listeners = [first, await connected(side), await connected(side, statement_cache_size=0)]
            heard = [asyncio.Queue() for _ in listeners]
            # One of its own for each, so that it can be taken away again.
            hear = [lambda *told, queue=queue: queue.put_nowait(told[1:]) for queue in heard]
            channel, seen = f'all "of" {side.plugin}', []

            async def told(payload, queues):
                await teller.execute("select pg_notify($1, $2)", channel, payload)
                for queue in queues:
                    pid, on, what = await asyncio.wait_for(queue.get(), 20)
                    seen.append([pid == teller.get_server_pid(), on == channel, what])

            for number in range(3):
                await asyncio.gather(*(one.add_listener(channel, each) for one, each in zip(listeners, hear)))
                await told(f"all {number}", heard)
                await listeners[0].remove_listener(channel, hear[0])
                await listeners[2].remove_listener(channel, hear[2])
                await told(f"one {number}", heard[1:2])
                await listeners[1].remove_listener(channel, hear[1])
            await teller.execute("select pg_notify($1, $2)", channel, "unheard")
            for one in [*listeners[1:], teller]:
                seen.append(await one.fetchval("select 1"))
                await one.close()
            return [seen, [queue.qsize() for queue in heard]]

        self.same_of(act, clients=4)

    def test_a_query_that_takes_too_long_is_cancelled_and_its_connection_goes_on(self):
        async def act(connection, _):
            seen = []
            try:
                await connection.execute("select pg_sleep(60)", timeout=0.5)
            except asyncio.TimeoutError:
                seen.append("timed out")
            seen.append(await connection.fetchval("select 1"))
            task = asyncio.ensure_future(connection.fetchval("select pg_sleep(60)::text"))
            await asyncio.sleep(0.3)
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                seen.append("cancelled")
            seen.append(await connection.fetchval("select 2"))
            return seen

        self.same_of(act, clients=3)

    def test_settings_of_a_connection_are_its_own(self):
        async def act(connection, side):
            own = await connected(side, server_settings={"application_name": "mine", "geqo": "off"})
            await own.execute("set time zone 'Pacific/Auckland'")
            seen = []
            for who in (own, connection):
                for name in ("geqo", "TimeZone", "application_name"):
                    seen.append(await who.fetchval(f"show {name}"))
            seen.append(own.get_settings().application_name)
            await own.reset()
            seen.append(await own.fetchval("show time zone"))
            await own.close()
            return seen

        # Statements that were prepared in another time zone.
        self.same_of(act, clients=2, pins=["prepared_statement"])

    def test_a_pool_lends_what_nobody_has_left_anything_in(self):
        async def act(_, side):
            login = {**side.login, "database": side.database}

            async def one(pool, number):
                sums = []
                for round_number in range(5):
                    async with pool.acquire() as connection, connection.transaction():
                        await connection.execute("set local statement_timeout to '9s'")
                        sums.append(await connection.fetchval("select $1::int * $2::int", number, round_number))
                async with pool.acquire() as connection:
                    sums.append(await connection.fetchval("show statement_timeout"))
                return sums

            async with asyncpg.create_pool(**login, min_size=2, max_size=6, max_queries=4) as pool:
                return await asyncio.gather(*(one(pool, number) for number in range(12)))

        self.same_of(act, clients=2)
