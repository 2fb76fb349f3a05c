"""What an entry of the audit log says of a change."""

from photochanger.domain.audit import Change, JsonValue, changes_between


def test_only_what_differs_is_told_by_its_path() -> None:
    old: dict[str, JsonValue] = {"a": 1, "b": {"c": "x", "d": [1, 2]}, "e": None, "same": {"deep": {"er": 1}}}
    new: dict[str, JsonValue] = {
        "a": 2,
        "b": {"c": "x", "d": [2, 1]},
        "f": "new",
        "same": {"deep": {"er": 1}},
    }
    assert changes_between(old, new) == {
        "a": Change(1, 2),
        "b.d": Change([1, 2], [2, 1]),
        "f": Change(None, "new"),
    }


def test_a_switch_is_not_a_number() -> None:
    assert changes_between({"a": 1, "b": 0.0}, {"a": True, "b": 0.0}) == {"a": Change(1, True)}


def test_a_branch_that_comes_or_goes_is_told_as_a_whole() -> None:
    assert changes_between({"fallback": None}, {"fallback": {"provider": "x"}}) == {
        "fallback": Change(None, {"provider": "x"})
    }


def test_the_paths_come_in_order() -> None:
    assert list(changes_between({}, {"b": 1, "a": {"x": 1}, "c": 2})) == ["a", "b", "c"]
