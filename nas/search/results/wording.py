"""How are numbers written for people?"""

from __future__ import annotations

from nas.search.quantities import quantity_of, split_name

# What a value is divided by to be read, and the unit that it is read in then.
_READ_IN = {"params": (1e6, "M"), "macs": (1e6, "M"), "peak_activation_bytes": (1e6, "MB")}

_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def percent(value: float) -> str:
    """A percentage with one decimal: 91.26 is `91.3 %`."""
    return f"{value:.1f} %"


def amount(value: float) -> str:
    """A number with one decimal; below 1 with two digits that count: `33.0`, `0.042`."""
    return f"{value:.1f}" if value >= 0.95 else f"{value:.2g}"


def written(name: str, value: float) -> str:
    """A value of an objective or limit with its unit: `33.0 ms`, `5.48 M`, `4.82 MB`."""
    quantity = split_name(name)[0]
    if quantity in ("params", "macs"):
        return millions(value)
    if quantity == "peak_activation_bytes":
        return megabytes(value)
    if quantity == "score":
        return f"score {value:.4g}"
    return f"{amount(value)} {quantity_of(name).unit}"


def bound(name: str, value: float) -> str:
    """A limit or a budget as it was given, with its unit: `40 ms`, `5 M`."""
    if split_name(name)[0] in _READ_IN:
        return written(name, value)
    return f"{value:,.6g} {quantity_of(name).unit}"


def with_device(name: str, words: str) -> str:
    """`words` about the value called `name`, and which other device it is on: `12.1 ms on note10_lut`."""
    device = split_name(name)[1]
    return f"{words} on {device}" if device else words


def read_in(name: str) -> tuple[float, str]:
    """What values of an objective are divided by where many stand together, and the unit that they have then."""
    return _READ_IN.get(split_name(name)[0], (1.0, quantity_of(name).unit))


def share(part: float) -> str:
    """A part of 1 in whole percent; what is not quite nothing or everything does not read as such."""
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
    """A whole number, as a power of ten where it is too long to read: `about 3.1 × 10²¹`."""
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
    """With a capital and a full stop."""
    return f"{words[:1].upper()}{words[1:]}."


def short(text: str, most: int = 36) -> str:
    """`text` without its middle where it is too long for a picture."""
    half = most // 2
    return text if len(text) <= most else f"{text[:half]}…{text[-half:]}"
