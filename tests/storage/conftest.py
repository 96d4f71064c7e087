"""Assertions of the suite that all stores share tell what they compared."""

import pytest

pytest.register_assert_rewrite("tests.storage.conformance")
