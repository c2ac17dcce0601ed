"""How do widths follow a multiplier?"""

from __future__ import annotations


def make_divisible(channels: float, divisor: int = 8) -> int:
    """`channels` rounded to a multiple of `divisor`, never below it and never down by more than a tenth.

    The rule of the MobileNets' reference code, which MobileNetV2 and V3 need for their published parameter counts.
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded
