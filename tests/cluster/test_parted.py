"""A map that never changes: it is what a dict would be, and shares what a change leaves alone."""

from hypothesis import given
from hypothesis import strategies as st

from webhook.cluster.parted import FULL, Parted

MANY = 20 * FULL


def many(count=MANY) -> dict[str, int]:
    return {f"key-{number}": number for number in range(count)}


def is_the_same(one, as_dict) -> bool:
    """Say whether every way to ask gives the same answers."""
    return (
        len(one) == len(as_dict)
        and bool(one) is bool(as_dict)
        and sorted(one) == sorted(as_dict)
        and dict(one.items()) == as_dict
        and one == as_dict
        and all(key in one and one[key] == one.get(key) == value for key, value in as_dict.items())
        and "absent" not in one
        and one.get("absent") is None
        and one.get("absent", 7) == 7
    )


@given(st.lists(st.dictionaries(st.sampled_from([f"k{n}" for n in range(9)]), st.none() | st.integers()), max_size=9))
def test_it_is_after_changes_what_a_dict_would_be(rounds) -> None:
    one, as_dict = Parted[int](), {}
    for changes in rounds:
        one = one.changed(changes)
        as_dict = {key: value for key, value in {**as_dict, **changes}.items() if value is not None}
        assert is_the_same(one, as_dict)


def test_it_grows_and_shrinks_by_as_much_as_there_is() -> None:
    one = Parted[int]()
    for key, number in many().items():
        one = one.changed({key: number})
    assert is_the_same(one, many())
    assert max(map(len, one._parts)) < 2 * FULL
    for key in many():
        one = one.changed({key: None})
    assert is_the_same(one, {})


def test_what_was_given_out_never_changes() -> None:
    before = Parted(many())
    before.changed({"key-0": -1, "key-1": None, "new": 1})
    before.changed({f"more-{number}": number for number in range(MANY)})
    assert is_the_same(before, many())


def test_a_change_copies_a_part_of_a_bounded_size_and_shares_the_rest() -> None:
    before = Parted(many())
    after = before.changed({"new": 1})
    copied = [part for part in after._parts if not any(part is old for old in before._parts)]
    assert len(copied) == 1
    assert len(copied[0]) < 2 * FULL
