"""What `medlora tune` shows of a search that has more trials than were asked for last."""

import pytest

from medlora.cli.tune import print_trials
from medlora.tune.results import StudyResult, TrialRow


@pytest.mark.parametrize(
    ("n_done", "n_planned", "title"),
    [(1, 3, "1 of 3 trials"), (3, 3, "3 of 3 trials"), (3, 1, "3 of 3 trials")],
)
def test_no_more_trials_are_done_than_there_are(
    n_done: int, n_planned: int, title: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        TrialRow(n, "complete", 0.5, (0.5,), (1,), 1.0, {"rank": n}, None) for n in range(n_done)
    ]
    print_trials(StudyResult("auroc", tuple(rows), n_planned, {}))
    shown = " ".join(capsys.readouterr().out.split())
    assert f"{title} ({n_done} complete), best first" in shown
