"""The ratchets of the house style, read from the syntax trees. A limit may only go down.

A rule takes one source file and yields findings as `path:line: what`; a test asserts that there are none.
"""

from __future__ import annotations

import ast
import configparser
import functools
import graphlib
import io
import re
import tokenize
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
FUNCTION_LINES_LONG = 50
FUNCTIONS_PER_LONG_ONE = 100
EXACT_FLOORS = ("core", "catalog", "rating", "ledger", "billing")
# Commands load what they need, so that `--help` is instant.
LOCAL_IMPORTS_ALLOWED = (
    "costplus.cli",
    "costplus.cli_books",
    "costplus.cli_database",
    "costplus.cli_options",
    "costplus.cli_prices",
    "costplus.cli_transfer",
)
VAGUE_NAMES = {"common", "helper", "helpers", "manager", "managers", "misc", "util", "utils"}
CLOCKS = {
    "date": {"today"},
    "datetime": {"now", "today", "utcnow"},
    "time": {"monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "time", "time_ns"},
}
PACKAGE_WORDS = ("Owns:", "Does not own:", "Words:", "Invariants:")
ADAPTERS = {"memory", "sqlite", "postgres", "clickhouse"}
SUPPRESSION = re.compile(r"#\s*(?:ruff:\s*|flake8:\s*)?(type:\s*ignore|noqa)(.*)")
CODE_AND_REASON = re.compile(r"(?:\[[\w, -]+\]|:\s*[A-Z]+\d+(?:,?\s*[A-Z]+\d+)*)[\s#:,–—-]+[^\W\d]\S*\s+\S+")


@dataclass(frozen=True, slots=True)
class Source:
    """One parsed Python file; `module` is its dotted name where it belongs to the package."""

    path: str
    text: str
    tree: ast.Module
    module: str

    def at(self, line: int, what: str) -> str:
        return f"{self.path}:{line}: {what}"

    def within(self, *packages: str) -> bool:
        return any(f"{self.module}.".startswith(f"{package}.") for package in packages)


Rule = Callable[[Source], Iterable[str]]
Function = ast.FunctionDef | ast.AsyncFunctionDef


def source_of(text: str, *, path: str = "src/costplus/core/example.py") -> Source:
    module = ""
    if path.startswith("src/"):
        module = path.removeprefix("src/").removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    return Source(path, text, ast.parse(text), module)


@functools.cache
def all_sources() -> tuple[Source, ...]:
    files = [file for top in ("src", "tests", "scripts", "bench") for file in (ROOT / top).rglob("*.py")]
    return tuple(
        source_of(file.read_text("utf-8"), path=file.relative_to(ROOT).as_posix()) for file in sorted(files)
    )


def package_sources() -> list[Source]:
    return [source for source in all_sources() if source.module]


@functools.cache
def pure_contract() -> tuple[tuple[str, ...], frozenset[str]]:
    """Return the pure modules and the libraries they may not import, as `.importlinter` lists them."""
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter", "utf-8")
    pure = contracts["importlinter:contract:pure"]
    modules = tuple(name.replace("*", "costplus", 1) for name in pure["source_modules"].split())
    return modules, frozenset(pure["forbidden_modules"].split())


def functions_of(source: Source) -> Iterator[tuple[Function, int]]:
    """Yield every function with its number of lines."""
    for node in ast.walk(source.tree):
        if isinstance(node, Function):
            yield node, (node.end_lineno or node.lineno) - node.lineno + 1


def imports_of(source: Source) -> Iterator[tuple[int, str]]:
    """Yield every imported name in full, with its line: `from a import b` yields `a.b`."""
    package = (
        source.module.split(".") if source.path.endswith("/__init__.py") else source.module.split(".")[:-1]
    )
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{origin}.{alias.name}") for alias in node.names)


def last_name(node: ast.expr) -> str:
    """Return `c` for the expression `a.b.c` and for `c`, else an empty text."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def files_stay_under_400_lines(source: Source) -> Iterable[str]:
    lines = source.text.count("\n")
    if lines > FILE_LINES_MAX:
        yield source.at(lines, f"the file has {lines} lines (at most {FILE_LINES_MAX}): split it by noun")


def functions_fit_a_screen(source: Source) -> Iterable[str]:
    for function, lines in functions_of(source):
        if lines > FUNCTION_LINES_MAX:
            yield source.at(
                function.lineno, f"{function.name} has {lines} lines (at most {FUNCTION_LINES_MAX})"
            )


def exact_floors_have_no_float(source: Source) -> Iterable[str]:
    if not source.within(*(f"costplus.{floor}" for floor in EXACT_FLOORS)):
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Name) and node.id == "float":
            yield source.at(node.lineno, "float: use Decimal, Fraction or an integer")
        elif isinstance(node, ast.Constant) and isinstance(node.value, float):
            yield source.at(node.lineno, f"the float {node.value}: write Decimal('…') or Fraction('…')")


def broad_excepts_raise_again(source: Source) -> Iterable[str]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ExceptHandler):
            kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            broad = any(kind is None or last_name(kind) in ("Exception", "BaseException") for kind in kinds)
            if broad and not isinstance(node.body[-1], ast.Raise):
                yield source.at(node.lineno, "a broad except must end by raising: name what you expect")
        elif isinstance(node, ast.Call) and last_name(node.func) == "suppress":
            broad = any(last_name(kind) in ("Exception", "BaseException") for kind in node.args)
            if broad:
                yield source.at(node.lineno, "a broad suppress swallows errors: name what you expect")


def imports_stand_at_the_top(source: Source) -> Iterable[str]:
    if source.within(*LOCAL_IMPORTS_ALLOWED):
        return
    for function, _ in functions_of(source):
        for node in ast.walk(function):
            if isinstance(node, ast.Import | ast.ImportFrom):
                yield source.at(node.lineno, f"import inside {function.name}: move it to the top of the file")


def pure_modules_read_no_clock(source: Source) -> Iterable[str]:
    if not source.within(*pure_contract()[0]):
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute) and node.attr in CLOCKS.get(last_name(node.value), ()):
            yield source.at(node.lineno, f"{last_name(node.value)}.{node.attr}: time arrives as `at`")


def pure_modules_do_no_io(source: Source) -> Iterable[str]:
    modules, libraries = pure_contract()
    if not source.within(*modules):
        return
    for line, name in imports_of(source):
        if name.split(".")[0] in libraries:
            yield source.at(line, f"a pure module imports {name}: move the acting part to a verb file")
    for node in ast.walk(source.tree):
        if isinstance(node, ast.AsyncFunctionDef | ast.Await):
            yield source.at(node.lineno, "a pure module never awaits")
        elif isinstance(node, ast.Name) and node.id == "open":
            yield source.at(node.lineno, "a pure module opens no files")


def modules_are_named_for_a_noun(source: Source) -> Iterable[str]:
    words = {word for part in source.path.removesuffix(".py").split("/") for word in part.split("_")}
    for word in sorted(words & VAGUE_NAMES):
        yield source.at(1, f"`{word}` says nothing: name the file for its noun, on the lowest floor using it")


def suppressions_have_code_and_reason(source: Source) -> Iterable[str]:
    for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
        found = SUPPRESSION.search(token.string) if token.type == tokenize.COMMENT else None
        if found and not CODE_AND_REASON.match(found[2]):
            yield source.at(token.start[0], f"`{found[1]}` needs a code and, after it, a reason in words")


def adapters_are_independent(source: Source) -> Iterable[str]:
    own = adapter_of(source.module)
    for line, name in imports_of(source):
        other = adapter_of(name)
        if own and other and own != other:
            yield source.at(line, f"the {own} adapter imports the {other} adapter ({name})")


def adapter_of(module: str) -> str:
    """Return which storage adapter the module belongs to: `sqlite` for `costplus.storage.sqlite_ledger`."""
    word = re.split(r"[._]", module.removeprefix("costplus.storage."))[0]
    return word if module.startswith("costplus.storage.") and word in ADAPTERS else ""


def packages_say_what_they_own(source: Source) -> Iterable[str]:
    if not source.path.endswith("/__init__.py") or source.module == "costplus":
        return
    has_modules = any(
        other.within(source.module) and other.module != source.module and other.text.strip()
        for other in package_sources()
    )
    docstring = ast.get_docstring(source.tree) or ""
    missing = [word for word in PACKAGE_WORDS if f"\n{word}" not in docstring]
    if has_modules and missing:
        yield source.at(1, f"the package docstring has no line starting with {', '.join(missing)}")


BAD = [
    (files_stay_under_400_lines, "x = 1\n" * 401),
    (functions_fit_a_screen, "def f():\n" + "    x = 1\n" * 70),
    (exact_floors_have_no_float, "def f(x: float): ..."),
    (exact_floors_have_no_float, "x = 0.5"),
    (broad_excepts_raise_again, "try: f()\nexcept: pass"),
    (broad_excepts_raise_again, "try: f()\nexcept (OSError, Exception): log()"),
    (broad_excepts_raise_again, "with contextlib.suppress(Exception): f()"),
    (imports_stand_at_the_top, "async def f():\n    if x:\n        import os"),
    (pure_modules_read_no_clock, "at = datetime.now(UTC)"),
    (pure_modules_read_no_clock, "at = datetime.datetime.utcnow()"),
    (pure_modules_read_no_clock, "def f(clock=time.monotonic): ..."),
    (pure_modules_do_no_io, "import asyncio"),
    (pure_modules_do_no_io, "from pathlib import Path"),
    (pure_modules_do_no_io, "async def f(): ..."),
    (pure_modules_do_no_io, "text = open(name).read()"),
    (suppressions_have_code_and_reason, "x = 1  # type: ignore"),
    (suppressions_have_code_and_reason, "x = 1  # type: ignore[misc]"),
    (suppressions_have_code_and_reason, "x = 1  # noqa: BLE001"),
    (suppressions_have_code_and_reason, "# ruff: noqa"),
]
GOOD = [
    (files_stay_under_400_lines, "x = 1\n" * 400),
    (functions_fit_a_screen, "def f():\n" + "    x = 1\n" * 69),
    (exact_floors_have_no_float, "x = Decimal('0.5')"),
    (
        broad_excepts_raise_again,
        "try: f()\nexcept Exception as error:\n    raise InvalidRequest() from error",
    ),
    (pure_modules_read_no_clock, "at = datetime.fromtimestamp(0, UTC)"),
    (suppressions_have_code_and_reason, "x = 1  # type: ignore[misc]  # The stub lacks it."),
    (suppressions_have_code_and_reason, "x = 1  # noqa: S101, B011 - asserts are wanted here"),
]
RULES: list[Rule] = list(
    dict.fromkeys(
        [rule for rule, _ in BAD]
        + [modules_are_named_for_a_noun, adapters_are_independent, packages_say_what_they_own]
    )
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_file_keeps_the_rule(rule: Rule) -> None:
    findings = [finding for source in all_sources() for finding in rule(source)]
    assert not findings, "\n" + "\n".join(findings)


@pytest.mark.parametrize(("rule", "text"), BAD)
def test_a_rule_finds_what_it_forbids(rule: Rule, text: str) -> None:
    assert list(rule(source_of(text)))


@pytest.mark.parametrize(("rule", "text"), GOOD)
def test_a_rule_lets_the_edge_pass(rule: Rule, text: str) -> None:
    assert not list(rule(source_of(text)))


def test_at_most_one_function_in_a_hundred_is_long() -> None:
    functions = [(source, *found) for source in all_sources() for found in functions_of(source)]
    findings = [
        source.at(function.lineno, f"{function.name} has {lines} lines")
        for source, function, lines in functions
        if lines > FUNCTION_LINES_LONG
    ]
    allowed = len(functions) // FUNCTIONS_PER_LONG_ONE
    assert len(findings) <= allowed, f"{allowed} may exceed {FUNCTION_LINES_LONG} lines:\n" + "\n".join(
        findings
    )


def import_graph(sources: Iterable[Source]) -> dict[str, set[str]]:
    """Return what every module imports; `from package import name` may mean a child of the package."""
    by_name = {source.module: source for source in sources}
    graph: dict[str, set[str]] = {name: set() for name in by_name}
    for name, source in by_name.items():
        for _, imported in imports_of(source):
            target = imported if imported in by_name else imported.rpartition(".")[0]
            if target in by_name and target != name:
                graph[name].add(target)
    return graph


def test_no_modules_import_each_other_in_a_circle() -> None:
    try:
        graphlib.TopologicalSorter(import_graph(package_sources())).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"import cycle: {' ← '.join(error.args[1])}")


def test_the_cycle_check_sees_a_circle_through_a_relative_import() -> None:
    one = source_of("from costplus.core import two", path="src/costplus/core/one.py")
    two = source_of("from .one import f", path="src/costplus/core/two.py")
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter(import_graph([one, two])).prepare()
