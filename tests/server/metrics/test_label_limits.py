"""Label values are few and short, whatever objects contain."""

import pytest

from webhook.core.k8s_names import DNS_LABEL
from webhook.core.lifetimes import YEAR
from webhook.server.metrics.label_limits import AUDIENCE, OTHER, LabelValues, lifetime_label


def namespaces(limit: int = 3, share: int | None = None) -> LabelValues:
    return LabelValues(limit, DNS_LABEL.fullmatch, share)


def test_values_past_the_limit_are_other() -> None:
    table = namespaces()
    assert [table.label(f"ns-{number}") for number in range(5)] == ["ns-0", "ns-1", "ns-2", OTHER, OTHER]
    assert table.label("ns-1") == "ns-1"


@pytest.mark.parametrize("name", ["", "A", "a" * 64, "a\nb", "a b", "-a", "a-", 'a"', "ä", OTHER])
def test_malformed_value_is_other_and_takes_no_room(name) -> None:
    table = namespaces()
    assert table.label(name) == OTHER
    assert [table.label(each) for each in "abc"] == ["a", "b", "c"]


def test_source_with_its_share_used_up_leaves_room_for_others() -> None:
    table = namespaces(limit=3, share=2)
    assert [table.label(each, "one") for each in "abc"] == ["a", "b", OTHER]
    assert table.label("c", "two") == "c"
    assert [table.label(each, "one") for each in "cd"] == ["c", OTHER]
    assert table.label("d", "three") == OTHER


@pytest.mark.parametrize(
    "audience",
    [
        "vault",
        "sts.amazonaws.com",
        "api://AzureADTokenExchange",
        "https://vault.example.com",
        "https://vault.example.com:8200/",
        "//iam.googleapis.com/projects/123/locations/global/workloadIdentityPools/pool/providers/provider",
    ],
)
def test_audience_that_is_a_name_or_url_is_valid(audience) -> None:
    assert AUDIENCE.fullmatch(audience)


TOKEN = f"eyJhbGciOiJSUzI1NiJ9.{'e' * 60}.{'s' * 342}"


@pytest.mark.parametrize("audience", [TOKEN, f"https://a/{'b' * 64}", "a" * 129, "a b", "a?token=b", "a\x00", "_a", ""])
def test_audience_that_is_a_token_or_other_text_is_not(audience) -> None:
    assert not AUDIENCE.fullmatch(audience)


@pytest.mark.parametrize(
    ("seconds", "name"),
    [
        (1, "10m"), (600, "10m"), (601, "1h"), (3600, "1h"), (3607, "1d"), (86_400, "1d"), (604_801, "30d"),
        (YEAR, "1y"), (YEAR + 1, "longer"), (1 << 32, "longer"),
    ],
)  # fmt: skip
def test_lifetime_label_is_the_smallest_that_fits(seconds, name) -> None:
    assert lifetime_label(seconds) == name
