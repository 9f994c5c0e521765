"""Fixtures of the store's tests."""

from tests.stocked import _shared_worlds, any_world, desk, small_world, world_templates

__all__ = ["_shared_worlds", "any_world", "desk", "small_world", "world_templates"]
