"""Layer `data`: object storage, the archive of databases, caches, streams and mail, as the facts of who uses them ask.

A database itself is made by its platform, in its namespace: it comes and goes with it.
"""

from __future__ import annotations

import pulumi

from infra import contract, labels
from infra.components.data import streams
from infra.components.data.access import Access, AccessArgs
from infra.components.data.barman import BarmanPlugin, BarmanPluginArgs
from infra.components.data.buckets import ENDPOINT, BucketArgs
from infra.components.data.cache import CACHES, Cache, CacheArgs, to_cache
from infra.components.data.cache import rules as cache_rules
from infra.components.data.mail import HOST, MailArgs, MailRelay, to_mail
from infra.components.data.objects import ObjectStorage, ObjectStorageArgs
from infra.components.data.streams import Streams, StreamsArgs, to_streams
from infra.components.workload.allow import dns, to_objects
from infra.components.workload.namespace import Namespace, NamespaceArgs
from infra.contract import BaseContract, DataContract
from infra.model.certificates import SITE_AUTHORITY
from infra.model.data import Application, DataClass, Holding, SiteData, holdings, load_data
from infra.model.platform import load_platforms
from infra.model.site import SiteKind
from infra.model.users import name_of, stores, users
from stacks.context import Context, authority

VERSITYGW_IMAGE = "docker.io/versity/versitygw:v1.7.0"
SHELL_IMAGE = "docker.io/library/busybox:1.35.0"
SIDECAR_IMAGE = "ghcr.io/cloudnative-pg/plugin-barman-cloud-sidecar:v0.14.0"
REDIS_IMAGE = "docker.io/library/redis:7.0.15-bookworm"
NATS_IMAGE = "docker.io/library/nats:2.14.7-scratch"
POSTFIX_IMAGE = "images.tinh.internal/postfix:3.7.11"
PLUGIN = "plugin-barman-cloud"
#: Where copies to other places are made from: may reach the object storage.
BACKUP_NAMESPACE = "backup"


def bucket(held: Holding, facts: SiteData, secret: pulumi.Output[str]) -> BucketArgs:
    """Return the bucket of a store: its own, or a database's archive, which nobody in production takes away from."""
    archive = held.store.engine == "postgresql"
    return BucketArgs(
        name=held.bucket,
        secret=secret,
        lock_days=facts.classes[held.store.data_class].lock_days if archive else held.store.lock_days,
        removable=not archive,
        tags=labels.of_data(held.store),
    )


def strictest(held: tuple[Holding, ...]) -> DataClass:
    """Return the most important class of some stores: what holds them all is handled so."""
    order = list(DataClass)
    return min((item.store.data_class for item in held), key=order.index, default=DataClass.OTHER)


def deploy(context: Context) -> None:
    """Declare the layer and export its contract."""
    site = context.site
    # What can be wrong with the facts, or missing, is found before the first resource is registered.
    platforms, facts = load_platforms(site), load_data(site)
    everybody = users(site, platforms, facts)
    signed_by, _ = authority(site, SITE_AUTHORITY)
    plugin = context.manifest(PLUGIN)
    top = pulumi.ResourceOptions(provider=context.provider())
    base = context.below("base", BaseContract)
    issuer = base.apply(lambda found: found.site_issuer)
    held_by = stores(everybody)
    stored, cached = holdings(held_by, "bucket", "postgresql"), holdings(held_by, "cache")
    streamed = holdings(held_by, "stream")
    small = site.kind is SiteKind.LAB

    BarmanPlugin("barman-cloud", BarmanPluginArgs(objs=plugin, kind=site.kind), top)
    ObjectStorage(
        "objects",
        ObjectStorageArgs(
            image=VERSITYGW_IMAGE,
            shell_image=SHELL_IMAGE,
            client_image=SIDECAR_IMAGE,
            issuer=issuer,
            storage_class=facts.classes[strictest(stored)].storage_class,
            size=facts.objects.storage,
            memory=facts.objects.memory,
            buckets=[bucket(held, facts, context.secret(held.secret)) for held in stored],
            clients=[*sorted({held.application for held in stored}), BACKUP_NAMESPACE],
            secret=context.secret,
            simulated=context.simulated,
        ),
        top,
    )
    space = Namespace(
        f"{CACHES}-namespace", NamespaceArgs(name=CACHES, part_of=CACHES, allow=cache_rules(cached)), top
    )
    for held in cached:
        Cache(
            held.name,
            CacheArgs(
                holding=held,
                image=REDIS_IMAGE,
                issuer=issuer,
                memory=facts.cache.memory,
                secret=context.secret,
                simulated=context.simulated,
            ),
            pulumi.ResourceOptions.merge(top, pulumi.ResourceOptions(depends_on=[space])),
        )
    Streams(
        "streams",
        StreamsArgs(
            image=NATS_IMAGE,
            issuer=issuer,
            replicas=1 if small else 3,
            storage_class=facts.classes[strictest(streamed)].storage_class,
            size=facts.stream.storage,
            memory=facts.stream.memory,
            holdings=streamed,
            secret=context.secret,
            simulated=context.simulated,
        ),
        top,
    )
    if facts.mail:
        MailRelay(
            "mail",
            MailArgs(
                image=POSTFIX_IMAGE,
                issuer=issuer,
                facts=facts.mail,
                pods=site.cluster.pods,
                authority=signed_by,
                storage_class=facts.classes[DataClass.IMPORTANT].storage_class,
                senders=[name_of(user) for user in everybody if user.sends_mail],
                simulated=context.simulated,
            ),
            top,
        )
    promise = DataContract(
        authority=signed_by,
        objects=ENDPOINT,
        streams=streams.URL,
        mail=HOST if facts.mail else "",
        classes=facts.classes,
    )
    for application in facts.applications:
        _application(application, context, promise, top)
    pulumi.export(contract.OUTPUT, promise.model_dump(mode="json"))


def _application(
    application: Application, context: Context, promise: DataContract, top: pulumi.ResourceOptions
) -> None:
    """Give an application that is no platform its namespace, with what opens its stores."""
    name = application.name
    held = holdings([(name, application.data)], "bucket", "cache", "stream")
    space = Namespace(
        f"{name}-namespace",
        NamespaceArgs(
            name=name,
            part_of=name,
            allow=(
                dns(),
                to_objects("to-objects", {}),
                to_streams({}),
                *(to_cache({}, item) for item in held if item.store.engine == "cache"),
                *((to_mail({}),) if application.sends_mail else ()),
            ),
        ),
        top,
    )
    for item in held:
        args = AccessArgs(holding=item, data=pulumi.Output.from_input(promise), secret=context.secret)
        Access(
            f"{item.name}-access",
            args,
            pulumi.ResourceOptions.merge(top, pulumi.ResourceOptions(depends_on=[space])),
        )
