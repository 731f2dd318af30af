"""What is counted in a PostgreSQL database, and the moment that it is counted for. Pure: SQL as text.

The counting and the restore point belong to the same moment, although writers go on while rows are counted: writers are
kept out just for the time in which the restore point is written, inside a savepoint that is then undone, which frees
them; the transaction's snapshot was taken in between and stays (PostgreSQL documentation: LOCK, "Transaction
isolation"; ROLLBACK TO SAVEPOINT: locks taken since are released).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

#: Databases that hold data: not the operator's own, nor what a restore has left aside or not finished.
DATABASES = """
select coalesce(json_agg(datname order by datname), '[]') from pg_database
where datallowconn and not datistemplate and datname <> 'postgres'
  and datname !~ '_(before|restored)_[0-9]{8}t[0-9]{6}$';
"""
#: All ordinary tables of a database that are somebody's data.
TABLES = """
select coalesce(json_agg(format('%I.%I', n.nspname, c.relname) order by n.nspname, c.relname), '[]')
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'r' and c.relpersistence = 'p' and n.nspname not in ('pg_catalog', 'information_schema')
  and n.nspname !~ '^pg_toast';
"""
#: How values are written as text, so that sums are the same wherever they are made.
FORMAT = """
set local timezone = 'UTC'; set local datestyle = 'ISO'; set local intervalstyle = 'iso_8601';
set local extra_float_digits = 1; set local bytea_output = 'hex'; set local search_path = pg_catalog;
"""
#: Longest wait for writers, and longest time that they wait.
PATIENCE = "10s"
#: In database `postgres`: a row for each backup, so that a restored cluster says which one it has.
MARKER = """
create table if not exists public.tinh_marker (
  id text primary key, at timestamptz not null default clock_timestamp(), ended timestamptz
);
insert into public.tinh_marker (id) values ('{number}') on conflict do nothing;
"""
#: After the counting: a commit, without which PostgreSQL would not know that the moment of the backup has passed.
ENDED = "update public.tinh_marker set ended = clock_timestamp() where id = '{number}';"
MARKED = "select json_build_object('there', to_regclass('public.tinh_marker') is not null);"
MARKERS = "select coalesce(json_agg(id order by id), '[]') from public.tinh_marker;"
#: Ends the segment and names it: what has to be archived.
SWITCH = "select json_build_object('file', pg_walfile_name(pg_switch_wal()));"
ARCHIVED = (
    "select json_build_object('last', last_archived_wal, 'failed', last_failed_wal) from pg_stat_archiver;"
)
#: Segments that are finished and that the archiver was never told of: PostgreSQL was killed after it had written the
#: end of one and before it wrote the notice. It would see that only when it wants to recycle the file
#: (`XLogArchiveCheckDone`), dozens of segments later; until then the archive has a gap that no restore gets over.
UNANNOUNCED = """
select coalesce(json_agg(name order by name), '[]')
from pg_ls_waldir() w, pg_walfile_name(pg_current_wal_lsn() + 1) as current -- at a boundary, the next one
where name ~ '^[0-9A-F]{24}$' and left(name, 8) = left(current, 8) and name < current
  and not exists (select from pg_ls_archive_statusdir() s where s.name in (w.name || '.ready', w.name || '.done'));
"""


def announce(segment: str) -> str:
    """Return the SQL that tells the archiver of a segment: the notice is a file, and what is in it does not matter.

    Args:
        segment: its name, as `UNANNOUNCED` gives it.
    """
    notice = f"/pg_wal/archive_status/{segment}.ready"
    copy = f"format('copy (select 1) to %L', current_setting('data_directory') || '{notice}')"
    return f"do $$ begin execute {copy}; end $$;"


def point_name(number: str) -> str:
    """Return the name of a backup's restore point."""
    return f"tinh-{number}"


def measure(tables: Sequence[str], number: str | None) -> str:
    """Return the SQL that counts rows and sums up contents of tables; its last row is JSON.

    Args:
        tables: quoted names, as `TABLES` gives them.
        number: name of the backup whose restore point is written; None: nobody writes, and none is.
    """
    lines = ["begin isolation level repeatable read;", f"set local lock_timeout = '{PATIENCE}';"]
    if number:
        lines.append("savepoint quiet;")
        if tables:
            lines.append(f"lock table {', '.join(tables)} in share mode;")
        point = f"pg_create_restore_point('{point_name(number)}')"
        lines.append(f"select json_build_object('lsn', {point}, 'at', clock_timestamp());")
        lines.append("rollback to savepoint quiet;")
    lines.append(FORMAT)
    # A sum of 64-bit hashes of whole rows does not depend on their order; a missing, doubled or changed row moves it.
    rows = "count(*), 'sum', coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text"
    lines += [
        f"select json_build_object('table', $tinh${table}$tinh$, 'rows', {rows}) from {table} t;"  # noqa: S608 - quoted
        for table in tables
    ]
    return "\n".join([*lines, "commit;"])


def answers(text: str) -> list[Any]:
    """Return what psql printed, a JSON value per line."""
    return [json.loads(line) for line in text.splitlines() if line.strip().startswith(("{", "["))]


def table_facts(rows: Sequence[Any]) -> dict[str, Any]:
    """Return the facts of a database from the answers of `measure`."""
    return {row["table"]: {"rows": row["rows"], "sum": row["sum"]} for row in rows if "table" in row}
