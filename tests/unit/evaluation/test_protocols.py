from pathlib import Path

import numpy as np
import pytest

from imagematch.errors import DataError
from imagematch.evaluation import (
    ListedPair,
    distances_of_rows,
    folded_accuracy,
    lfw_path,
    one_shot,
    read_lfw_pairs,
)

OFFICIAL = """2\t2
Abel_Pacheco\t1\t4
Akhmed_Zakayev\t1\t3
Abdel_Madi_Shabneh\t1\tDean_Barker\t1
Abdel_Madi_Shabneh\t1\tGiancarlo_Fisichella\t1
Abdullah_Gul\t13\t14
Abdullah_Gul\t13\t16
Abdul_Rahman\t1\tPortia_de_Rossi\t1
Abel_Pacheco\t1\tJong_Thae_Hwa\t2
"""


def test_the_official_format(tmp_path: Path) -> None:
    path = tmp_path / "pairs.txt"
    path.write_text(OFFICIAL)
    pairs = read_lfw_pairs(path)
    assert [pair.same for pair in pairs] == [True, True, False, False] * 2
    assert [pair.fold for pair in pairs] == [0] * 4 + [1] * 4
    assert pairs[0] == ListedPair(("Abel_Pacheco", 1), ("Abel_Pacheco", 4), True, 0)
    assert pairs[7] == ListedPair(("Abel_Pacheco", 1), ("Jong_Thae_Hwa", 2), False, 1)
    assert lfw_path(pairs[0].second) == "Abel_Pacheco/Abel_Pacheco_0004.jpg"
    path.write_text("1\n" + "\n".join(OFFICIAL.splitlines()[2:4]) + "\n")
    assert [pair.fold for pair in read_lfw_pairs(path)] == [0, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("names\n", "pairs.txt:1: the first line"),
        ("1\t1\nA\t1\t2\n", "1 pairs where the first line announces 1 x 2 x 1"),
        ("1\t1\nA\t1\tx\nA\t1\tB\t2\n", "pairs.txt:2: expected name<TAB>n1<TAB>n2"),
        ("1\t1\nA\t1\t2\nA\t1\t2\n", "pairs.txt:3: expected name1"),
        ("1\t1\nA\t0\t2\nA\t1\tB\t2\n", "pairs.txt:2: expected"),
    ],
)
def test_errors_name_the_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "pairs.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_lfw_pairs(path)


def test_a_missing_list(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_lfw_pairs(tmp_path / "none.txt")


def test_folds_by_hand() -> None:
    """Three folds of four pairs; each threshold is worked out from the other two folds' eight pairs.

    Genuine and impostor: fold 0 .2 .4, .6 .8; fold 1 .3 .7, .5 .9; fold 2 .1 .2, .35 .95.
    Tested on 0 (chosen on 1 and 2): genuine .1 .2 .3 .7, impostor .35 .5 .9 .95: best accepts up to .3 (7 of 8),
      threshold .325: .2 right, .4 missed, .6 and .8 right: 3/4.
    Tested on 1 (chosen on 0 and 2): genuine .1 .2 .2 .4, impostor .35 .6 .8 .95: up to .2 gives 7 of 8, up to
      .4 also 7; the smallest is taken: threshold .275: .3 and .7 missed, .5 and .9 right: 2/4.
    Tested on 2 (chosen on 0 and 1): genuine .2 .3 .4 .7, impostor .5 .6 .8 .9: up to .4 gives 7 of 8: threshold .45:
      .1 and .2 right, .35 accepted, .95 right: 3/4.
    Mean 2/3; deviations 1/12, -1/6, 1/12: variance (1 + 4 + 1) / 144 / 2 = 1/48; standard error sqrt(1/48/3) = 1/12.
    AUC: of the 36 couples .4 loses to .35, and .7 to .35, .5 and .6: 32/36.
    """
    distances = np.array([0.2, 0.4, 0.6, 0.8, 0.3, 0.7, 0.5, 0.9, 0.1, 0.2, 0.35, 0.95])
    found = folded_accuracy(distances, np.tile([True, True, False, False], 3), np.repeat([0, 1, 2], 4))
    assert found.accuracies == (0.75, 0.5, 0.75)
    assert found.thresholds == pytest.approx((0.325, 0.275, 0.45))
    assert found.mean == pytest.approx(2 / 3)
    assert found.standard_error == pytest.approx(1 / 12)
    assert found.roc_auc == pytest.approx(32 / 36)


def test_one_fold_is_refused() -> None:
    with pytest.raises(DataError, match="two folds"):
        folded_accuracy(np.array([0.1, 0.5]), np.array([True, False]), np.zeros(2))


def test_distances_of_rows(random_sample) -> None:
    rows, _ = random_sample()
    found = distances_of_rows(rows, np.array([0, 5, 9]), np.array([1, 5, 3]))
    expected = [np.linalg.norm(rows[i] - rows[j]) for i, j in ((0, 1), (5, 5), (9, 3))]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found[1] == 0
    assert len(distances_of_rows(rows, np.array([], dtype=int), np.array([], dtype=int))) == 0


def test_one_shot_of_perfect_and_of_useless_embeddings() -> None:
    labels = np.repeat(np.arange(6), 3)
    perfect = one_shot(np.eye(6)[labels], labels, ways=5, runs=7)
    assert (perfect.error_rate, perfect.standard_error, perfect.trials) == (0, 0, 35)
    assert one_shot(np.tile([1.0, 0], (18, 1)), labels, ways=5, runs=3).error_rate == 1
    rows = np.random.default_rng(0).standard_normal((18, 4))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    blind = one_shot(rows, np.random.default_rng(1).permutation(labels), ways=5, runs=400)
    assert 0.6 < blind.error_rate < 0.95
    assert one_shot(rows, labels, ways=5) == one_shot(rows, labels, ways=5)
    assert one_shot(rows, labels, ways=5) != one_shot(rows, labels, ways=5, seed=3)
    assert one_shot(rows, labels, ways=5, runs=1).standard_error is None


def test_one_shot_error_is_the_share_of_wrong_queries() -> None:
    """Two classes whose images swap places: class 0 at 0 and 90 degrees, class 1 at 85 and 5."""
    angles = np.radians([0, 90, 85, 5])
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    found = one_shot(rows, np.array([0, 0, 1, 1]), ways=2, runs=50)
    assert found.error_rate in (0.5, 1) or 0 < found.error_rate <= 1
    rng = np.random.default_rng(0)
    wrong = []
    for _ in range(50):
        rng.integers(1)
        drawn = [rng.choice([[0, 1], [2, 3]][c], 2, replace=False) for c in rng.choice(2, 2, replace=False)]
        for place, (_, query) in enumerate(drawn):
            apart = [np.linalg.norm(rows[query] - rows[support]) for support, _ in drawn]
            wrong.append(apart[1 - place] <= apart[place])
    assert found.error_rate == pytest.approx(np.mean(wrong))


def test_groups_keep_a_run_within_an_alphabet() -> None:
    """Classes of a group are orthogonal, classes of two groups coincide: only mixed runs could err."""
    labels = np.repeat(np.arange(8), 2)
    groups, rows = labels // 4, np.eye(4)[labels % 4]
    assert one_shot(rows, labels, ways=4, groups=groups).error_rate == 0
    assert one_shot(rows, labels, ways=4).error_rate > 0


def test_one_shot_bad_input() -> None:
    with pytest.raises(DataError, match="20-way trials need 20 classes"):
        one_shot(np.eye(4), np.zeros(4))
    with pytest.raises(ValueError, match="2 ways"):
        one_shot(np.eye(4), np.zeros(4), ways=1)
    with pytest.raises(ValueError, match="labels and groups"):
        one_shot(np.eye(4), np.zeros(3))
