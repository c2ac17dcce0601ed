"""Numbers and units as people read them."""

from __future__ import annotations

from nas.accuracy.score import TOP1
from nas.search.quantities import LEARNED, quantity_of, split_name

# The divisor for display, and the unit that the value then has.
_READ_IN = {"params": (1e6, "M"), "macs": (1e6, "M"), "peak_activation_bytes": (1e6, "MB")}

_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def percent(value: float) -> str:
    """A percentage with one decimal: 91.26 is `91.3 %`."""
    return f"{value:.1f} %"


def score_value(name: str, value: float) -> str:
    """A value of the metric `name`: `91.3 %` of top-1, four digits of another score."""
    return percent(value) if name == TOP1 else f"{value:.4g}"


def score_title(name: str) -> str:
    """The metric `name` with its unit, as columns and axes say it: `top-1 %`, `score`."""
    return f"{quantity_of(name).label} {quantity_of(name).unit}".strip()


def amount(value: float) -> str:
    """A number with one decimal; below 1 with two significant digits: `33.0`, `0.042`."""
    return f"{value:.1f}" if value >= 0.95 else f"{value:.2g}"


def written(name: str, value: float) -> str:
    """A value of an objective or limit with its unit: `33.0 ms`, `5.48 M`, `4.82 MB`."""
    quantity = split_name(name)[0]
    if quantity in ("params", "macs"):
        return millions(value)
    if quantity == "peak_activation_bytes":
        return megabytes(value)
    if quantity in LEARNED and quantity != TOP1:
        return f"{quantity_of(name).label} {score_value(name, value)}"
    return f"{amount(value)} {quantity_of(name).unit}"


def bound(name: str, value: float) -> str:
    """A limit or a budget as the user wrote it, with its unit: `40 ms`, `5 M`."""
    if split_name(name)[0] in _READ_IN:
        return written(name, value)
    return f"{value:,.6g} {quantity_of(name).unit}"


def with_device(name: str, words: str) -> str:
    """`words` about the value called `name`, with its device unless that is the main one: `12 ms on my_board`."""
    device = split_name(name)[1]
    return f"{words} on {device}" if device else words


def read_in(name: str) -> tuple[float, str]:
    """The divisor of an objective's values in tables and pictures, and the unit that they then have."""
    return _READ_IN.get(split_name(name)[0], (1.0, quantity_of(name).unit))


def share(part: float) -> str:
    """A part of 1 in whole percent; `< 1 %` and `> 99 %` where rounding would say 0 or 100."""
    if 0 < part < 0.005:
        return "< 1 %"
    if 0.995 <= part < 1:
        return "> 99 %"
    return f"{100 * part:.0f} %"


def millions(value: float) -> str:
    """Parameters and MACs: 5483032 is `5.48 M`."""
    return f"{value / 1e6:.3g} M" if value < 999.5e6 else f"{value / 1e9:.3g} G"


def megabytes(value: float) -> str:
    """Bytes in powers of 1000: 4816896 is `4.82 MB`."""
    return f"{value / 1e6:.3g} MB" if value >= 1e6 else f"{value / 1e3:.3g} kB"


def count(value: int, thing: str) -> str:
    """`1 trial`, `2,000 trials`."""
    return f"{value:,} {thing}" if value == 1 else f"{value:,} {thing}s"


def large(value: int) -> str:
    """A whole number; from 10⁹ on as a power of ten: `about 3.1 × 10²¹`."""
    if value < 10**9:
        return f"{value:,}"
    exponent = len(str(value)) - 1
    mantissa = value / 10**exponent
    return f"about {mantissa:.1f} × 10{str(exponent).translate(_SUPERSCRIPTS)}"


def duration(seconds: float) -> str:
    """`42 s`, `12 min`, `3.5 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def sentence(words: str) -> str:
    """`words` with a capital letter and a full stop."""
    return f"{words[:1].upper()}{words[1:]}."


def short(text: str, most: int = 36) -> str:
    """`text`, with its middle cut out where it has more than `most` characters."""
    half = most // 2
    return text if len(text) <= most else f"{text[:half]}…{text[-half:]}"
