"""The `serve` command."""

import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from webhook.cli.common import NAMESPACE, NAMESPACED_NAME, Choice, Parsed, qualified_name
from webhook.cluster.environment import in_cluster, own_namespace
from webhook.pki.san import normalize_name, parse_address, service_names
from webhook.server.background import BackstopFactory, CertificateSourceFactory, LiveSourceFactory, ProbeFactory
from webhook.server.options import ServeOptions, StartError

_UNITS = {"": 0, "Ki": 10, "Mi": 20, "Gi": 30}


def _size(value: str) -> int:
    match = re.fullmatch(r"([0-9]{1,12})(|Ki|Mi|Gi)", value)
    if not match:
        raise ValueError(f"{value!r} is not a size; use bytes, or a number with Ki, Mi or Gi")
    return int(match[1]) << _UNITS[match[2]]


def _option(name: str, help: str, **settings: Any) -> click.Option:  # noqa: A002 - click's name
    return click.Option([name], help=help, **settings)


_FILE = {"type": click.Path(path_type=Path), "metavar": "FILE"}
OPTIONS = [
    _option("--bind", "Address to listen on. Port 0: any free port. [::]:8443: IPv6 and IPv4.",
            type=Parsed("HOST:PORT", parse_address), default="0.0.0.0:8443"),
    _option("--policy", "Policy document or ConfigMap manifest; reloaded when it changes. Default: the default policy.",
            **_FILE),
    _option("--policy-configmap", "ConfigMap with the policy in key policy.yaml, instead of a file; watched.",
            type=NAMESPACED_NAME),
    _option("--own-namespace", "Namespace that tokenguard is installed in: its pods and workloads are not evaluated.",
            type=NAMESPACE, default=own_namespace, show_default="in a pod its own, elsewhere tokenguard"),
    _option("--state-folder", "Folder for the last valid policy of the ConfigMap, which is used after a restart while"
            " the ConfigMap is missing or invalid. Created if missing; nobody else may write to it.",
            type=click.Path(path_type=Path), metavar="FOLDER"),
    _option("--kubeconfig", "Kubeconfig of the cluster. Default: in a pod its ServiceAccount, elsewhere no cluster.",
            **_FILE),
    _option("--objects", "Manifests of Secrets, Namespaces and ServiceAccounts, reloaded when they change."
            " Secrets and Namespaces are then read from here and not from the cluster.", **_FILE),
    _option("--tls-cert", "Certificate chain, PEM; reloaded when it changes.", **_FILE),
    _option("--tls-key", "Private key of the certificate, PEM; reloaded when it changes.", **_FILE),
    _option("--tls-self-signed", "Create a certificate for this run, for localhost and the Service.", is_flag=True),
    _option("--tls-secret", "Secret with tls.crt and tls.key, instead of files; watched.", type=NAMESPACED_NAME),
    _option("--manage-certs", "Create CA and certificate in --tls-secret, renew them, and write the CA into the webhook"
            " configurations.", is_flag=True),
    _option("--tls-san", "Additional DNS name or IP address in the certificate that tokenguard creates. May be"
            " repeated.", type=Parsed("NAME", normalize_name), multiple=True),
    _option("--client-ca", "CA certificates, PEM: reviews are accepted only from clients with a certificate of one of"
            " them. Reloaded when it changes. Default: from any client.", **_FILE),
    _option("--audit-log", "File for the audit log, one JSON record per line; -: stdout.",
            metavar="FILE|-", default=ServeOptions.audit_log),
    _option("--audit-level", "Requests to record. decisions: all except those that are allowed without a finding.",
            type=Choice(["decisions", "all"]), default=ServeOptions.audit_level),
    _option("--audit-sample", "Share of allowed and warned requests to record, 0 to 1. Denied, patched and exempted"
            " requests are always recorded.",
            type=click.FloatRange(0, 1), metavar="SHARE", default=ServeOptions.audit_sample),
    _option("--audit-failure", "If patches and exemptions cannot be recorded: deny these requests and report not ready,"
            " or allow them.", type=Choice(["deny", "allow"]), default=ServeOptions.audit_failure),
    _option("--unpatched-pods", "If the mutating webhook did not run for a pod, and the pod has no other violation"
            " that is denied: deny the pod, or record that and allow it.", type=Choice(["deny", "allow"]),
            default=ServeOptions.unpatched_pods),
    _option("--audit-file", "Additional file for the audit log. It is rotated; FILE.1 is the previous file.", **_FILE),
    _option("--audit-file-max-size", "Size at which --audit-file is rotated: bytes, or with Ki, Mi or Gi. 0: no"
            " rotation, for use with logrotate.", type=Parsed("SIZE", _size),
            default=f"{ServeOptions.audit_file_max_size >> 20}Mi"),
    _option("--audit-file-keep", "Number of rotated files to keep.",
            type=click.IntRange(min=1), metavar="NUMBER", default=ServeOptions.audit_file_keep),
    _option("--pod-events/--no-pod-events", "Create an Event on the owner of a pod that is denied or exempted.",
            default=ServeOptions.pod_events),
    _option("--probe-namespace", "Namespace in which pods are created by dry run, to see whether the API server"
            " enforces the policy. Default: no self-probe.", type=NAMESPACE),
    _option("--probe-interval", "Approximate number of seconds between two self-probes.",
            type=click.IntRange(min=1), metavar="SECONDS", default=ServeOptions.probe_interval),
    _option("--max-body-bytes", "Maximum size of a review in bytes.",
            type=click.IntRange(min=1024), metavar="BYTES", default=ServeOptions.max_body_bytes),
    _option("--backstop", "Keep exported policies (policy export) in the cluster in step with the policy, so that the"
            " API server enforces it while tokenguard is down. off: remove them. Default: leave them alone.",
            type=Choice(["off", "vap", "vap+map"])),
    _option("--log-format", "Format of the log on stderr; json: one object per line.",
            type=Choice(["text", "json"]), default=ServeOptions.log_format),
    _option("--log-level", "Minimum severity of lines in the log on stderr.",
            type=Choice(["debug", "info", "warning", "error"]), default=ServeOptions.log_level),
    _option("--scan-status", "Status of the background scan, to export as metrics: key status.json of the ConfigMap"
            " that scan --status-configmap writes. Read at each scrape; may be missing.", **_FILE),
]  # fmt: skip


@click.command("serve", params=OPTIONS, context_settings={"auto_envvar_prefix": "TOKENGUARD"})
def command(**flags: Any) -> None:
    """Run the admission webhook.

    Answers admission reviews over HTTPS until it is stopped. Needs a certificate: --tls-cert and --tls-key,
    --tls-secret, or --tls-self-signed.

    \b
    Example, without a cluster:
      tokenguard serve --tls-self-signed --policy policy.yaml --objects manifests.yaml

    Every option has an environment variable: TOKENGUARD_ and its name, like TOKENGUARD_TLS_SECRET.
    """
    from webhook.server.server import run  # noqa: PLC0415 - the server takes long to import

    for flag in ("policy_configmap", "tls_secret"):
        flags[flag] = flags[flag] and qualified_name(flags[flag], flags["own_namespace"])
    backstop = flags.pop("backstop")
    options = ServeOptions(**flags)
    live, certificates, probe = _live_source(options), _certificate_source(options), _probe_source(options)
    keeper = _backstop(options, backstop)
    run(replace(options, live=live, certificates=certificates, probe=probe, backstop=keeper))


def _live_source(options: ServeOptions) -> LiveSourceFactory | None:
    """Return the connection to the API server for policy and objects, if the options ask for it."""
    if options.policy_configmap:
        _require_cluster(options, "--policy-configmap")
    uses_objects = options.objects is None
    if not (options.policy_configmap or (uses_objects and _has_cluster(options))):
        return None
    from webhook.cluster.informers import Informers  # noqa: PLC0415 - the client takes long to import

    return partial(
        Informers, kubeconfig=options.kubeconfig, configmap=options.policy_configmap, objects=uses_objects,
        state_folder=options.state_folder,
    )  # fmt: skip


def _certificate_source(options: ServeOptions) -> CertificateSourceFactory | None:
    """Return the source of the certificate, if it is a Secret."""
    if not options.tls_secret:
        return None
    _require_cluster(options, "--tls-secret")
    from webhook.cluster.certificates.manager import CertificateManager  # noqa: PLC0415 - as above

    names = (*service_names(options.own_namespace), *options.tls_san)
    return partial(
        CertificateManager, kubeconfig=options.kubeconfig, secret=options.tls_secret, names=names,
        manage=options.manage_certs,
    )  # fmt: skip


def _probe_source(options: ServeOptions) -> ProbeFactory | None:
    """Return the self-probe, if the options ask for it."""
    if not options.probe_namespace:
        return None
    _require_cluster(options, "--probe-namespace")
    from webhook.cluster.self_probe import SelfProbe  # noqa: PLC0415 - as above

    return partial(
        SelfProbe, kubeconfig=options.kubeconfig, namespace=options.probe_namespace, interval=options.probe_interval
    )


def _backstop(options: ServeOptions, mode: str | None) -> BackstopFactory | None:
    if mode is None:
        return None
    _require_cluster(options, "--backstop")
    from webhook.cluster.backstop import Backstop, BackstopMode  # noqa: PLC0415 - as above

    # the self-probe asks whether the webhook is called
    excluded = (options.own_namespace, *filter(None, [options.probe_namespace]))
    return partial(Backstop, kubeconfig=options.kubeconfig, mode=BackstopMode(mode), excluded=excluded)


def _has_cluster(options: ServeOptions) -> bool:
    return bool(options.kubeconfig or in_cluster())


def _require_cluster(options: ServeOptions, flag: str) -> None:
    if not _has_cluster(options):
        raise StartError(f"{flag}: no cluster, as this is not a pod; use --kubeconfig FILE")
