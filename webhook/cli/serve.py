"""`tokenguard serve`: its flags and environment variables, and what it takes from the API server."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from webhook.cli.common import NAMESPACED_NAME, Failure, Parsed
from webhook.cluster.environment import in_cluster
from webhook.pki.san import normalize_name, parse_address, service_names
from webhook.server.lifecycle import CertificateSource, LiveSource
from webhook.server.options import ServeOptions, StartError

_FILE = click.Path(path_type=Path)
_UNITS = {"": 0, "Ki": 10, "Mi": 20, "Gi": 30}


def _size(value: str) -> int:
    match = re.fullmatch(r"([0-9]{1,12})(|Ki|Mi|Gi)", value)
    if not match:
        raise ValueError("write bytes, or a number with Ki, Mi or Gi")
    return int(match[1]) << _UNITS[match[2]]


_ADDRESS = Parsed("HOST:PORT", parse_address)
_DNS_NAME = Parsed("NAME", normalize_name)
_SIZE = Parsed("SIZE", _size)
_FLAGS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("--bind", "TOKENGUARD_BIND", {"type": _ADDRESS, "default": "0.0.0.0:8443",
        "help": "Where to listen; port 0 takes a free one, and [::]:8443 IPv6 and IPv4."}),
    ("--policy", "TOKENGUARD_POLICY", {"type": _FILE,
        "help": "The policy: a TokenPolicy, or a ConfigMap manifest that holds one. Followed. None: the defaults."}),
    ("--policy-configmap", "TOKENGUARD_POLICY_CONFIGMAP", {"type": NAMESPACED_NAME,
        "help": "The policy, in place of a file: a ConfigMap with key policy.yaml. Followed."}),
    ("--state-folder", "TOKENGUARD_STATE_FOLDER", {"type": _FILE, "metavar": "FOLDER",
        "help": "Store the last valid policy of the ConfigMap here, for a restart while that holds an invalid one or "
        "is gone. Nobody else may write to it. Created if missing."}),
    ("--kubeconfig", "TOKENGUARD_KUBECONFIG", {"type": _FILE,
        "help": "How to reach the API server, for ConfigMap, Secrets and Namespaces; none: in a pod as that "
        "pod's ServiceAccount, elsewhere not at all."}),
    ("--objects", "TOKENGUARD_OBJECTS", {"type": _FILE,
        "help": "Manifests of the Secrets, Namespaces and ServiceAccounts to judge by, in place of a cluster's. "
        "Followed."}),
    ("--tls-cert", "TOKENGUARD_TLS_CERT", {"type": _FILE, "help": "Certificate chain, PEM. Followed."}),
    ("--tls-key", "TOKENGUARD_TLS_KEY", {"type": _FILE, "help": "Its private key, PEM. Followed."}),
    ("--tls-self-signed", "TOKENGUARD_TLS_SELF_SIGNED", {"is_flag": True,
        "help": "Make a certificate for this run, for localhost and the Service's name."}),
    ("--tls-secret", "TOKENGUARD_TLS_SECRET", {"type": NAMESPACED_NAME,
        "help": "A Secret with tls.crt and tls.key, in place of files. Followed."}),
    ("--manage-certs", "TOKENGUARD_MANAGE_CERTS", {"is_flag": True,
        "help": "Make CA and certificate in that Secret, renew them, and have the webhook configurations trust "
        "them."}),
    ("--tls-san", "TOKENGUARD_TLS_SAN", {"type": _DNS_NAME, "multiple": True,
        "help": "One more name or address in the certificate that is made; repeatable."}),
    ("--client-ca", "TOKENGUARD_CLIENT_CA", {"type": _FILE,
        "help": "CAs, PEM: who sends a review must show a certificate that one of them has signed, as the API server "
        "can be told to. Followed. None: anybody may."}),
    ("--audit-log", "TOKENGUARD_AUDIT_LOG", {"metavar": "FILE|-", "default": ServeOptions.audit_log,
        "help": "Where to write a line of JSON for each decision."}),
    ("--audit-level", "TOKENGUARD_AUDIT_LEVEL", {"type": click.Choice(["decisions", "all"]),
        "default": ServeOptions.audit_level,
        "help": "What is written: all, or decisions, which leaves plain allows out. Denials always are."}),
    ("--audit-sample", "TOKENGUARD_AUDIT_SAMPLE", {"type": click.FloatRange(0, 1), "metavar": "SHARE",
        "default": ServeOptions.audit_sample,
        "help": "Of what was judged and not denied, changed or exempted, write this share: 0.1 is one in ten."}),
    ("--audit-failure", "TOKENGUARD_AUDIT_FAILURE", {"type": click.Choice(["deny", "allow"]),
        "default": ServeOptions.audit_failure,
        "help": "What becomes of changes and exemptions that can't be written down; deny: tokenguard isn't ready."}),
    ("--audit-file", "TOKENGUARD_AUDIT_FILE", {"type": _FILE, "metavar": "FILE",
        "help": "A file to write the audit log to besides, which is rotated: FILE.1 is the one before."}),
    ("--audit-file-max-size", "TOKENGUARD_AUDIT_FILE_MAX_SIZE", {"type": _SIZE,
        "default": f"{ServeOptions.audit_file_max_size >> 20}Mi",
        "help": "How large that file may become: bytes, or with Ki, Mi, Gi. 0: it is rotated by somebody else."}),
    ("--audit-file-keep", "TOKENGUARD_AUDIT_FILE_KEEP", {"type": click.IntRange(min=1),
        "default": ServeOptions.audit_file_keep, "help": "How many rotated files are kept."}),
    ("--pod-events/--no-pod-events", "TOKENGUARD_POD_EVENTS", {"default": ServeOptions.pod_events,
        "help": "Whether to make an Event on the owner of a pod that is rejected or exempted."}),
    ("--max-body-bytes", "TOKENGUARD_MAX_BODY_BYTES", {"type": click.IntRange(min=1024),
        "default": ServeOptions.max_body_bytes, "help": "The largest review that is read."}),
)  # fmt: skip


def _option(flag: str, variable: str, settings: dict[str, Any]) -> click.Option:
    shown = "default" in settings
    return click.Option([flag], envvar=variable, show_envvar=True, show_default=shown, **settings)


@click.command("serve", params=[_option(*row) for row in _FLAGS])
def serve_command(**flags: Any) -> None:
    """Run the webhook: answer admission reviews over HTTPS until it is stopped."""
    from webhook.server.server import run  # noqa: PLC0415 - the server's libraries are loaded where it is served alone

    try:
        options = ServeOptions(**flags)
        run(replace(options, live=_live(options), certificates=_certificates(options)))
    except StartError as error:
        raise Failure(str(error)) from error


def _live(options: ServeOptions) -> LiveSource | None:
    """Return what follows the API server, where the options ask for it, or None."""
    reachable = options.kubeconfig or in_cluster()
    if options.policy_configmap and not reachable:
        raise StartError("--policy-configmap: this is no pod: say with --kubeconfig where the API server is")
    objects = options.objects is None
    if not reachable or not (objects or options.policy_configmap):
        return None
    from webhook.cluster.informers import Informers  # noqa: PLC0415 - the client is loaded where it is used alone

    return Informers(options.kubeconfig, options.policy_configmap, objects=objects, state_folder=options.state_folder)


def _certificates(options: ServeOptions) -> CertificateSource | None:
    """Return what keeps the certificate as a Secret has it, where the options ask for it, or None."""
    if not options.tls_secret:
        return None
    if not (options.kubeconfig or in_cluster()):
        raise StartError("--tls-secret: this is no pod: say with --kubeconfig where the API server is")
    from webhook.cluster.certificates.manager import CertificateManager  # noqa: PLC0415 - as above

    names = (*service_names(options.tls_secret.partition("/")[0]), *options.tls_san)
    return CertificateManager(options.kubeconfig, options.tls_secret, names, manage=options.manage_certs)
