"""The `objects` command: legacy Secrets and Namespaces, for commands that have no permission to list Secrets."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from webhook.cli.common import NAMESPACED_NAME, cluster_options, connected, own_namespace_option, qualified_name
from webhook.cluster.api_types import NAMESPACES, config_map
from webhook.cluster.listing import list_objects
from webhook.cluster.scan_reader import SECRETS
from webhook.cluster.transport import ApiError, Transport
from webhook.core.formatting import plain
from webhook.core.token_objects import INVALID_SINCE, LEGACY_TOKEN_ACCOUNT, LEGACY_TOKEN_TYPE
from webhook.scan.api_types import LAST_USED, TRACKED_SINCE, TRACKING, SecretMeta

KEY = "objects.json"
MAX_BYTES = 1_000_000
"""The API server accepts ConfigMaps of at most 1 MiB, names and labels included."""
_FORBIDDEN = 403


@click.command("objects")
@click.option("--write-configmap", type=NAMESPACED_NAME,
              help=f"Write to key {KEY} of this existing ConfigMap instead of stdout.")  # fmt: skip
@own_namespace_option
@cluster_options
def command(write_configmap: str | None, own_namespace: str, kubeconfig: Path | None, context: str | None) -> None:
    """Print Namespaces and legacy Secrets for other commands.

    Reads only metadata of Secrets. Prints the names, accounts, creation times and uses of legacy Secrets, the labels of
    Namespaces, and the day on which the recording of uses began. migrate takes the list as one more PATH; check and
    serve take it as --objects, and serve then needs no permission to read Secrets.

    --write-configmap leaves out creation times and uses, because serve does not need them. A CronJob in
    manifests/overlays/no-secrets runs this command.

    \b
    Examples:
      tokenguard objects > objects.json
      tokenguard migrate deploy/ objects.json
    """
    with connected(kubeconfig, context) as transport:
        items = list(_objects(transport, with_uses=write_configmap is None))
        document = json.dumps({"apiVersion": "v1", "kind": "List", "items": items}, separators=(",", ":"))
        if write_configmap is None:
            click.echo(document)
            return
        if len(document.encode()) > MAX_BYTES:
            raise click.ClickException(f"{len(items)} objects do not fit into a ConfigMap; delete legacy Secrets first")
        namespace, _, name = qualified_name(write_configmap, own_namespace).partition("/")
        transport.patch(f"/api/v1/namespaces/{namespace}/configmaps/{name}", {"data": {KEY: document}})
    click.echo(f"wrote {len(items)} objects to ConfigMap {namespace}/{name}")


def _objects(transport: Transport, *, with_uses: bool) -> Iterator[dict[str, Any]]:
    for namespace in list_objects(NAMESPACES, transport):
        metadata: dict[str, Any] = {"name": namespace.metadata.name, "labels": namespace.metadata.labels or {}}
        yield {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
    for secret in list_objects(SECRETS, transport):
        annotations = {LEGACY_TOKEN_ACCOUNT: secret.account}
        metadata = {"name": secret.metadata.name, "namespace": secret.metadata.namespace, "annotations": annotations}
        metadata |= _uses(secret.metadata) if with_uses else {}
        yield {"apiVersion": "v1", "kind": "Secret", "type": LEGACY_TOKEN_TYPE, "metadata": metadata}
    if with_uses:
        yield from _tracking(transport)


def _uses(metadata: SecretMeta) -> Mapping[str, Any]:
    """Return when a Secret was created, and the labels in which the API server records its use."""
    labels = {LAST_USED: metadata.labels.last_used, INVALID_SINCE: metadata.labels.invalid_since}
    created = metadata.creation_timestamp
    return {
        **({"creationTimestamp": f"{created:%Y-%m-%dT%H:%M:%SZ}"} if created else {}),
        "labels": {key: value for key, value in labels.items() if value is not None},
    }


def _tracking(transport: Transport) -> Iterator[dict[str, Any]]:
    """Yield the ConfigMap with the day since which uses are recorded, unless the API server refuses it."""
    namespace, name = TRACKING
    try:
        configmap = next(list_objects(config_map(namespace, name), transport), None)
    except ApiError as error:
        if error.status != _FORBIDDEN:
            raise
        reason = f"{plain(str(error))}; without it, no Secret counts as unused"
        click.echo(f"warning: cannot read ConfigMap {namespace}/{name}: {reason}", err=True)
        return
    if configmap:
        data = {TRACKED_SINCE: (configmap.data or {}).get(TRACKED_SINCE, "")}
        metadata = {"name": name, "namespace": namespace}
        yield {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
