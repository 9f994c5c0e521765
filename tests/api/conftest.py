"""The small city of tests/http, for the routes; and the stocked one, for requests and servers."""

from tests.http.conftest import any_town, town, town_template
from tests.stocked import any_world, small_world, world_templates

__all__ = ["any_town", "any_world", "small_world", "town", "town_template", "world_templates"]
