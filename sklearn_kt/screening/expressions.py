"""Filters written as text, for the command line, as expressions of pyarrow."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

from sklearn_kt.exceptions import InputError
from sklearn_kt.tables import did_you_mean

if TYPE_CHECKING:
    from pyarrow.compute import Expression

__all__ = ["compared_columns", "parse_expression", "unknown_column"]


def _divide(left: Expression, right: Expression) -> Expression:
    """Divide as numbers with decimals; by zero it gives infinity, or nan of zero."""
    import pyarrow.compute as pc

    # pyarrow would divide whole numbers to whole ones, and stop at a zero
    return pc.divide(left.cast("float64", safe=False), right.cast("float64", safe=False))


_OPERATORS: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.And: operator.and_,
    ast.Or: operator.or_,
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: _divide,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
# longer text is no filter, and deep nesting would exhaust Python's parser
_MAX_LENGTH = 2_000


def parse_expression(text: str) -> Expression:
    """Read a filter such as ``"prediction > 1.5 and prediction_std < 0.3"``.

    Parameters
    ----------
    text : str
        Names of columns, numbers, quoted text, comparisons (also ``in [...]``), ``and``, ``or``,
        ``not``, ``+ - * /`` and brackets, with Python's meaning, but that a division by zero
        gives infinity. Names that are not identifiers are written ``col("band gap")``.

    Returns
    -------
    pyarrow.compute.Expression
        Nothing of the text is executed.

    Raises
    ------
    InputError
        If it is anything else.

    Examples
    --------
    >>> from sklearn_kt.screening.expressions import parse_expression
    >>> parse_expression("1 < prediction < 2")
    <pyarrow.compute.Expression ((1 < prediction) and (prediction < 2))>
    """
    if len(text) > _MAX_LENGTH:
        raise InputError(f"the filter has {len(text)} characters, more than {_MAX_LENGTH}.")
    try:
        return _build(ast.parse(text.strip(), mode="eval").body)
    except (
        SyntaxError,
        ValueError,
        TypeError,
        ArithmeticError,
        RecursionError,
        MemoryError,
    ) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"the filter {text[:60]!r} cannot be read ({error}); write, for example, "
            "\"prediction > 1.5 and symbol in ['a', 'b']\"."
        ) from error


def compared_columns(text: str) -> dict[str, set[type]]:
    """Name the columns of a filter, and what each is compared with.

    Parameters
    ----------
    text : str
        What :func:`parse_expression` reads.

    Returns
    -------
    kinds : dict of str to set of type
        For each column ``str`` if it is compared with text, ``float`` if with anything else.

    Examples
    --------
    >>> from sklearn_kt.screening.expressions import compared_columns
    >>> compared_columns("cost < 2 * 50 and symbol in ['a', 'b']")
    {'cost': {<class 'float'>}, 'symbol': {<class 'str'>}}
    """
    parse_expression(text)
    tree = ast.parse(text.strip(), mode="eval")
    found: dict[str, set[type]] = {name: set() for name in _names(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            names = _names(node)
            texts = {part.value for part in ast.walk(node) if _is_text(part)} - {*names}
            for name in names:
                found[name].add(str if texts else float)
    return found


def unknown_column(name: str, names: Sequence[str]) -> str:
    """Say that a filter names no column, and how the one that may be meant is written."""
    near = did_you_mean(name, names, lambda n: n if n.isidentifier() else f'col("{n}")')
    return f"there is no column {name!r} among {', '.join(names)}.{near}"


def _names(tree: ast.AST) -> list[str]:
    """Name the columns in a part of a filter; ``col`` is none."""
    names = []
    for node in ast.walk(tree):
        match node:
            case ast.Call(args=[ast.Constant(value=str(name))]):
                names.append(name)
            case ast.Name(id=name) if name != "col":
                names.append(name)
    return names


def _is_text(node: ast.AST) -> TypeGuard[ast.Constant]:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _build(node: ast.expr) -> Any:
    import pyarrow.compute as pc

    match node:
        case ast.BoolOp(op=op, values=values):
            result = _build(values[0])
            for value in values[1:]:
                result = _OPERATORS[type(op)](result, _build(value))
            return result
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return ~_build(operand)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return pc.scalar(0) - _build(operand)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_build(left), _build(right))
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            parts = []
            for comparison, right in zip(ops, comparators, strict=True):
                parts.append(_comparison(left, comparison, right))
                left = right
            result = parts[0]
            for part in parts[1:]:
                result = result & part
            return result
        case ast.Name(id=name):
            return pc.field(name)
        case ast.Call(func=ast.Name(id="col"), args=[ast.Constant(value=str(name))], keywords=[]):
            return pc.field(name)
        case ast.Constant(value=float(value)):
            # a bare number pulls a column of whole ones into 32 bits, where 20000001 has no place
            return pc.scalar(value).cast("float64")
        case ast.Constant(value=bool() | int() | str() as value):
            return pc.scalar(value)
    raise InputError(f"the filter may not hold {ast.unparse(node)!r}.")


def _comparison(left: ast.expr, op: ast.cmpop, right: ast.expr) -> Any:
    if isinstance(op, ast.In | ast.NotIn) and isinstance(right, ast.List | ast.Tuple):
        inside = _build(left).isin([ast.literal_eval(item) for item in right.elts])
        return inside if isinstance(op, ast.In) else ~inside
    if type(op) not in _OPERATORS:
        raise InputError(f"the filter may not compare with {ast.unparse(right)!r} that way.")
    return _OPERATORS[type(op)](_build(left), _build(right))
