"""The benchmark's program: the objects of a file, registered as the product registers them."""

import json
import os
from pathlib import Path

import pulumi

from infra import paths
from infra.components.manifest import Manifest
from infra.model.site import load_site
from infra.speed import tune
from infra.stackinfo import StackInfo
from stacks.context import context

tune()
site = load_site(os.environ["TINH_BENCH_SITE"])
uid = json.loads(paths.state(site.name).cluster.read_text())["uid"]
provider = context(StackInfo("base", site.name), site, uid).provider()
for obj in json.loads(Path(os.environ["TINH_BENCH_OBJECTS"]).read_text())["items"]:
    name = f"{obj['kind']}/{obj['metadata']['name']}"
    Manifest(name, obj, pulumi.ResourceOptions(provider=provider))
