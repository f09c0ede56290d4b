"""Tokens that are requested by hand, by `kubectl create token` and the TokenRequest API; and those of the kubelet."""

import pytest

from tests.end_to_end.cluster import acting, created, pod, suggested, uid_of
from webhook.tokens.claims import Token, parse_token

CREATE = ("create", "token", "app", "-n")
VAULT = "--audience=https://vault.example.com"
SECRET = ("--bound-object-kind=Secret", "--bound-object-name=app-token")
CONTROLLER = acting("system:serviceaccount:legacy-distribution:controller")
KUBE_SYSTEM = acting("system:serviceaccount:kube-system:operator")


def issued(cluster, namespace: str, *flags: str) -> Token:
    return parse_token(cluster.do(*CREATE, namespace, *flags).encode())


def refused(cluster, namespace: str, *flags: str) -> str:
    """Ask for a token that is refused, and return what kubectl says."""
    done = cluster.kubectl(*CREATE, namespace, *flags)
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr


def test_default_token_is_for_an_hour_and_the_api_server(cluster) -> None:
    token = issued(cluster, "shop")
    assert token.lifetime == 3600
    assert token.audiences == (token.issuer,)


LONG = {
    "by itself": ("shop", ("--duration=48h",)),
    "for an audience": ("shop", ("--duration=2h", VAULT, "--audience=https://second.example.com")),
    "bound to a Secret": ("shop", ("--duration=2h", *SECRET)),
    "where two hours may be requested": ("oncall", ("--duration=3h",)),
    "for an audience that is refused, too": ("shop", ("--duration=2h", VAULT, "--audience=https://x.org")),
    "where it has to be bound": ("strict", ("--duration=2h",)),
}


@pytest.mark.parametrize(("namespace", "flags"), LONG.values(), ids=LONG)
@pytest.mark.covers("threat-model: TokenRequest by hand")
def test_long_token_is_denied_and_the_suggested_command_works(cluster, namespace, flags) -> None:
    message = refused(cluster, namespace, *flags)
    maximum = 7200 if namespace == "oncall" else 3600
    assert "token-request-expiration: spec.expirationSeconds requests lifetime" in message
    assert f"exceeding the maximum {maximum}s; run: kubectl create token app -n {namespace} " in message
    command = [word.replace("=NAME", "=app-token") for word in suggested(message)]
    token = parse_token(cluster.do(*command).encode())
    assert token.lifetime == maximum
    requested = {flag.removeprefix("--audience=") for flag in flags if "example.com" in flag}
    assert set(token.audiences) >= requested
    assert bool(token.bound) is ("--bound-object-kind=Secret" in flags or namespace == "strict")


def test_two_hour_token_is_issued_if_the_policy_allows_it(cluster) -> None:
    assert issued(cluster, "oncall", "--duration=2h").lifetime == 7200


def test_3607_seconds_for_the_api_server_in_a_pod_are_a_year(cluster) -> None:
    created(cluster, pod("requested", "oncall"))
    bound = ("--duration=3607s", "--bound-object-kind=Pod", "--bound-object-name=requested")
    message = refused(cluster, "oncall", *bound)
    assert "lifetime 31536000s (Kubernetes extends 3607s to a year for a pod), exceeding the maximum" in message
    assert parse_token(cluster.do(*suggested(message)).encode()).lifetime == 3600
    assert issued(cluster, "oncall", *bound, VAULT).lifetime == 3607
    assert issued(cluster, "oncall", "--duration=3607s").lifetime == 3607


def test_audience_must_be_allowed(cluster) -> None:
    assert issued(cluster, "shop", VAULT).audiences == ("https://vault.example.com",)
    message = refused(cluster, "shop", VAULT, "--audience=elsewhere")
    assert 'token-request-audience: spec.audiences[1] is "elsewhere", which is not allowed' in message
    assert '; use one like "https://*.example.com", or none for the API server\n' in message


def test_own_audience_of_the_api_server_is_allowed(cluster) -> None:
    own = [f"--audience={audience}" for audience in issued(cluster, "shop").audiences]
    assert own
    issued(cluster, "shop", *own)


def test_unbound_token_is_denied_with_advice(cluster) -> None:
    message = refused(cluster, "strict")
    assert "token-request-binding: spec requests an unbound token" in message
    assert "--bound-object-kind=Secret --bound-object-name=NAME\n" in message
    assert issued(cluster, "strict", *SECRET).bound[0].name == "app-token"


def test_mode_warn_issues_a_token_with_warnings(cluster) -> None:
    done = cluster.kubectl(*CREATE, "warned", "--duration=2h", "--audience=elsewhere")
    assert parse_token(done.stdout.encode()).lifetime == 7200
    assert "Warning: token-request-expiration: " in done.stderr
    assert "Warning: token-request-audience: " in done.stderr
    assert "would be denied" in done.stderr


def test_exempt_user_gets_any_token(cluster) -> None:
    token = issued(cluster, "strict", *CONTROLLER, "--duration=48h", "--audience=elsewhere")
    assert (token.lifetime, token.audiences, token.bound) == (172800, ("elsewhere",), ())


def test_account_of_kube_system_gets_any_token(cluster) -> None:
    token = issued(cluster, "strict", *KUBE_SYSTEM, "--duration=48h", "--audience=elsewhere")
    assert (token.lifetime, token.audiences, token.bound) == (172800, ("elsewhere",), ())


def test_node_gets_any_token_for_its_pods(cluster) -> None:
    node = cluster.node
    created(cluster, pod("on-a-node", "strict", nodeName=node, automountServiceAccountToken=True))
    bound = (
        "--bound-object-kind=Pod", "--bound-object-name=on-a-node",
        f"--bound-object-uid={uid_of(cluster, 'pod', 'on-a-node', 'strict')}", "--duration=3607s",
    )  # fmt: skip
    as_node = (f"--as=system:node:{node}", "--as-group=system:nodes", "--as-group=system:authenticated")
    assert issued(cluster, "strict", *bound, *as_node).lifetime == 31_536_000
    assert "token-request-expiration: " in refused(cluster, "strict", *bound)
    for user in (("--as=system:serviceaccount:strict:app", "--as-group=system:nodes"), (f"--as=system:node:{node}",)):
        neither = (*user, "--as-group=system:masters", "--as-group=system:authenticated")
        assert "token-request-expiration: " in refused(cluster, "strict", *bound, *neither)
