"""Samples are brought to a length, and no response loses a token."""

import numpy as np
import pytest

from driftmap.core.errors import DataError
from driftmap.load.fitted import fit
from driftmap.results.samples import EncodedSample


def sample(name="a", prompt=5, response=2):
    ids = np.arange(prompt + response, dtype=np.int32)
    counted = ids >= prompt
    return EncodedSample(
        sample_id=name, token_ids=ids, counted=counted, prompt_length=prompt
    )


def test_a_prompt_is_cut_from_the_left_behind_the_first_token():
    (fitted,) = fit([sample()], 5, "cut_prompt", begin_id=0).samples
    assert fitted.token_ids.tolist() == [0, 3, 4, 5, 6]
    assert fitted.counted.tolist() == [False, False, False, True, True]
    assert fitted.prompt_length == 3


def test_without_a_first_token_the_very_beginning_goes():
    (fitted,) = fit([sample()], 5, "cut_prompt", begin_id=None).samples
    assert fitted.token_ids.tolist() == [2, 3, 4, 5, 6]


def test_a_whole_prompt_may_go_and_the_response_stays():
    (fitted,) = fit([sample()], 3, "cut_prompt", begin_id=0).samples
    assert fitted.token_ids.tolist() == [0, 5, 6]
    assert fitted.prompt_length == 1


def test_a_response_that_does_not_fit_is_an_error():
    with pytest.raises(DataError, match="a: its response alone takes 3 tokens"):
        fit([sample()], 2, "cut_prompt", begin_id=0)


def test_longer_samples_are_listed_or_left_out():
    both = [sample("long", prompt=9), sample("short")]
    with pytest.raises(DataError, match=r"1 of 2 samples .*: long \(11\)"):
        fit(both, 7, "error", begin_id=None)
    fitted = fit(both, 7, "drop", begin_id=None)
    assert [one.sample_id for one in fitted.samples] == ["short"]
    assert fitted.dropped == ("long",)
    with pytest.raises(DataError, match="all 2 samples"):
        fit(both, 3, "drop", begin_id=None)


def test_what_fits_is_left_as_it_is():
    whole = sample()
    assert fit([whole], 7, "error", begin_id=0).samples == (whole,)
