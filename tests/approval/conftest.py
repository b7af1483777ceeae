from __future__ import annotations

from tests.rollout.conftest import quick_disk

__all__ = ["quick_disk"]
