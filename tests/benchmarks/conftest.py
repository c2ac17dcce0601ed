"""Fixtures that these tests share with those of the search."""

from tests.search.conftest import workplace

__all__ = ["workplace"]
