"""Mathematics of single numbers and of arrays, element by element; null gives null.

Edge cases follow IEEE 754: division by zero is infinite, logarithms of negative numbers are NaN.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from openeo_nc.errors import MinMaxSwappedError
from openeo_nc.processes.standard._values import elementwise, is_array
from openeo_nc.processes.standard.comparison import is_nan

__all__ = [
    "absolute",
    "add",
    "arccos",
    "arcosh",
    "arcsin",
    "arctan",
    "arctan2",
    "arsinh",
    "artanh",
    "ceil",
    "clip",
    "cos",
    "cosh",
    "divide",
    "e",
    "exp",
    "floor",
    "int_",
    "linear_scale_range",
    "ln",
    "log",
    "mod",
    "multiply",
    "normalized_difference",
    "power",
    "round_",
    "sgn",
    "sin",
    "sinh",
    "sqrt",
    "subtract",
    "tan",
    "tanh",
]


def e() -> float:
    """Euler's number."""
    return math.e


def add(x: Any, y: Any) -> Any:
    """x + y."""
    return elementwise(np.add, x, y)


def subtract(x: Any, y: Any) -> Any:
    """x - y."""
    return elementwise(np.subtract, x, y)


def multiply(x: Any, y: Any) -> Any:
    """x * y."""
    return elementwise(np.multiply, x, y)


def divide(x: Any, y: Any) -> Any:
    """x / y."""
    return elementwise(np.divide, x, y)


def mod(x: Any, y: Any) -> Any:
    """Remainder of x / y, with the sign of y; of a division by zero it is that division.

    A remainder by an infinite number is x whatever the signs are, as openEO has it.
    """

    def remainder(a: Any, b: Any) -> Any:
        result = np.where(np.isinf(b) & np.isfinite(a), a, np.mod(a, b))
        return np.where(np.equal(b, 0), np.divide(a, b), result)

    return elementwise(remainder, x, y)


def power(base: Any, p: Any) -> Any:
    """base ** p; whole numbers too may have negative powers."""

    return elementwise(
        lambda a, b: (np.float_power if _whole(a) and _whole(b) else np.power)(a, b), base, p
    )


def normalized_difference(x: Any, y: Any) -> Any:
    """(x - y) / (x + y)."""
    return divide(subtract(x, y), add(x, y))


def absolute(x: Any) -> Any:
    """|x|."""
    return elementwise(np.abs, x)


def sgn(x: Any) -> Any:
    """-1, 0 or 1."""
    return elementwise(np.sign, x)


def sqrt(x: Any) -> Any:
    """Square root."""
    return elementwise(np.sqrt, x)


def exp(p: Any) -> Any:
    """e ** p."""
    return elementwise(np.exp, p)


def ln(x: Any) -> Any:
    """Natural logarithm."""
    return elementwise(np.log, x)


def log(x: Any, base: Any) -> Any:
    """Logarithm to a base; exact for whole powers of 2 and 10."""
    exact = {2: np.log2, 10: np.log10}
    if not is_array(base) and base in exact:
        return elementwise(exact[base], x)
    return elementwise(lambda a, b: np.log(a) / np.log(b), x, base)


def floor(x: Any) -> Any:
    """Greatest integer not above x."""
    return elementwise(np.floor, x)


def ceil(x: Any) -> Any:
    """Least integer not below x."""
    return elementwise(np.ceil, x)


def int_(x: Any) -> Any:
    """Integer part of x; NaN has none, and null stands for it."""
    whole = elementwise(np.trunc, x)
    return None if is_nan(whole) is True else whole


def round_(x: Any, p: int = 0) -> Any:
    """x rounded to p decimals, ties to the even neighbour."""
    return elementwise(lambda a: np.around(a, decimals=int(p)), x)


def cos(x: Any) -> Any:
    """Cosine of radians."""
    return elementwise(np.cos, x)


def cosh(x: Any) -> Any:
    """Hyperbolic cosine."""
    return elementwise(np.cosh, x)


def arccos(x: Any) -> Any:
    """Inverse cosine in radians."""
    return elementwise(np.arccos, x)


def arcosh(x: Any) -> Any:
    """Inverse hyperbolic cosine."""
    return elementwise(np.arccosh, x)


def sin(x: Any) -> Any:
    """Sine of radians."""
    return elementwise(np.sin, x)


def sinh(x: Any) -> Any:
    """Hyperbolic sine."""
    return elementwise(np.sinh, x)


def arcsin(x: Any) -> Any:
    """Inverse sine in radians."""
    return elementwise(np.arcsin, x)


def arsinh(x: Any) -> Any:
    """Inverse hyperbolic sine."""
    return elementwise(np.arcsinh, x)


def tan(x: Any) -> Any:
    """Tangent of radians."""
    return elementwise(np.tan, x)


def tanh(x: Any) -> Any:
    """Hyperbolic tangent."""
    return elementwise(np.tanh, x)


def arctan(x: Any) -> Any:
    """Inverse tangent in radians."""
    return elementwise(np.arctan, x)


def artanh(x: Any) -> Any:
    """Inverse hyperbolic tangent."""
    return elementwise(np.arctanh, x)


def arctan2(y: Any, x: Any) -> Any:
    """Angle of the point (x, y) in radians."""
    return elementwise(np.arctan2, y, x)


def clip(x: Any, min: Any, max: Any) -> Any:
    """x, but no less than `min` and no more than `max`.

    Raises
    ------
    MinMaxSwappedError
        `min` is greater than `max`.
    """
    if not is_array(min) and not is_array(max) and min > max:
        raise MinMaxSwappedError(f"min ({min}) is greater than max ({max}).")
    return elementwise(lambda a: np.minimum(np.maximum(a, min), max), x)


def linear_scale_range(
    x: Any, inputMin: float, inputMax: float, outputMin: float = 0.0, outputMax: float = 1.0
) -> Any:  # openEO's names
    """x of the input range, clipped to it, as it lies in the output range."""
    lower, upper = sorted((float(inputMin), float(inputMax)))

    def scaled(a: Any) -> Any:
        inside = np.minimum(np.maximum(a, lower), upper)
        part = (inside - inputMin) / np.subtract(float(inputMax), inputMin)
        return part * np.subtract(float(outputMax), outputMin) + outputMin

    return elementwise(scaled, x)


def _whole(value: Any) -> bool:
    return (value.dtype if is_array(value) else np.asarray(value).dtype).kind in "biu"
