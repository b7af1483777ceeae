from __future__ import annotations

from importlib import metadata

from host import packages


def test_only_what_is_installed_is_listed_in_the_order_asked() -> None:
    found = packages.versions(["torch", "no-such-distribution", "numpy"])
    assert list(found.items()) == [(name, metadata.version(name)) for name in ("torch", "numpy")]
