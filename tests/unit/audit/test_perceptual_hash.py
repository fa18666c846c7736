import numpy as np

from audit_samples import draw_picture, shrink
from medlora.audit.orientation import N_ORIENTATIONS, orient
from medlora.audit.perceptual_hash import hash_pictures


def distance(one, other) -> int:
    return int(np.bitwise_count(np.bitwise_xor(one, other)))


def test_a_turned_picture_has_the_hash_of_that_orientation() -> None:
    picture = shrink(draw_picture(1))
    hashes = hash_pictures(picture[np.newaxis])[0]
    for orientation in range(N_ORIENTATIONS):
        turned = np.ascontiguousarray(orient(picture, orientation))
        # Ties at the median are broken alike but for rounding.
        assert distance(hash_pictures(turned[np.newaxis])[0, 0], hashes[orientation]) <= 2
    assert len(set(hashes.tolist())) == N_ORIENTATIONS


def test_other_pictures_have_other_hashes_and_darker_ones_the_same() -> None:
    pictures = np.stack([shrink(draw_picture(seed)) for seed in range(6)])
    hashes = hash_pictures(pictures)[:, 0]
    apart = [distance(hashes[i], hashes[j]) for i in range(6) for j in range(i)]
    assert min(apart) > 12
    darker = hash_pictures(0.5 * pictures + 20)[:, 0]
    assert max(map(distance, hashes, darker)) == 0
