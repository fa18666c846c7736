"""The record of a measurement tells where and with what it was made."""

import json

from medlora.experiments.record import describe_experiment


def test_a_record_can_be_judged() -> None:
    record = describe_experiment("sizes", {"rows": []}, seed=3, command="medlora bench sizes")
    assert json.loads(json.dumps(record)) == record
    assert (record["kind"], record["seed"], record["result"]) == ("sizes", 3, {"rows": []})
    assert record["command"] == "medlora bench sizes"
    assert record["date"].endswith("+00:00")
    assert record["machine"]["cores"] >= 1
    assert record["versions"]["torch"]
