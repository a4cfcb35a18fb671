"""Primary keys of records, and the names of relationships."""

from __future__ import annotations

from collections import abc
from typing import Any, Callable, Dict, Iterable, List, Mapping, Sequence, Tuple, TypeVar, Union

from .errors import InvalidRequest, InvalidValue, UnknownResource

Item = TypeVar("Item")


def split(name: str) -> Tuple[str, str]:
    """("representative", "tickets") of `representative.tickets`."""
    resource, dot, relationship = name.partition(".")
    if not (resource and dot and relationship):
        raise InvalidRequest(f"{name!r}: expected resource.relationship")
    return resource, relationship


def is_record(value: Any) -> bool:
    """Whether only the schema can tell which key is meant."""
    return isinstance(value, abc.Mapping)


def key_of(schema: Mapping[str, Any], resource: str, value: Any) -> Any:
    """The key of a record; a key is its own."""
    if not is_record(value):
        return value
    about = schema["resources"].get(resource)
    if about is None:
        raise UnknownResource(f"there is no resource {resource}", details={"resource": resource})
    primary_key = about["primary_key"]
    try:
        if isinstance(primary_key, str):
            return value[primary_key]
        return [value[field] for field in primary_key]
    except KeyError as missing:
        raise InvalidValue(f"a record of {resource} without its primary key {missing.args[0]}",
                           details={"resource": resource, "field": missing.args[0]}) from None


def group_by(items: Iterable[Item],
             by: Union[str, Sequence[str], Callable[[Item], Any]]) -> Dict[Any, List[Item]]:
    """Groups by a field, by several (a composite key, as a tuple) or by what a
    function says: a dict of lists, as a provider may answer it."""
    groups: Dict[Any, List[Item]] = {}
    key = _key_function(by)
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def _key_function(by: Any) -> Callable[[Any], Any]:
    if callable(by):
        result: Callable[[Any], Any] = by
        return result
    if isinstance(by, str):
        return lambda item: item[by]
    fields = tuple(by)
    return lambda item: tuple(item[field] for field in fields)
