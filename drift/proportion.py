"""Wilson's score interval for a plain proportion."""

from __future__ import annotations

import math

from scipy.stats import norm

from core.records import Interval


def wilson(successes: float, count: float, level: float = 0.95) -> Interval:
    """Interval for `successes` out of `count` > 0; either may be an effective, fractional number.

    Source: Wilson, JASA 1927. Unlike the normal interval it is sound at 0 % and 100 %.
    """
    z, share = float(norm.ppf((1 + level) / 2)), successes / count
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    low, high = max(min(centre - half, share), 0.0), min(max(centre + half, share), 1.0)
    return Interval(value=share, low=low, high=high, level=level, count=int(count))
