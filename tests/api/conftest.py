"""The small city of tests/http, for the routes."""

from tests.http.conftest import any_town, town, town_template

__all__ = ["any_town", "town", "town_template"]
