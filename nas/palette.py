"""The colours and shapes that tell things apart in every picture.

Colours of Okabe and Ito (2008), which people with any of the common colour blindnesses can tell apart; each thing also
has a shape or line of its own, so that the pictures can be read without colour.
"""

from __future__ import annotations

DOMINATED = "#8a8f98"
FRONT = "#0072b2"
KNEE = "#e69f00"
REFERENCE = "#d55e00"
BUDGET = "#009e73"
