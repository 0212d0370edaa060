"""
Change one pure file in small ways, one at a time, and see whether its tests notice: `make mutants FILE=… [TESTS=…]`.

Each mutant is one place changed: a comparison, an operator, a constant, a condition turned round, a statement left out.
The file itself is never written: each run imports the mutant in its place. A mutant that no test notices survives; it
is printed, with its line. Some are no faults, because they mean the same.
"""

import argparse
import ast
import copy
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src/clawback"

SECONDS_EACH = 120
"""By then a mutant hangs, which its tests have noticed."""

SIDE_BY_SIDE = 2

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult, ast.Div: ast.Mult,
    ast.Mod: ast.Mult, ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr,
}  # fmt: skip

PLUGIN = """
import importlib.abc, importlib.util, sys

class Loader(importlib.abc.SourceLoader):
    def get_filename(self, name): return {original!r}
    def get_data(self, path):
        with open({mutant!r}, "rb") as file: return file.read()

class Finder:
    def find_spec(self, name, path=None, target=None):
        return importlib.util.spec_from_loader(name, Loader()) if name == {module!r} else None

sys.dont_write_bytecode = True
sys.meta_path.insert(0, Finder())
"""
"""Loaded by pytest before any test: it puts the mutant in the place of its module."""


class Mutant(NamedTuple):
    """One change: where it is, what it is, and the file with it."""

    line: int
    what: str
    text: str


def build_mutants(text: str) -> Iterator[Mutant]:
    """Build every mutant of a file's text, in the order of its lines. Pure."""
    tree = ast.parse(text)
    for index, node in enumerate(ast.walk(tree)):
        for number, (what, _) in enumerate(_changes(node)):
            mutated = copy.deepcopy(tree)
            twin = next(each for place, each in enumerate(ast.walk(mutated)) if place == index)
            list(_changes(twin))[number][1]()
            written = ast.unparse(ast.fix_missing_locations(mutated))
            yield Mutant(getattr(node, "lineno", 0), what, written)


def _changes(node: ast.AST) -> Iterator[tuple[str, "_Change"]]:
    """List what can be changed at one place."""
    yield from _turned(node)
    yield from _left_out(node)


def _turned(node: ast.AST) -> Iterator[tuple[str, "_Change"]]:
    match node:
        case ast.Compare(ops=[op, *_]) if type(op) in COMPARISONS:
            yield _told(node), _Change(node.ops, 0, COMPARISONS[type(op)]())
        case ast.BinOp(op=op) if type(op) in OPERATORS and not _is_type(node):
            yield _told(node), _Change(node, "op", OPERATORS[type(op)]())
        case ast.BoolOp(op=op):
            yield _told(node), _Change(node, "op", ast.And() if isinstance(op, ast.Or) else ast.Or())
        case ast.UnaryOp(op=ast.Not()):
            yield _told(node), _Change(node, "op", ast.UAdd())
        case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test):
            yield f"not ({ast.unparse(test)})", _Change(node, "test", ast.UnaryOp(ast.Not(), test))
        case ast.comprehension(ifs=[condition, *_]):
            yield f"not ({ast.unparse(condition)})", _Change(node.ifs, 0, ast.UnaryOp(ast.Not(), condition))
        case ast.Constant(value=bool(value)):
            yield f"{value} turned", _Change(node, "value", not value)
        case ast.Constant(value=int(value) | float(value)):
            yield f"{value} and 1", _Change(node, "value", value + 1)
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
            yield f"return None, not {ast.unparse(value)[:60]}", _Change(node, "value", ast.Constant(None))


def _left_out(node: ast.AST) -> Iterator[tuple[str, "_Change"]]:
    for statements in (getattr(node, "body", None), getattr(node, "orelse", None)):
        for index, statement in enumerate(statements if isinstance(statements, list) else ()):
            if isinstance(statement, ast.AugAssign | ast.Expr | ast.Continue | ast.Break) and not _is_text(statement):
                yield f"without {ast.unparse(statement)[:60]}", _Change(statements, index, ast.Pass())
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Attribute):
                yield f"without {ast.unparse(statement)[:60]}", _Change(statements, index, ast.Pass())


class _Change:
    """Put a node or value in the place of another."""

    def __init__(self, holder: object, place: str | int, new: object) -> None:
        self._holder, self._place, self._new = holder, place, new

    def __call__(self) -> None:
        if isinstance(self._holder, list):
            self._holder[self._place] = self._new
        else:
            setattr(self._holder, str(self._place), self._new)


def _told(node: ast.expr) -> str:
    return f"other operator in {ast.unparse(node)[:80]}"


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _is_type(node: ast.BinOp) -> bool:
    """Tell a union of types, `A | None`, which changes nothing when it runs."""
    return isinstance(node.op, ast.BitOr) and isinstance(node.left, ast.Name | ast.BinOp | ast.Subscript | ast.Constant)


def survives(mutant: Mutant | None, module: str, path: Path, tests: list[str], selected: str) -> bool:
    """Run the tests with a mutant in the place of its module (None: the file as it is); True where they all pass."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as place:
        room = Path(place)
        changed = room / "mutant.py"
        changed.write_text(path.read_text() if mutant is None else mutant.text)
        (room / "put_mutant.py").write_text(PLUGIN.format(original=str(path), mutant=str(changed), module=module))
        environment = os.environ | {"PYTHONPATH": place, "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "put_mutant", "-p", "no:cacheprovider", *tests]
        if selected:
            command += ["-k", selected]
        try:
            ran = subprocess.run(
                command, cwd=ROOT, env=environment, capture_output=True, timeout=SECONDS_EACH, check=False
            )
        except subprocess.TimeoutExpired:
            return False
        return ran.returncode == 0


def main() -> int:
    """Run them all; the exit code is 1 where the share that was noticed is below what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, help="such as src/clawback/sessions/lane.py")
    parser.add_argument("tests", nargs="*", help="(default: the test file of the same name)")
    parser.add_argument("-k", default="", dest="selected", help="as pytest's")
    parser.add_argument("--least", type=float, default=0.0, help="share of the mutants that have to be noticed, in %%")
    arguments = parser.parse_args()
    path = arguments.file.resolve()
    room = path.relative_to(SOURCE)
    module = ".".join(("clawback", *room.with_suffix("").parts))
    tests = arguments.tests or [str(ROOT / "tests" / room.parent / f"test_{room.name}")]
    if not survives(None, module, path, tests, arguments.selected):
        sys.stderr.write("the tests fail with the file as it is, or there are none\n")
        return 2
    mutants = sorted(build_mutants(path.read_text()))
    with ThreadPoolExecutor(SIDE_BY_SIDE) as side_by_side:
        run = side_by_side.map(lambda mutant: survives(mutant, module, path, tests, arguments.selected), mutants)
        living = []
        for mutant, lives in zip(mutants, run, strict=True):
            if lives:
                living.append(mutant)
                sys.stdout.write(f"{arguments.file}:{mutant.line}: survives: {mutant.what}\n")
                sys.stdout.flush()
    share = 100 * (1 - len(living) / max(len(mutants), 1))
    sys.stdout.write(f"{len(mutants)} mutants, {len(mutants) - len(living)} noticed: {share:.1f} %\n")
    return 1 if share < arguments.least else 0


if __name__ == "__main__":
    sys.exit(main())
