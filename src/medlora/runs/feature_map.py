"""Where images lie among one another to a backbone's eye: its features in two dimensions."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import numpy as np
import numpy.typing as npt

from medlora.backbones.weights import Backbone
from medlora.data.cache import ImageCache, NoCache
from medlora.data.table import ImageTable
from medlora.errors import DataError, SettingsError
from medlora.evaluate.features import FeatureReader
from medlora.evaluate.predict import extract_rows
from medlora.preprocessing import Preprocessing
from medlora.progress import Progress, silent
from medlora.runs.feature_cache import open_feature_cache
from medlora.runs.opened import choose_device
from medlora.runs.preparing import PreparedData
from medlora.runs.preview import describe_classes
from medlora.task.model import TaskModel
from medlora.task.precision import DTYPES, Precision, choose_precision

MapMethod = Literal["pca", "umap"]

# UMAP finds its neighbours among so many components, where noise has less to say.
_N_COMPONENTS = 50
_N_NEIGHBOURS = 15
_MIN_IMAGES = 4
_MAX_GROUPS = 12
_OTHERS = "other"
# Images whose features are computed between two reports of progress; whole batches of the cache.
_PART = 256


@dataclass(frozen=True)
class FeatureMap:
    """Images in two dimensions.

    Attributes:
        points: (image, 2).
        axes: What the two axes are.
        groups: (image,) name of each image's class, or classes; the rarest together.
        splits: (image,) each image's split, "" where there is none.
    """

    points: npt.NDArray[np.float64]
    axes: tuple[str, str]
    groups: tuple[str, ...]
    splits: tuple[str, ...]


def iterate_features(
    backbone: Backbone,
    data: PreparedData,
    preprocessing: Preprocessing,
    *,
    cache: ImageCache | NoCache,
    feature_cache_gb: float = 20.0,
    device: str = "auto",
    precision: Precision = "auto",
    batch_size: int = 32,
    progress: Progress = silent,
) -> Iterator[npt.NDArray[np.float64]]:
    """The backbone's features of every image, kept for the next time.

    They come a part at a time, so that memory does not grow with the number of images.

    Args:
        backbone: The pretrained network.
        data: The images.
        preprocessing: How they were prepared, and are normalised.
        cache: Where decoded images are kept; features are kept beside them.
        feature_cache_gb: Bound on those, in GB.
        device: Where to compute.
        precision: `auto`, `bf16` or `fp32`.
        batch_size: Images at a time.
        progress: Told after every part.

    Yields:
        (image, feature) of some of the images, in their order.
    """
    place = choose_device(device)
    dtype = DTYPES[choose_precision(precision, place)]
    model = TaskModel(backbone, 1, method="linear", dtype=dtype).to(place)
    features = None
    if model.cut is not None and not isinstance(cache, NoCache):
        features = FeatureReader(
            model,
            data.images,
            data.names,
            backbone=(backbone.name, backbone.fingerprint),
            preprocessing=preprocessing,
            cache=open_feature_cache(cache, feature_cache_gb),
        )
    n_images = data.table.n_images
    for start in range(0, n_images, _PART):
        rows = range(start, min(start + _PART, n_images))
        yield extract_rows(
            model, data.images, rows, preprocessing, batch_size=batch_size, features=features
        )
        progress("features", rows.stop, n_images)


def check_method(method: str) -> MapMethod:
    """The method of that name.

    Raises:
        SettingsError: There is none, or its package is not installed.
    """
    if method not in get_args(MapMethod):
        raise SettingsError(f"--method must be pca or umap, not {method!r}.")
    if method == "umap":
        _open_umap(_MIN_IMAGES, 0)
    return cast(MapMethod, method)


def map_features(
    features: npt.NDArray[np.float64], table: ImageTable, method: MapMethod, *, seed: int = 0
) -> FeatureMap:
    """Bring features into two dimensions: standardised, then by PCA or UMAP.

    All images take part, whatever their split, since nothing is learnt about their classes.

    Args:
        features: (image, feature).
        table: The images' classes and splits.
        method: `pca`, or `umap` of the first 50 components.
        seed: Seed of UMAP, and of a randomised PCA.

    Raises:
        SettingsError: UMAP is asked for and not installed.
        DataError: There are fewer than 4 images.

    Reference:
        McInnes, Healy and Melville, UMAP, arXiv 1802.03426, as umap-learn implements it.
    """
    if len(features) < _MIN_IMAGES:
        raise DataError(f"A map needs at least {_MIN_IMAGES} images, not {len(features)}.")
    # Imported here because it takes long.
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    n_components = min(2 if method == "pca" else _N_COMPONENTS, *features.shape)
    decomposition = PCA(n_components, random_state=seed)
    points = decomposition.fit_transform(StandardScaler().fit_transform(features))
    axes = ("UMAP 1", "UMAP 2")
    if method == "umap":
        points = _open_umap(len(features), seed).fit_transform(points)
    else:
        first, second = (
            f"{share:.0%} of the variance" for share in decomposition.explained_variance_ratio_
        )
        axes = (f"component 1, {first}", f"component 2, {second}")
    return FeatureMap(
        np.asarray(points, dtype=np.float64),
        axes,
        _name_groups(table),
        tuple(split or "" for split in table.splits),
    )


def _name_groups(table: ImageTable) -> tuple[str, ...]:
    names = [describe_classes(table, row) for row in range(table.n_images)]
    counts = Counter(names)
    if len(counts) <= _MAX_GROUPS:
        return tuple(names)
    common = {name for name, _ in counts.most_common(_MAX_GROUPS - 1)}
    return tuple(name if name in common else _OTHERS for name in names)


def _open_umap(n_images: int, seed: int) -> Any:
    try:
        from umap import UMAP
    except ImportError as error:
        raise SettingsError(
            "--method umap needs umap-learn, which is not installed. Install it with: "
            "pip install 'medlora[umap]', or use --method pca."
        ) from error
    # With a seed UMAP uses one thread, and warns where that was not asked for.
    n_neighbors = min(_N_NEIGHBOURS, n_images - 1)
    return UMAP(n_neighbors=n_neighbors, random_state=seed, n_jobs=1)
