"""Runs in a pod: writes a numbered row at a time, prints each that was acknowledged, and ends by itself.

    python3 writer.py SECONDS INTERVAL      connection by PGHOST, PGUSER and so on, libpq's own variables

Prints `[number, seconds since the start]` for each row. A number is written once only: one that was not acknowledged
may be there or not.
"""

import json
import sys
import time

import psycopg2  # ty: ignore[unresolved-import] - in the image only

SECONDS, INTERVAL = float(sys.argv[1]), float(sys.argv[2])
#: Seconds until a connection is not made, and milliseconds until a broken one is given up.
CONNECT, GIVE_UP = 2, 1000


def connect():
    """Return a connection that ends with its peer; a server that only reads is not the one that is looked for."""
    made = psycopg2.connect(
        "", connect_timeout=CONNECT, tcp_user_timeout=GIVE_UP, keepalives_idle=1, keepalives_interval=1,
        keepalives_count=2, target_session_attrs="read-write",
    )  # fmt: skip
    made.autocommit = True
    return made


def main():
    """Write until the time is over."""
    start, number, connection = time.monotonic(), 0, None
    while time.monotonic() - start < SECONDS:
        began = time.monotonic()
        number += 1
        try:
            connection = connection or connect()
            with connection.cursor() as cursor:
                cursor.execute("insert into numbers (n) values (%s)", (number,))
            print(json.dumps([number, round(time.monotonic() - start, 4)]), flush=True)
        except psycopg2.Error:
            connection = None
        time.sleep(max(0.0, INTERVAL - (time.monotonic() - began)))


main()
