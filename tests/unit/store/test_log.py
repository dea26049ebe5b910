import logging
import re
from pathlib import Path

import pytest

from driftmap.core.errors import StoreError
from driftmap.store.log import logging_to


def test_lines_are_dated_and_appended(tmp_path):
    path = tmp_path / "log.txt"
    for word in ("one", "two"):
        with logging_to(path) as logger:
            logger.info("said %s", word)
            logging.getLogger("driftmap.inner").warning("heard %s", word)
    logging.getLogger("driftmap").warning("not heard")
    lines = path.read_text().splitlines()
    assert [re.sub(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ", "", x) for x in lines] == [
        "INFO said one", "WARNING heard one", "INFO said two", "WARNING heard two",
    ]  # fmt: skip


def test_the_logger_is_left_as_found(tmp_path):
    logger = logging.getLogger("driftmap")
    before = (logger.level, list(logger.handlers))
    with pytest.raises(KeyError), logging_to(tmp_path / "log.txt"):
        raise KeyError
    assert (logger.level, list(logger.handlers)) == before


def test_a_full_disk_stops_with_a_sentence():
    full = pytest.raises(StoreError, match="it could not be written, the disk")
    with logging_to(Path("/dev/full")) as logger, full:
        logger.info("x")
