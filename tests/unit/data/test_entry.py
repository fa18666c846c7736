import numpy as np

from medlora.data.entry import pack_entry, unpack_entry

SMALL = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


def test_every_damage_is_found() -> None:
    content = pack_entry(SMALL)
    assert unpack_entry(bytearray(content)) is not None
    for length in range(len(content)):
        assert unpack_entry(bytearray(content[:length])) is None
    assert unpack_entry(bytearray(content + b"\0")) is None
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1
        assert unpack_entry(damaged) is None
