"""Clients go through a pooler: over both families, with a verified certificate, and not without TLS."""

import pytest

from tests.acceptance.own_database import OwnDatabase
from tests.acceptance.writers import FAMILIES, WRITERS

SPACE = "pooler-test"


@pytest.fixture(scope="module")
def db(lab):
    with OwnDatabase(lab, SPACE, instances=1, poolers=1).running() as found:
        yield found


def psql(lab, family, text, **settings):
    """Have a client of one family do SQL with other settings than its own."""
    words = ("exec", "-n", SPACE, WRITERS, "-c", family, "--", "env")
    changed = (f"{name}={value}" for name, value in settings.items())
    return lab.kubectl(*words, *changed, "psql", "-XqAtc", text, check=False)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_client_shares_the_poolers_connections_over_tls_only(lab, db, family):
    name = db.writers.service
    assert psql(lab, family, "select 1").stdout == "1\n"
    # What the database sees is the pooler.
    seen = db.sql("select distinct client_addr from pg_stat_activity where usename = 'numbers';")
    pods = lab.get("pods", "-n", SPACE, "-l", f"cnpg.io/poolerName={name}")["items"]
    own = {each["ip"] for pod in pods for each in pod["status"]["podIPs"]}
    assert set(seen.split()) <= own and seen
    clear = psql(lab, family, "select 1", PGSSLMODE="disable")
    assert clear.returncode != 0 and "SSL required" in clear.stderr, clear.stderr


def test_a_lost_pooler_is_made_again_and_no_write_is_lost(lab, db):
    name = db.writers.service
    with db.fault("pod of the pooler killed"):
        words = ("pods", "-l", f"cnpg.io/poolerName={name}", "-n", SPACE, "--grace-period=0", "--force")
        lab.kubectl("delete", *words)
        db.writers.wait(120)
