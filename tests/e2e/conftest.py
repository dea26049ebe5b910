"""What whole runs are spared in tests: most pictures of their reports.

A module that looks at the pictures says `ALL_PICTURES = True`.
"""

import pytest

from study_process import few_pictures


@pytest.fixture(scope="module", autouse=True)
def _few_pictures(request):
    if getattr(request.module, "ALL_PICTURES", False):
        yield
        return
    with few_pictures():
        yield
