"""The file of an export under damage: it is read as it was written, or it is refused."""

import gzip
import io
import random
from dataclasses import replace

import pytest
from tests.bundles import bundle, identity, rank_file

from cache_store.bundle import digest_of
from cache_store.export_file import BadExport, header_of, parse_header
from cache_store.parcel import Parcel
from cache_store.read_export import read_parcels
from cache_store.write_export import write_export


def parcels():
    plain = [bundle(who=identity(key=digit * 16)) for digit in "f2"]
    body = rank_file()
    beside = replace(bundle(), files={}, blobs={digest_of(body): len(body)})
    made = [Parcel(one.identity.address, one, one.encode(), {}) for one in plain]
    made.append(Parcel(beside.identity.address, beside, beside.encode(), {digest_of(body): body}))
    return sorted(made, key=lambda one: one.address.bundle_key)


def written(*, is_packed):
    target = io.BytesIO()
    write_export(parcels(), target, folder=None, is_packed=is_packed)
    return target.getvalue()


def read(body):
    return [(one.address, one.body, dict(one.blobs)) for one in read_parcels(io.BytesIO(body))]


WANTED = [(one.address, one.body, dict(one.blobs)) for one in parcels()]


@pytest.mark.parametrize("is_packed", [False, True])
def test_it_is_read_as_it_was_written(is_packed):
    assert read(written(is_packed=is_packed)) == WANTED


def test_a_compressed_one_is_the_plain_one():
    assert gzip.decompress(written(is_packed=True)) == written(is_packed=False)


def damaged(body, rng):
    body = bytearray(body)
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        at = rng.randrange(len(body))
        how = rng.randrange(4)
        if how == 0:
            body[at] = rng.randrange(256)
        elif how == 1:
            body[at] ^= 1 << rng.randrange(8)
        elif how == 2:
            del body[at : min(at + rng.choice([1, 512, 1024]), len(body) - 1)]
        else:
            start = rng.randrange(len(body))
            body[at:at] = body[start : start + rng.choice([1, 16, 512])]
    return bytes(body)


@pytest.mark.parametrize("is_packed", [False, True])
def test_given_any_damage_when_read_then_it_is_refused_or_harmless(is_packed):
    rng = random.Random(7)
    whole = written(is_packed=is_packed)
    reasons = []
    for _ in range(1500):
        try:
            assert read(damaged(whole, rng)) == WANTED
        except BadExport as problem:
            reasons.append(problem.reason)
    assert all(reason.startswith("export-") for reason in reasons)
    assert 1000 < len(reasons) < 1500


def test_given_a_small_file_that_unpacks_without_end_when_read_then_it_is_given_up_early():
    class Counted(io.BytesIO):
        total = 0

        def read(self, size=-1):
            found = super().read(size)
            self.total += len(found)
            return found

    bomb = gzip.compress(gzip.decompress(written(is_packed=True)) + bytes(64 << 20), 9)
    file = Counted(bomb)

    with pytest.raises(BadExport):
        list(read_parcels(file))
    assert file.total < len(bomb)


@pytest.mark.parametrize("name", ["a", "x" * 100, "p" * 155 + "/" + "x" * 100])
def test_a_header_is_read_as_it_was_written(name):
    found = parse_header(header_of(name, 12345))

    assert (found.name, found.size_bytes) == (name, 12345)
