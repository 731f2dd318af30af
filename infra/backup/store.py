"""The cluster's object storage, read from outside by the account that may read every bucket and nothing else.

Layer `data` declares it: Service `objects` in the namespace of that name, TLS by the site's authority. It is reached
through the API server, so that no way into the cluster has to be opened for backups.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from infra import paths
from infra.backup.kubectl import Kubectl
from infra.backup.seal import Readable
from infra.backup.source import Item
from infra.errors import HostError, ToolError
from infra.model.site import Site

if TYPE_CHECKING:
    from minio import Minio

#: Service, namespace and port of the storage; the name in its certificate.
SERVICE = "objects"
HOST = f"{SERVICE}.{SERVICE}.svc"
PORT = 443
#: Its account for reading, whose key is a secret of the site.
READER = "backup-reader"


@dataclass(frozen=True)
class Listed:
    """An object as the storage lists it."""

    key: str
    size: int
    mark: str


@dataclass(frozen=True)
class Store:
    """The storage, as long as the port is forwarded."""

    client: Minio

    def list(self, bucket: str, prefix: str = "") -> Iterator[Listed]:
        """Yield the newest versions of all objects.

        Raises:
            ToolError: the storage refuses, has no such bucket, or does not answer.
        """
        from minio.error import MinioException, S3Error
        from urllib3.exceptions import HTTPError

        try:
            for found in self.client.list_objects(bucket, prefix=prefix, recursive=True):
                changed = found.last_modified.isoformat() if found.last_modified else ""
                yield Listed(str(found.object_name), found.size or 0, f"{found.etag} {found.size} {changed}")
        except S3Error as error:
            raise ToolError(
                f"bucket {bucket} of the object storage cannot be listed: {error.code}", where=HOST,
                fix=f"one that is gone is made every hour, or now: kubectl -n {SERVICE} create job buckets-again "
                "--from=cronjob/buckets; what was in it: docs/data.md",
            ) from None  # fmt: skip
        except (HTTPError, MinioException) as error:
            raise ToolError(
                f"the object storage does not answer: {error}",
                where=HOST,
                fix="see that it runs: tinh status",
            ) from None

    def item(self, bucket: str, listed: Listed) -> Item:
        """Return an object as a part of a backup."""
        return Item(listed.key, lambda: self._open(bucket, listed.key), listed.mark)

    def make_equal(
        self, bucket: str, files: Mapping[str, Path], progress: Callable[[int, int], None]
    ) -> tuple[int, int]:
        """Make a bucket's newest versions the files; return how many were put, and how many got a delete marker."""
        have = {item.key: item for item in self.list(bucket)}
        put = 0
        for done, (key, file) in enumerate(sorted(files.items()), start=1):
            with file.open("rb") as stream:
                same = hashlib.file_digest(stream, "md5").hexdigest()  # an ETag: what S3 says of a content
            if key not in have or same not in have[key].mark:
                self.client.fput_object(bucket, key, str(file))
                put += 1
            progress(done, len(files))
        gone = have.keys() - files.keys()
        for key in gone:
            self.client.remove_object(bucket, key)
        return put, len(gone)

    def _open(self, bucket: str, key: str) -> AbstractContextManager[Readable]:
        return contextlib.closing(self.client.get_object(bucket, key))


@contextlib.contextmanager
def opened(site: Site, kubectl: Kubectl, account: str = READER) -> Generator[Store, None, None]:
    """Return the site's object storage, reached through the API server.

    Args:
        site: the site.
        kubectl: its cluster.
        account: which one to be there; only a bucket's own may write to it.

    Raises:
        HostError: the site has no key for it.
        ToolError: it is not there.
    """
    with reached(site, kubectl, account, secret_of(site, account, "the object storage")) as store:
        yield store


@contextlib.contextmanager
def reached(site: Site, kubectl: Kubectl, account: str, key: str) -> Generator[Store, None, None]:
    """Return the site's object storage as an account sees it that is known by its key.

    Raises:
        ToolError: it is not there.
    """
    import urllib3
    from minio import Minio

    with kubectl.forwarded(SERVICE, PORT, "the object storage") as port:
        pool = urllib3.PoolManager(
            ca_certs=str(paths.state(site.name).pki / "ca.crt"), server_hostname=HOST, assert_hostname=HOST,
            timeout=urllib3.Timeout(connect=10, read=60), retries=urllib3.Retry(3, backoff_factor=0.5),
        )  # fmt: skip
        yield Store(
            Minio(
                f"127.0.0.1:{port}",
                access_key=account,
                secret_key=key,
                region="us-east-1",
                http_client=pool,
            )
        )


def secret_of(site: Site, account: str, what: str) -> str:
    """Return what opens an account of a data service.

    Raises:
        HostError: the site has no key for it.
    """
    secret = paths.state(site.name).root / "secrets" / f"data-{account}"
    try:
        return secret.read_text("utf-8")
    except FileNotFoundError:
        raise HostError(
            f"the key of account {account} of {what} is not here",
            where=str(secret),
            fix="tinh up --layer data",
        ) from None
