"""The `objects` command: legacy Secrets and Namespaces, for a server without permission to list Secrets."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from webhook.cli.common import NAMESPACED_NAME, cluster_options, connected, own_namespace_option, qualified_name
from webhook.cluster.api_types import NAMESPACES
from webhook.cluster.listing import list_objects
from webhook.cluster.scan_reader import SECRETS
from webhook.cluster.transport import Transport
from webhook.core.token_objects import LEGACY_TOKEN_ACCOUNT, LEGACY_TOKEN_TYPE

KEY = "objects.json"
MAX_BYTES = 1_000_000
"""The API server accepts ConfigMaps of at most 1 MiB, names and labels included."""


@click.command("objects")
@click.option("--write-configmap", type=NAMESPACED_NAME,
              help=f"Write to key {KEY} of this existing ConfigMap instead of stdout.")  # fmt: skip
@own_namespace_option
@cluster_options
def command(write_configmap: str | None, own_namespace: str, kubeconfig: Path | None, context: str | None) -> None:
    """Print legacy Secrets and Namespaces for serve --objects.

    With this list, serve --objects needs no permission to read Secrets. Reads only metadata of Secrets, and prints
    their names and accounts. manifests/overlays/no-secrets runs this command in a CronJob.
    """
    with connected(kubeconfig, context) as transport:
        items = list(_objects(transport))
        document = json.dumps({"apiVersion": "v1", "kind": "List", "items": items}, separators=(",", ":"))
        if write_configmap is None:
            click.echo(document)
            return
        if len(document.encode()) > MAX_BYTES:
            raise click.ClickException(f"{len(items)} objects do not fit into a ConfigMap; delete legacy Secrets first")
        namespace, _, name = qualified_name(write_configmap, own_namespace).partition("/")
        transport.patch(f"/api/v1/namespaces/{namespace}/configmaps/{name}", {"data": {KEY: document}})
    click.echo(f"wrote {len(items)} objects to ConfigMap {namespace}/{name}")


def _objects(transport: Transport) -> Iterator[dict[str, Any]]:
    for namespace in list_objects(NAMESPACES, transport):
        metadata: dict[str, Any] = {"name": namespace.metadata.name, "labels": namespace.metadata.labels or {}}
        yield {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
    for secret in list_objects(SECRETS, transport):
        annotations = {LEGACY_TOKEN_ACCOUNT: secret.account}
        metadata = {"name": secret.metadata.name, "namespace": secret.metadata.namespace, "annotations": annotations}
        yield {"apiVersion": "v1", "kind": "Secret", "type": LEGACY_TOKEN_TYPE, "metadata": metadata}
