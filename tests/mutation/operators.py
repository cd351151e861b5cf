"""What is changed in the code under test: small, type-correct edits of its syntax tree.

Only `str` constants, type annotations, decorators and class keywords are left alone: words for
people, and what the type checker and libraries read.
"""

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

Enumerations = Mapping[str, Sequence[str]]
Variant = tuple[ast.AST, str]

_SYMBOLS: dict[type[ast.AST], str] = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
    ast.Is: "is", ast.IsNot: "is not", ast.In: "in", ast.NotIn: "not in",
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%",
    ast.Pow: "**", ast.LShift: "<<", ast.RShift: ">>", ast.BitAnd: "&", ast.BitOr: "|",
    ast.BitXor: "^", ast.MatMult: "@", ast.And: "and", ast.Or: "or",
    ast.USub: "-", ast.Not: "not", ast.Invert: "~",
}  # fmt: skip

# the neighbour across the boundary, then the opposite
_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
_CALLS = {"min": "max", "max": "min", "any": "all", "all": "any", "ceil": "floor", "floor": "ceil"}
_DROPPED_CALLS = ("abs",)
_TYPES = ("int", "float", "str", "bool", "bytes")


@dataclass(frozen=True)
class Mutant:
    """One edit. `key` names it for people and survives edits elsewhere in the file.

    `parent`, `field`, `index`, `node`: where the new node goes in the tree that it was found in.
    """

    path: str
    scope: str
    line: int
    source: str
    change: str
    occurrence: int
    parent: ast.AST
    field: str
    index: int | None
    node: ast.AST

    @property
    def key(self) -> tuple[str, str, str]:
        """Scope, line of source, and change; `#2` for the second same change in a scope's line."""
        again = f" #{self.occurrence}" if self.occurrence > 1 else ""
        return (self.scope, self.source, self.change + again)

    def apply(self) -> None:
        """Put the new node into the tree."""
        if self.index is None:
            setattr(self.parent, self.field, self.node)
        else:
            getattr(self.parent, self.field)[self.index] = self.node


def enumerations(paths: Sequence[Path]) -> dict[str, list[str]]:
    """Return the members of every enum class in the files, without importing them."""
    found: dict[str, list[str]] = {}
    for path in paths:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and _is_enum(node):
                found[node.name] = [
                    target.id
                    for item in node.body
                    if isinstance(item, ast.Assign)
                    for target in item.targets
                    if isinstance(target, ast.Name)
                ]
    return found


def _is_enum(node: ast.ClassDef) -> bool:
    return any(ast.unparse(base).endswith(("Enum", "Flag")) for base in node.bases)


def mutants(path: str, source: str, enums: Enumerations) -> tuple[ast.Module, list[Mutant]]:
    """Return the tree of `source` and all edits of it, in the order of the file."""
    tree = ast.parse(source)
    lines = source.splitlines()
    found: list[Mutant] = []
    seen: dict[tuple[str, str, str], int] = {}
    for site in _sites(tree, "module"):
        for node, change in _variants(site, enums):
            text = lines[site.line - 1].strip()
            ast.copy_location(node, site.node)
            mutant = Mutant(
                path, site.scope, site.line, text, change, 1,
                site.parent, site.field, site.index, ast.fix_missing_locations(node),
            )  # fmt: skip
            seen[mutant.key] = count = seen.get(mutant.key, 0) + 1
            found.append(replace(mutant, occurrence=count))
    return tree, found


@dataclass(frozen=True)
class _Site:
    """A node, where it hangs, and what surrounds it."""

    node: ast.AST
    parent: ast.AST
    field: str
    index: int | None
    scope: str
    line: int


def _sites(parent: ast.AST, scope: str) -> Iterator[_Site]:
    """Walk everything below `parent` that may be changed."""
    for field, value in ast.iter_fields(parent):
        if field in _skipped_fields(parent):
            continue
        nodes = value if isinstance(value, list) else [value]
        for index, node in enumerate(nodes):
            if not isinstance(node, ast.AST) or _skipped(node):
                continue
            inner = scope
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                inner = node.name if scope == "module" else f"{scope}.{node.name}"
            line = getattr(node, "lineno", 0)
            place = index if isinstance(value, list) else None
            if line:
                yield _Site(node, parent, field, place, scope, line)
            yield from _sites(node, inner)


def _skipped_fields(node: ast.AST) -> tuple[str, ...]:
    if isinstance(node, ast.FunctionDef):
        return ("decorator_list", "returns", "type_comment")
    if isinstance(node, ast.ClassDef):
        return ("decorator_list", "bases", "keywords")
    if isinstance(node, ast.FormattedValue):
        return ("format_spec",)
    return ("annotation",)


def _skipped(node: ast.AST) -> bool:
    if isinstance(node, ast.Import | ast.ImportFrom):
        return True
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__slots__"


def _variants(site: _Site, enums: Enumerations) -> Iterator[Variant]:
    node = site.node
    if isinstance(node, ast.Compare):
        yield from _compare(node)
    elif isinstance(node, ast.BinOp):
        yield from _binary(node)
    elif isinstance(node, ast.UnaryOp) and type(node.op) in _SYMBOLS:
        yield node.operand, f"drop {_SYMBOLS[type(node.op)]}"
    elif isinstance(node, ast.BoolOp):
        yield from _boolean(node)
    elif isinstance(node, ast.Constant):
        yield from _constant(node)
    elif isinstance(node, ast.Call):
        yield from _call(node)
    elif isinstance(node, ast.Attribute):
        yield from _member(node, enums)
    elif isinstance(node, ast.If | ast.IfExp):
        yield from _choice(node)
    elif isinstance(node, ast.stmt):
        yield from _statement(node, site)


def _compare(node: ast.Compare) -> Iterator[Variant]:
    for index, op in enumerate(node.ops):
        for other in _COMPARISONS[type(op)]:
            ops = [*node.ops[:index], other(), *node.ops[index + 1 :]]
            changed = ast.Compare(node.left, ops, node.comparators)
            yield changed, f"{_SYMBOLS[type(op)]} -> {_SYMBOLS[other]}"


def _binary(node: ast.BinOp) -> Iterator[Variant]:
    other = _ARITHMETIC.get(type(node.op))
    # lists repeat and types unite: there the opposite operator is no program
    typed = isinstance(node.left, ast.List) or ast.unparse(node.left) in _TYPES
    if other is not None and not typed:
        changed = ast.BinOp(node.left, other(), node.right)
        yield changed, f"{_SYMBOLS[type(node.op)]} -> {_SYMBOLS[other]}"


def _boolean(node: ast.BoolOp) -> Iterator[Variant]:
    other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    yield (
        ast.BoolOp(other, node.values),
        f"{_SYMBOLS[type(node.op)]} -> {_SYMBOLS[type(other)]}",
    )
    for index, value in enumerate(node.values):
        rest = [*node.values[:index], *node.values[index + 1 :]]
        changed = rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)
        yield changed, f"drop `{ast.unparse(value)}`"


def _constant(node: ast.Constant) -> Iterator[Variant]:
    value = node.value
    others: tuple[object, ...] = ()
    if isinstance(value, bool):
        others = (not value,)
    elif isinstance(value, int):
        others = (value + 1, value - 1)
    elif isinstance(value, float):
        others = (2.0 * value, 0.5 * value) if value else (1.0,)
    for other in others:
        yield ast.Constant(other), f"{value!r} -> {other!r}"  # type: ignore[arg-type]


def _call(node: ast.Call) -> Iterator[Variant]:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
    if name in _DROPPED_CALLS and len(node.args) == 1:
        yield node.args[0], f"drop {name}"
    if name in _CALLS:
        func: ast.expr = ast.Name(_CALLS[name], ast.Load())
        if isinstance(node.func, ast.Attribute):
            func = ast.Attribute(node.func.value, _CALLS[name], ast.Load())
        elif name in ("ceil", "floor"):
            func = ast.Attribute(ast.Name("math", ast.Load()), _CALLS[name], ast.Load())
        yield ast.Call(func, node.args, node.keywords), f"{name} -> {_CALLS[name]}"


def _member(node: ast.Attribute, enums: Enumerations) -> Iterator[Variant]:
    if isinstance(node.value, ast.Name) and node.attr in enums.get(node.value.id, ()):
        names = enums[node.value.id]
        other = names[(names.index(node.attr) + 1) % len(names)]
        yield ast.Attribute(node.value, other, ast.Load()), f"{node.attr} -> {other}"


def _choice(node: ast.If | ast.IfExp) -> Iterator[Variant]:
    for value in (True, False):
        test = ast.copy_location(ast.Constant(value), node.test)
        if isinstance(node, ast.If):
            yield ast.If(test, node.body, node.orelse), f"if -> if {value}"
        else:
            yield ast.IfExp(test, node.body, node.orelse), f"if -> if {value}"


def _statement(node: ast.stmt, site: _Site) -> Iterator[Variant]:
    """Delete what has an effect beyond its function's own variables."""
    in_init = site.scope.endswith("__init__")
    targets = node.targets if isinstance(node, ast.Assign) else []
    outside = any(isinstance(t, ast.Attribute | ast.Subscript) for t in targets)
    # `if x: raise` without the raise is `if False`
    guarded = isinstance(site.parent, ast.If) and len(site.parent.body) == 1
    if (
        (outside and not in_init)
        or isinstance(node, ast.AugAssign | ast.Continue | ast.Break)
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call))
        or (isinstance(node, ast.Raise) and not guarded)
    ):
        yield ast.Pass(), "delete"
    if isinstance(node, ast.AugAssign) and type(node.op) in _ARITHMETIC:
        other = _ARITHMETIC[type(node.op)]
        changed = ast.AugAssign(node.target, other(), node.value)
        yield changed, f"{_SYMBOLS[type(node.op)]}= -> {_SYMBOLS[other]}="
