"""The shared steps assert as tests do."""

import pytest

pytest.register_assert_rewrite("tests.journeys.town", "tests.journeys.stories")
