"""
psql with its meta-commands, pg_dump and pg_restore: of one plugin's schema, as its owner would.
"""

import os
import pathlib
import re
import subprocess
import tempfile

from support.postgres import programs
from support.sides import DriverTest

# As Backstage's plugins make them: a serial, a foreign key, an index, a view, a comment.
SCHEMA = """
create table entity (id serial primary key, kind text not null default 'x', body jsonb);
create table tag (entity_id int references entity on delete cascade, name varchar(20) check (name <> ''));
create index tag_name on tag (name);
create view tagged as select e.id, t.name from entity e join tag t on t.entity_id = e.id;
comment on table entity is 'what there is';
insert into entity (kind, body) select 'kind ' || n, jsonb_build_object('n', n) from generate_series(1, 200) n;
insert into tag select n, 'tag ' || n % 7 from generate_series(1, 200) n;
"""


def run(side, program, *arguments, text=None, ends_with=0):
    """Runs a program of PostgreSQL's at the plugin's database; what it printed, errors among it."""
    names = {"PGHOST": "host", "PGPORT": "port", "PGUSER": "user", "PGPASSWORD": "password"}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    environment |= {name: str(side.login[word]) for name, word in names.items()} | {"PGDATABASE": side.database, "LC_ALL": "C"}
    ended = subprocess.run(
        [programs() / program, *arguments],
        input=text,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        timeout=50,
    )
    if ended.returncode != ends_with:
        raise AssertionError(f"{program} {arguments} ended with {ended.returncode}: {ended.stdout}")
    return ended.stdout


def psql(side, *lines, **more):
    """What psql says to these lines."""
    return run(side, "psql", "-X", "-v", "VERBOSITY=verbose", text="\n".join(lines) + "\n", **more).splitlines()


class Psql(DriverTest):
    """Programs of PostgreSQL's own, at the database of one plugin."""

    def test_meta_commands_describe_what_there_is(self):
        def act(side):
            psql(side, SCHEMA)
            said = psql(
                side, "\\d", "\\d entity", "\\d+ tag", "\\dt+", "\\di", "\\dv tagged", "\\ds", "\\sv tagged", f"\\dn {side.plugin}", "\\df", "\\dT", "\\dp tag",
                "\\dd entity", "\\d nowhere", "\\du stranger", "\\dconfig search_path",
            )  # fmt: skip
            # The port and, from psql 18 on, the number of the process are each side's own.
            return said + [re.sub(r"\d{4,}", "a number", line) for line in psql(side, "\\conninfo")]

        said = "\n".join(self.same(act))
        for part in ("Table \"own.entity\"", "nextval('entity_id_seq'::regclass)", "REFERENCES entity(id) ON DELETE CASCADE"):
            self.assertIn(part, said)

    def test_queries_are_described_bound_repeated_and_turned_into_others(self):
        def act(side):
            return psql(
                side, "select 1 as one, 'x'::varchar(7) as name \\gdesc", "select n, n * n as square from generate_series(1, 3) n \\gx",
                "select 'select ' || n from generate_series(1, 3) n \\gexec", "select 5 as five, 'a' as letter \\gset mine_",
                "select :mine_five + 1, :'mine_letter'", "select 1 as a, 'x' as b, 2 as c \\crosstabview", "\\set ON_ERROR_ROLLBACK on",
                "begin;", "selekt;", "select 'goes on';", "commit;", "\\set FETCH_COUNT 3", "select n from generate_series(1, 8) n;",
                "\\set FETCH_COUNT 0", "select 1 / 0;", "\\errverbose", "select 1 \\; select 2;", "\\echo :ROW_COUNT :SQLSTATE", "\\timing off",
            )  # fmt: skip

        said = self.same(act)
        self.assertTrue(any("22012" in line for line in said), said)

    def test_parameters_are_bound_where_psql_can(self):
        version = run_locally("psql", "--version").split()[2]

        def act(side):
            return psql(side, "select $1::int + 1, $2 \\bind 41 'x' \\g", "select $1 \\bind \\g")

        if int(version.split(".")[0]) >= 16:
            self.assertIn("42", "".join(self.same(act)))
        else:
            self.assertIn("invalid command", "".join(self.same(act)))

    def test_a_watched_query_runs_again_and_again_until_it_fails(self):
        def act(side):
            psql(side, "create table item (id int primary key);")
            # The third turn divides by zero, which is the end of it.
            program = "with turn as (insert into item select count(*) + 1 from item returning id) select 6 / (3 - id) as left from turn"
            lines = psql(side, f"{program} \\watch 0.1")
            return [line.strip() for line in lines if line.strip().isdigit() or "ERROR" in line]

        self.assertEqual(self.same(act), ["3", "6", "ERROR:  22012: division by zero"])

    def test_copy_carries_files_in_and_out(self):
        def act(side):
            with tempfile.TemporaryDirectory() as directory:
                file = pathlib.Path(directory, "item.csv")
                said = psql(
                    side, "create table item (id int, name text);", "\\copy item from program 'seq -f \"%g,row\" 1 500' csv",
                    f"\\copy (select * from item order by id) to '{file}' csv header", "truncate item;",
                    f"\\copy item from '{file}' csv header", "\\copy item from stdin", "7\tseven", "x\tnot a number", "\\.",
                    "copy item from stdin;", "8\teight", "\\.", "select count(*), sum(id) from item;", "\\copy item to '/nowhere/item'",
                )  # fmt: skip
                return [said, file.read_text().count("\n")]

        self.assertEqual(self.same(act)[1], 501)

    def test_large_objects_and_notifications(self):
        def act(side):
            with tempfile.TemporaryDirectory() as directory:
                given, taken = pathlib.Path(directory, "given"), pathlib.Path(directory, "taken")
                given.write_bytes(bytes(range(256)) * 400)
                said = psql(
                    side, f"\\lo_import {given} 'a comment'", "\\set own :LASTOID", f"\\lo_export :own {taken}",
                    "select count(*) from pg_largeobject where loid = :own;", "\\lo_unlink :own",
                )  # fmt: skip
                heard = psql(side, f"listen {side.plugin};", f"notify {side.plugin}, 'own';", "select 1;")
                heard = [line.split(" received ")[0] for line in heard]
                return [[line for line in said if "lo_" not in line], heard, taken.read_bytes() == given.read_bytes()]

        # Large objects are read and written by calls of functions that only have numbers.
        self.assertTrue(self.same(act, pins=["procedural_code"])[2])

    def test_a_schema_is_dumped_and_restored(self):
        def act(side):
            psql(side, SCHEMA)
            with tempfile.TemporaryDirectory() as directory:
                plain = run(side, "pg_dump", "--schema", side.plugin, "--no-owner")
                archive, folder = f"{directory}/archive", f"{directory}/folder"
                run(side, "pg_dump", "--schema", side.plugin, "--format=custom", "--file", archive)
                run(side, "pg_dump", "--schema", side.plugin, "--format=directory", "--file", folder)
                counts = []
                for place, options in ((archive, ["--clean"]), (folder, ["--clean", "--jobs=2"]), (archive, ["--clean", "--single-transaction"])):
                    # The schema itself stays: it is the plugin's database.
                    contents = run_locally("pg_restore", "--list", place)
                    kept = pathlib.Path(directory, "contents")
                    kept.write_text("".join(line for line in contents.splitlines(True) if " SCHEMA - " not in line))
                    run(side, "pg_restore", "--dbname", side.database, "--exit-on-error", "--use-list", str(kept), *options, place)
                    counts.append(psql(side, "select count(*), max(id) from tagged;", "select nextval('entity_id_seq') > 200;"))
                # The mark of greenroom's on its schemas is a comment.
                other = ("--", "\\restrict", "\\unrestrict", "COMMENT ON SCHEMA")
                lines = [line for line in plain.splitlines() if line and not line.startswith(other)]
                return [lines, counts]

        # What they set, and where they put sequences, is not for others.
        lines, _ = self.same(act, clients=2, pins=["extension_setting", "sequence", "settings"])
        self.assertIn("CREATE TABLE own.entity (", lines)


def run_locally(program, *arguments):
    """The output of a program that needs no database."""
    return subprocess.run([programs() / program, *arguments], check=True, capture_output=True, text=True).stdout
