"""Whether a run keeps the answers of its model's frozen part, and in which folder."""

from typing import Final

from medlora.data.cache import ImageCache, NoCache
from medlora.data.views import ImageViews
from medlora.evaluate.features import find_layout, measure_share
from medlora.preprocessing import Preprocessing
from medlora.runs.folder import RunPlan
from medlora.runs.preparing import PreparedData
from medlora.task.model import TaskModel
from medlora.train.caching import CachingCase, CachingDecision, decide_caching

# Inside the folder of decoded images, where its own entries are never looked for.
FOLDER: Final = "features"


def open_feature_cache(cache: ImageCache | NoCache, size_gb: float) -> ImageCache | NoCache:
    """The cache of features that belongs to a cache of decoded images.

    Args:
        cache: The cache of decoded images.
        size_gb: Bound on the features, in GB.
    """
    if isinstance(cache, NoCache):
        return cache
    return ImageCache(cache.folder / FOLDER, int(size_gb * 1e9))


def plan_caching(
    plan: RunPlan,
    model: TaskModel,
    data: PreparedData,
    views: ImageViews | None,
    preprocessing: Preprocessing,
    cache: ImageCache | NoCache,
) -> CachingDecision:
    """Decide whether a run keeps features.

    Args:
        plan: What the run was asked to do.
        model: Its model.
        data: Its images, every one with a split.
        views: The views of its training images.
        preprocessing: What its images go through.
        cache: Where its decoded images are kept.

    Raises:
        SettingsError: It is asked for, and not possible.
    """
    if plan.cache_features == "off":
        return CachingDecision(False, "not cached, as asked")
    settings = plan.settings
    n_views = views.n_views if views else (1 if settings.augmentation.is_off else None)
    n_images = {split: len(data.table.rows_in(split)) for split in ("train", "val", "test")}
    # Measuring computes the network; where it cannot be cut there is nothing to measure.
    can_be = model.cut is not None and n_views is not None
    case = CachingCase(
        place=model.cut.place if model.cut else None,
        share=measure_share(model, preprocessing) if can_be else 0.0,
        image_bytes=find_layout(model, preprocessing).n_bytes if can_be else 0,
        n_train=n_images["train"],
        n_val=n_images["val"],
        n_others=n_images["val"] + n_images["test"],
        epochs=settings.epochs,
        n_views=n_views,
    )
    max_bytes = 0 if isinstance(cache, NoCache) else int(plan.feature_cache_gb * 1e9)
    return decide_caching(plan.cache_features, case, max_bytes=max_bytes)
