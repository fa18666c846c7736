"""What makes two searches the same one: their trials may then stand in one table."""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import optuna

from medlora.backbones.weights import Backbone
from medlora.data.split import group_rows
from medlora.errors import OtherSearchError
from medlora.runs.preparing import PreparedData
from medlora.task.precision import Chosen


def describe_images(pool: PreparedData) -> dict[str, str]:
    """Digests of what trials are scored on, each of one thing that may differ.

    Args:
        pool: The images outside of the test split. Of their patients only who is in one group with
            whom goes into a digest.
    """
    table = pool.table
    groups = group_rows(table.patients, pool.sha256)
    parts = {
        "images": pool.names,
        "labels": [table.classes, table.multi_label, table.targets.astype(int).tolist()],
        "groups": groups.tolist(),
        "splits": table.splits,
    }
    return {name: sha256(json.dumps(part).encode()).hexdigest() for name, part in parts.items()}


def keep_precision(study: optuna.Study, chosen: Chosen) -> Chosen:
    """The precision of all trials that leave it open: what the first process has chosen.

    Args:
        study: The study.
        chosen: What this process would compute in.
    """
    kept: Chosen = _keep(study, "precision", chosen)
    return kept


def check_backbone(study: optuna.Study, backbone: Backbone) -> None:
    """See that trials are scored on one network's same weights.

    Raises:
        OtherSearchError: The study's trials on this network had other weights.
    """
    kept = _keep(study, f"backbone {backbone.name}", backbone.fingerprint)
    if kept != backbone.fingerprint:
        raise OtherSearchError(
            f"The search {study.study_name!r} was begun on {backbone.name}@{kept[:6]}; the weights "
            f"now found are @{backbone.fingerprint[:6]}. Put the first ones back, or search anew "
            "with another --output, and another --study where a --storage is shared."
        )


def check_search(study: optuna.Study, own: Mapping[str, Any]) -> None:
    """See that a study is the same search, or note what is searched where it is new.

    Args:
        study: The study.
        own: What all its processes must have in common, as plain JSON values.

    Raises:
        OtherSearchError: It is another one; what differs is named.
    """
    kept = _keep(study, "plan", own)
    changed = [name for name in own if name not in kept or kept[name] != own[name]]
    if changed:
        raise OtherSearchError(
            f"The database holds another search under the name {study.study_name!r}: its "
            f"{', '.join(changed)} differ. Put back what it was begun with, or give this one "
            "another name with --study, and another folder with --output."
        )


def _keep(study: optuna.Study, name: str, own: Any) -> Any:
    """What the first process has written under a name; its own for the first one."""
    if name not in study.user_attrs:
        study.set_user_attr(name, own)
    return study.user_attrs[name]
