"""Values of labels: few, short, and the same in all workers."""

import multiprocessing

import pytest

from webhook.core.k8s_names import DNS_LABEL
from webhook.core.lifetimes import YEAR
from webhook.server.labels import AUDIENCE, OTHER, FirstValues, lifetime


@pytest.fixture
def first(tmp_path):
    """Return what makes one worker's table of three namespaces."""
    return lambda: FirstValues(tmp_path / "namespaces", 3, DNS_LABEL)


def test_the_first_so_many_stand_for_themselves_and_the_rest_for_each_other(first) -> None:
    table = first()
    assert [table.value(f"ns-{number}") for number in range(5)] == ["ns-0", "ns-1", "ns-2", OTHER, OTHER]
    assert table.value("ns-1") == "ns-1"


def test_workers_have_no_more_between_them_than_one_alone(first) -> None:
    one, other = first(), first()
    assert [one.value("a"), other.value("b"), one.value("c"), other.value("d")] == ["a", "b", "c", OTHER]
    assert [one.value(name) for name in "abcd"] == [other.value(name) for name in "abcd"] == ["a", "b", "c", OTHER]


def _values(table, begin, count, results) -> None:
    results.put({table.value(f"ns-{begin + number}") for number in range(count)} - {OTHER})


def test_processes_that_begin_together_agree(tmp_path) -> None:
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    workers = [
        context.Process(target=_values, args=(FirstValues(tmp_path / "names", 20, DNS_LABEL), begin, 40, results))
        for begin in (0, 10, 20, 30)
    ]
    for worker in workers:
        worker.start()
    found = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    assert len(set().union(*found)) == 20


def test_without_a_common_folder_a_process_counts_by_itself() -> None:
    table = FirstValues(None, 1, DNS_LABEL)
    assert [table.value("a"), table.value("b"), table.value("a")] == ["a", OTHER, "a"]


def test_where_it_cannot_be_written_down_it_is_the_rest_and_nothing_fails(tmp_path) -> None:
    table = FirstValues(tmp_path / "gone/namespaces", 3, DNS_LABEL)
    assert table.value("a") == OTHER
    (tmp_path / "gone").mkdir()
    assert table.value("a") == "a"


@pytest.mark.parametrize("name", ["", "A", "a" * 64, "a\nb", "a b", "-a", "a-", 'a"', "ä", OTHER])
def test_what_is_no_namespaces_name_takes_no_room(first, name) -> None:
    table = first()
    assert table.value(name) == OTHER
    assert [table.value(each) for each in "abc"] == ["a", "b", "c"]


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
def test_names_and_urls_are_audiences(audience) -> None:
    assert AUDIENCE.fullmatch(audience)


TOKEN = f"eyJhbGciOiJSUzI1NiJ9.{'e' * 60}.{'s' * 342}"


@pytest.mark.parametrize("audience", [TOKEN, f"https://a/{'b' * 64}", "a" * 129, "a b", "a?token=b", "a\x00", "_a", ""])
def test_tokens_and_other_text_are_none(audience) -> None:
    assert not AUDIENCE.fullmatch(audience)


@pytest.mark.parametrize(
    ("seconds", "name"),
    [
        (1, "10m"), (600, "10m"), (601, "1h"), (3600, "1h"), (3607, "1d"), (86_400, "1d"), (604_801, "30d"),
        (YEAR, "1y"), (YEAR + 1, "longer"), (1 << 32, "longer"),
    ],
)  # fmt: skip
def test_a_lifetime_is_at_most_what_its_name_says(seconds, name) -> None:
    assert lifetime(seconds) == name
