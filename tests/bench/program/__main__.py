"""The benchmark's program: the objects of a file, as the product registers them."""

import json
import os
from pathlib import Path

import pulumi
from pulumi_kubernetes import Provider

from infra.components.manifest import Manifest

provider = Provider("cluster", kubeconfig=os.environ["KUBECONFIG"], enable_config_map_mutable=True)
for obj in json.loads(Path(os.environ["TINH_BENCH_OBJECTS"]).read_text())["items"]:
    name = f"{obj['kind']}/{obj['metadata']['name']}"
    Manifest(name, obj, pulumi.ResourceOptions(provider=provider))
