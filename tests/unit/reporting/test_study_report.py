"""What a report says of a study in a sentence."""

from __future__ import annotations

import pytest

from imagematch.reporting import feature_store_text
from imagematch.tuning.attributes import BASELINE


@pytest.mark.parametrize(
    ("computed", "says"),
    [
        (60, "computed once, in 2.0 s, and used by 12 trials: computing them in every trial would have taken about 22"),
        (0, "The features were cached before the study, and used by 12 trials: no image went through the network."),
        (20, "20 of 60 images went through the network, in 2.0 s: the features of the others were cached"),
        (None, ""),
    ],
)
def test_what_the_cached_features_saved_is_stated_where_they_were_computed_for_the_study(study, computed, says):
    pixels = {**study.user_attrs[BASELINE]["pixels"], "images_through_network": computed}
    if computed is None:
        del pixels["images_through_network"]
    study.set_user_attr(BASELINE, {"pixels": pixels})
    told = feature_store_text(study)
    assert says in told
    assert ("would have taken" in told) == (computed == 60)
    assert bool(told) == (computed is not None)
