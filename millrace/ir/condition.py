"""The conditions of `dsl.If`, `Elif` and `Else`, in the subset of CEL that KFP's compiler writes.

    !(inputs.parameter_values['kind'] == 'big') && int(inputs.parameter_values['n']) >= 3

The subset is comparisons of inputs and literals, `!`, `&&`, `||`, parentheses and the conversions
int, double, string and bool. See https://github.com/google/cel-spec/blob/master/doc/langdef.md.
"""

from __future__ import annotations

import dataclasses
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from millrace.errors import ParameterError, PipelineError
from millrace.ir.text import text_of

_Inputs = Mapping[str, Any]
_Expression = Callable[[_Inputs], Any]

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<input>inputs\.parameter_values\[\s*(?:'(?P<single>[^']*)'|"(?P<double>[^"]*)")\s*\])
      | (?P<number>-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)
      | (?P<string>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
      | (?P<word>[A-Za-z_]\w*)
      | (?P<sign>&&|\|\||==|!=|<=|>=|[<>!()])
    )""",
    re.VERBOSE,
)
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


_INT64 = 2**63
_BOOLEANS = {"true": True, "false": False}


def _int(value: Any) -> int:
    """Converts to int as CEL does: text must be an integer, and the result must fit 64 bits."""
    if isinstance(value, bool):
        raise TypeError("int(bool)")
    number = int(value) if not isinstance(value, str) else _whole_number(value)
    if not -_INT64 <= number < _INT64:
        raise ValueError("out of range")
    return number


def _whole_number(text: str) -> int:
    if not re.fullmatch(r"[+-]?\d+", text, re.ASCII):
        raise ValueError(text)
    return int(text)


def _bool(value: Any) -> bool:
    return _BOOLEANS[value.lower()] if isinstance(value, str) else _truth(value)


def _truth(value: Any) -> bool:
    """Returns a boolean; CEL accepts no other type as one."""
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is not a bool")
    return value


_CONVERSIONS: dict[str, Callable[[Any], Any]] = {
    "int": _int,
    "double": float,
    "string": text_of,
    "bool": _bool,
}


@dataclasses.dataclass(frozen=True)
class Condition:
    """A parsed condition.

    Attributes:
        text: Its text in the pipeline.
        inputs: The inputs it refers to.
    """

    text: str
    inputs: frozenset[str]
    _expression: _Expression = dataclasses.field(repr=False, compare=False)

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Parses a condition.

        Raises:
            PipelineError: It uses CEL beyond what KFP's compiler writes.
        """
        parser = _Parser(text)
        return cls(text, frozenset(parser.inputs), parser.expression)

    def __str__(self) -> str:
        """The condition for people, with inputs by their names."""
        names = re.sub(
            r"inputs\.parameter_values\[['\"](?:pipelinechannel--)?(.*?)['\"]\]", r"\1", self.text
        )
        return re.sub(r"\b(?:int|double)\(([\w.-]+)\)", r"\1", names)

    def holds(self, inputs: _Inputs) -> bool:
        """Returns whether the condition holds for a task's input parameters.

        Raises:
            ParameterError: An input it refers to is missing, or cannot be compared.
        """
        for name in sorted(self.inputs - inputs.keys()):
            raise ParameterError(f'The condition {self} needs "{name}", which has no value.')
        try:
            value = self._expression(inputs)
            if not isinstance(value, bool):
                raise ParameterError(
                    f"The condition {self} must be true or false, and is {value!r}."
                )
            return value
        except (TypeError, ValueError, KeyError, OverflowError):
            values = ", ".join(f"{name} = {inputs[name]!r}" for name in sorted(self.inputs))
            raise ParameterError(
                f"The condition {self} cannot be evaluated for {values}."
            ) from None


class _Parser:
    """Parses tokens into nested functions, by operator precedence."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = self._tokenize()
        self.inputs: set[str] = set()
        self.expression = self._any()
        if self._tokens:
            raise self._unsupported(self._tokens[0][1])

    def _tokenize(self) -> list[tuple[str, str]]:
        tokens, at = [], 0
        text = self._text.rstrip()
        while at < len(text):
            match = _TOKEN.match(text, at)
            if not match:
                raise self._unsupported(text[at:].strip())
            kind = str(match.lastgroup)
            if match["input"] is not None:
                name = match["single"] if match["single"] is not None else match["double"]
                tokens.append(("input", name))
            else:
                tokens.append((kind, match[kind]))
            at = match.end()
        return tokens

    def _unsupported(self, what: str) -> PipelineError:
        return PipelineError(f"the condition {self._text!r} is not supported, at {what!r}")

    def _take(self, *signs: str) -> str:
        if self._tokens and self._tokens[0][0] == "sign" and self._tokens[0][1] in signs:
            return self._tokens.pop(0)[1]
        return ""

    def _any(self) -> _Expression:
        parts = [self._all()]
        while self._take("||"):
            parts.append(self._all())
        return (
            parts[0]
            if len(parts) == 1
            else lambda inputs: any(_truth(part(inputs)) for part in parts)
        )

    def _all(self) -> _Expression:
        parts = [self._comparison()]
        while self._take("&&"):
            parts.append(self._comparison())
        return (
            parts[0]
            if len(parts) == 1
            else lambda inputs: all(_truth(part(inputs)) for part in parts)
        )

    def _comparison(self) -> _Expression:
        left = self._unary()
        if sign := self._take(*_COMPARISONS):
            right, compare = self._unary(), _COMPARISONS[sign]
            return lambda inputs: compare(*_alike(left(inputs), right(inputs)))
        return left

    def _unary(self) -> _Expression:
        if self._take("!"):
            inner = self._unary()
            return lambda inputs: not _truth(inner(inputs))
        return self._primary()

    def _primary(self) -> _Expression:
        if self._take("("):
            inner = self._any()
            if not self._take(")"):
                raise self._unsupported("a missing )")
            return inner
        if not self._tokens:
            raise self._unsupported("its end")
        kind, text = self._tokens.pop(0)
        if kind == "input":
            self.inputs.add(text)
            return lambda inputs: inputs[text]
        if kind == "word" and text in _CONVERSIONS and self._tokens[:1] == [("sign", "(")]:
            convert, inner = _CONVERSIONS[text], self._primary()
            return lambda inputs: convert(inner(inputs))
        value = self._literal(kind, text)
        return lambda _: value

    def _literal(self, kind: str, text: str) -> Any:
        if kind == "number":
            return float(text) if any(sign in text for sign in ".eE") else int(text)
        if kind == "string":
            return re.sub(r"\\(.)", r"\1", text[1:-1])
        if kind == "word" and text in ("true", "false", "null"):
            return {"true": True, "false": False, "null": None}[text]
        raise self._unsupported(text)


def _alike(left: Any, right: Any) -> tuple[Any, Any]:
    """Returns values for comparison: in Python True equals 1, in CEL it does not."""
    if isinstance(left, bool) != isinstance(right, bool):
        return (left, None) if isinstance(left, bool) else (None, right)
    return left, right
