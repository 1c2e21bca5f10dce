"""Reading of parameters: nesting, types, and an error that names what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from costplus.core.errors import BillingError
from costplus.web.forms import DEPTH_MAX, FIELDS_MAX, form_of, json_of
from costplus.web.params import Params


def params(text: str) -> Params:
    return Params(form_of(text.encode()))


def test_brackets_nest_and_numbers_and_empty_brackets_make_arrays() -> None:
    assert form_of(b"a[b][c]=1&a[b][d]=&e[]=x&e[]=y&f=%C3%A4+%26") == {
        "a": {"b": {"c": "1", "d": ""}},
        "e": ["x", "y"],
        "f": "ä &",
    }
    found = params("items[1][price]=q&items[0][price]=p&models[]=a&models[]=b")
    assert [item.text("price") for item in found.each("items")] == ["p", "q"]
    assert found.texts("models") == ["a", "b"]
    assert params("m[0]=a&m[1]=b").texts("m") == ["a", "b"]


@pytest.mark.parametrize(
    "text", ["a=1&a[b]=2", "a[]=1&a[b]=2", "a[b]=1&a[]=2", "a" + "[b]" * DEPTH_MAX + "=1"]
)
def test_names_that_contradict_each_other_or_nest_without_end_are_refused(text: str) -> None:
    with pytest.raises(BillingError) as refused:
        form_of(text.encode())
    assert refused.value.code == "parameter_invalid_shape"


def test_too_many_fields_are_no_form() -> None:
    with pytest.raises(BillingError) as refused:
        form_of("&".join(f"a{i}=1" for i in range(FIELDS_MAX + 1)).encode())
    assert refused.value.code == "body_not_form"


def test_typed_readers_return_values_and_none_for_what_is_absent_or_empty() -> None:
    found = params("n=0&t=true&f=false&d=1.50&c=b&u=1795176000&r=2026-11-20T12:00:00Z&e=")
    assert (found.integer("n"), found.flag("t"), found.flag("f")) == (0, True, False)
    assert (found.decimal("d"), found.choice("c", ("a", "b"))) == (Decimal("1.50"), "b")
    noon = datetime(2026, 11, 20, 12, tzinfo=UTC)
    assert (found.time("u"), found.time("r")) == (noon, noon)
    for name in ("e", "absent"):
        assert found.text(name) is None and found.integer(name) is None and found.time(name) is None
        assert found.texts(name) == [] and found.within(name).text("x") is None
    found.refuse_unread()


REFUSED: list[tuple[str, Callable[[Params], object], str, str]] = [
    ("", lambda p: p.required_text("a"), "parameter_missing", "a"),
    ("a=", lambda p: p.required_integer("a"), "parameter_missing", "a"),
    ("", lambda p: p.required_time("a"), "parameter_missing", "a"),
    ("", lambda p: p.within("a").required_choice("b", ("x",)), "parameter_missing", "a[b]"),
    ("a=1.5", lambda p: p.integer("a"), "parameter_invalid_integer", "a"),
    ("a=-1", lambda p: p.integer("a"), "parameter_invalid_integer", "a"),
    ("a=11", lambda p: p.integer("a", most=10), "parameter_invalid_integer", "a"),
    ("a=yes", lambda p: p.flag("a"), "parameter_invalid_boolean", "a"),
    ("a=z", lambda p: p.choice("a", ("x", "y")), "parameter_invalid_choice", "a"),
    ("a=tomorrow", lambda p: p.time("a"), "parameter_invalid_time", "a"),
    ("a=2026-11-20T12:00:00", lambda p: p.time("a"), "parameter_invalid_time", "a"),
    ("a=9999999999999999", lambda p: p.time("a"), "parameter_invalid_time", "a"),
    ("a=1e", lambda p: p.decimal("a"), "amount_invalid", "a"),
    ("a=NaN", lambda p: p.decimal("a"), "amount_invalid", "a"),
    ("a=xxxx", lambda p: p.text("a", longest=3), "parameter_invalid_string", "a"),
    ("a=x%00", lambda p: p.text("a"), "parameter_invalid_string", "a"),
    ("a[b]=1", lambda p: p.text("a"), "parameter_invalid_shape", "a"),
    ("a=1", lambda p: p.within("a"), "parameter_invalid_shape", "a"),
    ("a=1", lambda p: p.texts("a"), "parameter_invalid_shape", "a"),
    ("a[b]=1", lambda p: p.texts("a"), "parameter_invalid_shape", "a"),
    ("metadata[k]=" + "v" * 501, lambda p: p.metadata(), "parameter_invalid_string", "metadata[k]"),
    ("metadata[" + "k" * 41 + "]=v", lambda p: p.metadata(), "parameter_invalid_metadata", "metadata"),
    (
        "&".join(f"metadata[k{i}]=v" for i in range(51)),
        lambda p: p.metadata(),
        "parameter_invalid_metadata",
        "metadata",
    ),
]


@pytest.mark.parametrize(("text", "read", "code", "param"), REFUSED)
def test_what_cannot_be_read_is_refused_by_name(
    text: str, read: Callable[[Params], object], code: str, param: str
) -> None:
    with pytest.raises(BillingError) as refused:
        read(params(text))
    assert (refused.value.code, refused.value.param) == (code, param)


@pytest.mark.parametrize(
    ("text", "unknown"), [("a=1&b=2", "b"), ("a[x]=1", "a[x]"), ("a=&c[]=1", "c[0]"), ("a=1&d[]=", "d[0]")]
)
def test_what_nothing_reads_is_unknown(text: str, unknown: str) -> None:
    found = params(text)
    if "a[x]" not in text:
        found.text("a")
    with pytest.raises(BillingError) as refused:
        found.refuse_unread()
    assert (refused.value.code, refused.value.param) == ("parameter_unknown", unknown)


def test_metadata_is_merged_its_empty_values_removed_and_all_of_it_unset_by_an_empty_text() -> None:
    known = {"a": "1", "b": "2"}
    assert params("metadata[a]=&metadata[c]=3").metadata(known) == {"b": "2", "c": "3"}
    assert params("metadata=").metadata(known) == {}
    assert params("").metadata(known) == known


def test_free_payloads_are_read_whole() -> None:
    found = Params({"payload": {"a": "1", "deep": {"b": [1, 2]}}})
    assert found.mapping("payload") == {"a": "1", "deep": {"b": [1, 2]}}
    found.refuse_unread()


def test_an_empty_json_body_has_no_parameters() -> None:
    empty: dict[str, Any] = {}
    assert json_of(b"") == json_of(b" ") == json_of(b"{}") == empty
