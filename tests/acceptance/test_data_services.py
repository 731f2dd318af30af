"""The data services as applications use them: what each may do works over both families, what it may not is refused.

Clients run in the namespace of the site's application `probe`, with what its Secrets hold, and in a namespace that is
given nothing.
"""

import base64
import time
from pathlib import Path

import pytest

from infra import paths
from infra.model.data import load_data
from infra.model.site import Role
from lab.outside import mail
from lab.pki import ensure_certificate
from tests.acceptance.clients.pods import PROBE, REDIS, SLEEP, client_pod, python_pod, running

#: The engine answers before it has read a body, and closes the connection.
REFUSED = ("AccessDenied", "SSLError", "ConnectionClosedError")


@pytest.fixture(scope="module")
def data(lab):
    return load_data(lab.site)


@pytest.fixture(scope="module")
def clients(lab):
    """Pods of the application, and of a namespace that nobody knows."""
    access = [f"{PROBE}-files-access", f"{PROBE}-cache-access", f"{PROBE}-events-access"]
    stranger = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "stranger", "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
    }
    objs = [
        stranger,
        python_pod("python", access),
        client_pod(PROBE, "redis", REDIS, access, SLEEP),
        client_pod("stranger", "stranger", REDIS, [], SLEEP),
    ]
    with running(lab, objs) as found:
        yield found


def addresses(lab, service, namespace):
    return lab.get("service", service, "-n", namespace)["spec"]["clusterIPs"]


def test_every_service_has_both_families(lab):
    for service, namespace in (
        ("objects", "objects"),
        ("streams", "streams"),
        (f"{PROBE}-cache", "caches"),
        ("mail", "mail"),
    ):
        found = addresses(lab, service, namespace)
        assert sorted(":" in address for address in found) == [False, True], service


# --- object storage


def test_an_application_uses_its_bucket_and_nothing_else(clients):
    seen = clients["python"].python("s3", """
s3 = client("probe-files-access")
own = {"Bucket": "probe-files", "Key": "a"}
first = s3.put_object(**own, Body=b"one")["VersionId"]
s3.put_object(**own, Body=b"two")
print(json.dumps({
    "now": s3.get_object(**own)["Body"].read().decode(),
    "before": s3.get_object(**own, VersionId=first)["Body"].read().decode(),
    "destroy": code(s3.delete_object, **own, VersionId=first),
    "unlock": code(s3.put_object_retention, **own, VersionId=first, Retention=LONG),
    "policy": code(s3.put_bucket_policy, Bucket="probe-files", Policy="{}"),
    "versions": code(s3.put_bucket_versioning, Bucket="probe-files", VersioningConfiguration=OFF),
    "bucket": code(s3.create_bucket, Bucket="mine"),
    "other": code(s3.list_objects_v2, Bucket="identity-db-archive"),
    "drop": code(s3.delete_bucket, Bucket="probe-files"),
    "remove": code(s3.delete_object, **own),
    "gone": code(s3.get_object, **own),
    "kept": s3.get_object(**own, VersionId=first)["Body"].read().decode(),
    "written": code(s3.put_object, **own, Body=b"three"),
    "again": s3.get_object(**own)["Body"].read().decode(),
}))
""")  # fmt: skip
    assert (seen["now"], seen["before"], seen["kept"]) == ("two", "one", "one")
    assert (seen["remove"], seen["gone"]) == ("ok", "NoSuchKey")
    assert (seen["written"], seen["again"]) == ("ok", "three")
    for act in ("destroy", "unlock", "policy", "versions", "bucket", "other", "drop"):
        assert seen[act] in REFUSED, f"{act}: {seen[act]}"


def test_versions_are_locked_even_for_the_administrator(lab, clients):
    clients["python"].python(
        "s3",
        """
s3 = client("probe-files-access")
s3.put_object(Bucket="probe-files", Key="locked", Body=b"x")
print("{}")
""",
    )
    lab.kubectl("-n", "objects", "delete", "job", "lock-now", "--ignore-not-found")
    lab.kubectl("-n", "objects", "create", "job", "lock-now", "--from=cronjob/buckets")
    lab.kubectl("-n", "objects", "wait", "--for=condition=Complete", "job/lock-now", "--timeout=180s")
    log = lab.kubectl("-n", "objects", "logs", "job/lock-now").stdout
    assert "probe-files: " in log
    lab.kubectl("-n", "objects", "delete", "job", "lock-now")
    seen = clients["python"].python(
        "s3",
        """
s3 = client("probe-files-access")
print(json.dumps(s3.head_object(Bucket="probe-files", Key="locked").get("ObjectLockMode")))
""",
    )
    assert seen == "COMPLIANCE"


@pytest.mark.parametrize("family", [4, 6])
def test_strangers_do_not_reach_any_service(lab, clients, family):
    for service, namespace, port in (
        ("objects", "objects", 443),
        ("streams", "streams", 4222),
        (f"{PROBE}-cache", "caches", 6379),
        ("mail", "mail", 587),
    ):
        (address,) = [ip for ip in addresses(lab, service, namespace) if (":" in ip) == (family == 6)]
        command = f"timeout 4 bash -c 'exec 3<>/dev/tcp/{address}/{port}'"
        assert clients["redis"].run("bash", "-c", command, check=False).returncode == 0, service
        assert clients["stranger"].run("bash", "-c", command, check=False).returncode != 0, service


# --- PostgreSQL


def test_identitys_database_is_archived_and_has_a_base_backup(lab):
    for _ in range(60):
        backups = lab.get("backups.postgresql.cnpg.io", "-n", "identity")["items"]
        done = [item for item in backups if item.get("status", {}).get("phase") == "completed"]
        if done:
            break
        time.sleep(5)
    assert done, [item.get("status") for item in backups]
    cluster = lab.get("cluster", "identity-db", "-n", "identity")
    archiving = [item for item in cluster["status"]["conditions"] if item["type"] == "ContinuousArchiving"]
    assert [item["status"] for item in archiving] == ["True"]
    window = lab.get("objectstore.barmancloud.cnpg.io", "identity-db", "-n", "identity")["status"]
    assert window["serverRecoveryWindow"]["identity-db"]["lastSuccessfulBackupTime"]


def test_a_marker_reaches_the_archive(lab):
    primary = lab.get("cluster", "identity-db", "-n", "identity")["status"]["currentPrimary"]

    def sql(text):
        command = ("exec", "-n", "identity", primary, "-c", "postgres", "--", "psql", "-XtAc", text)
        return lab.kubectl(*command).stdout.strip()

    segment = sql("SELECT pg_walfile_name(pg_switch_wal())")
    for _ in range(60):
        if sql("SELECT last_archived_wal FROM pg_stat_archiver") >= segment:
            break
        time.sleep(1)
    assert sql("SELECT last_archived_wal FROM pg_stat_archiver") >= segment
    assert sql("SELECT failed_count FROM pg_stat_archiver") == "0"


def test_the_database_refuses_clear_text(lab):
    primary = lab.get("cluster", "identity-db", "-n", "identity")["status"]["currentPrimary"]
    secret = lab.get("secret", "identity-db-app", "-n", "identity")["data"]
    password = base64.b64decode(secret["password"]).decode()
    # the password goes in by standard input, so that it is on no command line
    script = (
        "read -r PGPASSWORD; export PGPASSWORD; psql -XtAc 'SELECT 1' "
        "'host=identity-db-rw user=keycloak dbname=keycloak sslmode={}'"
    )
    at = ("exec", "-i", "-n", "identity", primary, "-c", "postgres", "--", "bash", "-c")
    for mode, works in (("require", True), ("disable", False)):
        done = lab.kubectl(*at, script.format(mode), stdin=f"{password}\n", check=False)
        assert (done.returncode == 0) is works, f"{mode}: {done.stderr}"


# --- cache


def test_a_cache_works_with_its_account_over_tls_only(clients):
    at = "/access/probe-cache-access"
    cli = (
        f"REDISCLI_AUTH=$(cat {at}/password) redis-cli --tls --cacert {at}/ca.crt --no-auth-warning "
        f"-h $(cat {at}/host) --user $(cat {at}/username)"
    )
    run = clients["redis"].run
    assert run("bash", "-c", f"{cli} SET a 1").stdout.strip() == "OK"
    assert run("bash", "-c", f"{cli} GET a").stdout.strip() == "1"
    assert "NOPERM" in run("bash", "-c", f"{cli} CONFIG GET maxmemory", check=False).stdout
    assert "NOPERM" in run("bash", "-c", f"{cli} SHUTDOWN", check=False).stdout
    anonymous = run(
        "bash", "-c", f"redis-cli --tls --cacert {at}/ca.crt -h $(cat {at}/host) GET a", check=False
    )
    assert "NOAUTH" in anonymous.stdout
    clear = run("bash", "-c", f"timeout 5 redis-cli -h $(cat {at}/host) PING", check=False)
    assert "PONG" not in clear.stdout


# --- streams


def test_streams_keep_messages_for_their_account_and_let_nobody_else_in(clients):
    seen = clients["python"].python("nats", """
name, key = read("username"), read("password")
out = {}
for label, family in (("v4", socket.AF_INET), ("v6", socket.AF_INET6)):
    out[label] = Nats(name, key, family=family).state
bus = Nats(name, key)
bus.request("$JS.API.STREAM.DELETE.T", {})
out["made"] = Nats(name, key).request("$JS.API.STREAM.CREATE.T", STREAM).get("type")
out["kept"] = Nats(name, key).request("t.a", {"n": 1}).get("seq")
out["wrong"] = Nats(name, "wrong").state
out["clear"] = Nats(name, key, tls=False).state
print(json.dumps(out))
""")  # fmt: skip
    assert (seen["v4"], seen["v6"]) == ("PONG", "PONG")
    assert seen["made"].endswith("stream_create_response")
    assert seen["kept"] == 1
    assert "Authorization" in seen["wrong"]
    assert seen["clear"] != "PONG"


# --- mail


@pytest.fixture(scope="module")
def government(lab, data):
    """The simulator of the Government's mail system, running on the machine of role `outside`."""
    assert data.mail
    pki = paths.state("lab").pki
    ensure_certificate(pki, "outside-mail", data.mail.host, names=(data.mail.host,))
    (machine,) = lab.machines(Role.OUTSIDE)
    folder = "/run/outside-mail"
    machine.run(f"systemctl stop outside-mail; rm -rf {folder}; install -d -m 0700 {folder}")
    for name, text in (
        ("mail.py", Path(mail.__file__).read_text()),
        ("tls.crt", (pki / "outside-mail.crt").read_text()),
        ("tls.key", (pki / "outside-mail.key").read_text()),
    ):
        packed = base64.b64encode(text.encode()).decode()
        assert machine.run(f"umask 077; echo {packed} | base64 -d > {folder}/{name}").rc == 0
    command = (
        f"/usr/bin/python3 {folder}/mail.py {data.mail.port} {folder}/tls.crt {folder}/tls.key {folder}/kept"
    )
    assert machine.run(f"systemd-run --unit outside-mail --collect {command}").rc == 0
    yield machine, f"{folder}/kept"
    machine.run(f"systemctl stop outside-mail; rm -rf {folder}")


def test_mail_of_the_site_reaches_the_smart_host_and_other_mail_is_refused(clients, data, government):
    machine, kept = government
    mark = f"mark-{time.time_ns()}"
    seen = clients["python"].python("smtp", f"attempts({data.mail.domain!r}, {mark!r})")
    assert seen["own"] == "ok"
    assert seen["foreign"] in (553, 554)
    assert seen["clear"] == 530
    for _ in range(60):
        if machine.run(f"grep -l {mark} {kept}/*.eml").rc == 0:
            break
        time.sleep(2)
    text = machine.run(f"cat $(grep -l {mark} {kept}/*.eml)").stdout
    assert f"X-Envelope-From: portal@{data.mail.domain}" in text
