"""Finds what may outlive a review: caches, and collections that objects, classes and modules hold."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.documented import CHECKOUT

CACHES = {"cache", "lru_cache", "cached_property"}
COLLECTIONS = {
    "dict", "list", "set", "deque", "defaultdict", "OrderedDict", "Counter", "Queue", "SimpleQueue", "LifoQueue",
    "PriorityQueue", "bytearray", "BoundedCache", "Parted", "WeakKeyDictionary", "WeakValueDictionary", "ChainMap",
}  # fmt: skip
SERVER = (
    "webhook/server",
    "webhook/cluster",
    "webhook/core",
    "webhook/audit/record.py",
    "webhook/pki",
    "webhook/atomic_write.py",
)
"""What runs in a server's process."""


def find_collections() -> set[str]:
    """Return what there is, each as `file::Class.name`, or `file::name` of a module."""
    files = [file for path in SERVER for file in _files(CHECKOUT / path)]
    return {f"{file.relative_to(CHECKOUT)}::{name}" for file in files for name in collections_in(file.read_text())}


def collections_in(source: str) -> Iterator[str]:
    """Yield what a module holds: what is empty at first and can grow, and what is cached."""
    yield from _in_body(ast.parse(source).body, "")


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


def _in_body(body: list[ast.stmt], prefix: str) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from _in_body(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if any(_name(decorator) in CACHES for decorator in node.decorator_list):
                yield prefix + node.name
            yield from _in_method(node, prefix)
        else:
            yield from (prefix + target for target, value in _assigned(node) if "." not in target and _grows(value))


def _in_method(method: ast.AST, prefix: str) -> Iterator[str]:
    for node in ast.walk(method):
        for target, value in _assigned(node):
            if target.startswith("self.") and _grows(value):
                yield prefix + target.removeprefix("self.")


def _assigned(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    for target in targets:
        if node.value is not None:
            yield ast.unparse(target), node.value


def _grows(value: ast.expr) -> bool:
    if isinstance(value, ast.Dict | ast.List | ast.Set):
        return not (value.keys if isinstance(value, ast.Dict) else value.elts)
    if not isinstance(value, ast.Call):
        return False
    factories = [keyword.value for keyword in value.keywords if keyword.arg == "default_factory"]
    if _name(value) == "field" and factories:
        [factory] = factories
        return _name(factory) in COLLECTIONS or (isinstance(factory, ast.Lambda) and _grows(factory.body))
    return _name(value) in COLLECTIONS


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Call):
        return _name(node.func)
    if isinstance(node, ast.Subscript):
        return _name(node.value)
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
