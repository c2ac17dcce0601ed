"""CIFAR-10 is downloaded once, checked every time, and divided by class."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from nas.accuracy.data import cifar10
from nas.accuracy.data.cifar10 import OFFICIAL, Archive
from nas.accuracy.data.load import load_dataset, load_test_split
from nas.errors import NasError, RunFailedError
from tests.accuracy.helpers import archive_of, cifar_bytes

NAME = "cifar-10-binary.tar.gz"


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves a folder and says nothing."""

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Archive]:
    """A small archive on a local server."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / NAME).write_bytes(cifar_bytes())
    handler = functools.partial(QuietHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield archive_of(cifar_bytes(), f"http://127.0.0.1:{server.server_port}/{NAME}")
        server.shutdown()
        thread.join()


def test_downloaded_and_divided(served: Archive, tmp_path: Path) -> None:
    """A tenth of each class's training images gives scores; the test batch is in neither split."""
    dataset = load_dataset("cifar10", image_size=32, cache=tmp_path / "cache", archive=served)
    train, val = ({*split.images[:, 0, 0, 0].tolist()} for split in (dataset.train, dataset.val))
    assert (len(train), len(val)) == (90, 10)
    assert train | val == set(range(100))
    assert sorted(dataset.val.labels.tolist()) == list(range(10))
    assert dataset.classes == tuple(sorted(dataset.classes))
    assert all(int(i[0, 0, 0]) % 10 == int(c) for i, c in zip(dataset.train.images, dataset.train.labels, strict=True))
    test = load_test_split("cifar10", image_size=32, cache=tmp_path / "cache", archive=served)
    assert {*test.images[:, 0, 0, 0].tolist()} == set(range(100, 120))


def test_cached_archive_needs_no_network(served: Archive, tmp_path: Path) -> None:
    """The second time, the file is there."""
    first = load_dataset("cifar10", image_size=32, cache=tmp_path / "cache", archive=served)
    unreachable = replace(served, url=f"http://127.0.0.1:9/{NAME}")
    second = load_dataset("cifar10", image_size=32, cache=tmp_path / "cache", archive=unreachable)
    assert torch.equal(first.train.images, second.train.images)


def test_fetched_by_many_at_once(served: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by the processes of one training: each gets the archive, and it is the only file that stays."""
    retrieve, all_have_it = cifar10.pooch.retrieve, threading.Barrier(2)

    def retrieve_together(*arguments: object, **options: object) -> str:
        fetched: str = retrieve(*arguments, **options)
        all_have_it.wait(30)
        return fetched

    monkeypatch.setattr(cifar10.pooch, "retrieve", retrieve_together)
    cache = tmp_path / "cache"
    with ThreadPoolExecutor(2) as pool:
        places = list(pool.map(lambda _: cifar10.fetch_archive(cache, progress=False, archive=served), range(2)))
    assert places == [cache / NAME] * 2
    assert [*cache.iterdir()] == [cache / NAME]
    assert (cache / NAME).read_bytes() == cifar_bytes()


def test_tampered_download_is_not_kept(served: Archive, tmp_path: Path) -> None:
    """Another hash is a failed download: both are said, and nothing stays in the cache."""
    changed = replace(served, md5="0" * 32)
    with pytest.raises(RunFailedError, match=f"must have the MD5 {'0' * 32}, but has {served.md5}; it was removed"):
        load_dataset("cifar10", image_size=32, cache=tmp_path / "cache", archive=changed)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_tampered_file_in_the_cache_is_refused(served: Archive, tmp_path: Path) -> None:
    """What lies in the cache is checked again every time, and removed by its owner alone."""
    load_dataset("cifar10", image_size=32, cache=tmp_path / "cache", archive=served)
    cached = tmp_path / "cache" / NAME
    data = bytearray(cached.read_bytes())
    data[100] ^= 1
    cached.write_bytes(data)
    with pytest.raises(NasError, match=rf"must have the MD5 {served.md5}, but has .*Give the archive of"):
        load_dataset("cifar10", image_size=32, cache=tmp_path / "cache", archive=served)
    assert cached.read_bytes() == data


@pytest.mark.parametrize("url", [f"http://127.0.0.1:9/{NAME}", f"http://host.invalid/{NAME}"])
def test_no_network_says_what_to_do(tmp_path: Path, url: str) -> None:
    """The message names the file to fetch by hand and where to put it."""
    archive = archive_of(b"", url)
    with pytest.raises(NasError, match=r"by hand and put it at .*cache.*cifar10:PATH"):
        load_dataset("cifar10", image_size=32, cache=tmp_path / "cache", archive=archive)


def test_missing_on_the_server(served: Archive, tmp_path: Path) -> None:
    """A page that says 404 is not taken for the archive."""
    lost = replace(served, url=served.url.replace(NAME, "lost.tar.gz"))
    with pytest.raises(NasError, match=r"cannot download CIFAR-10 .*404"):
        load_dataset("cifar10", image_size=32, cache=tmp_path / "cache", archive=lost)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_archive_at_a_path(tmp_path: Path) -> None:
    """An archive that is already there is read where it is."""
    path = tmp_path / "mine.tar.gz"
    path.write_bytes(cifar_bytes())
    dataset = load_dataset(f"cifar10:{path}", image_size=32, max_images=20, archive=archive_of(cifar_bytes()))
    assert sorted(dataset.train.labels.tolist()) == sorted([*range(10)] * 2)


def test_path_with_another_hash_or_no_file(tmp_path: Path) -> None:
    """The official hash is asked for; a path that is not there is said so."""
    path = tmp_path / "mine.tar.gz"
    path.write_bytes(cifar_bytes())
    with pytest.raises(NasError, match=rf"mine\.tar\.gz must have the MD5 {OFFICIAL.md5}, but has"):
        load_dataset(f"cifar10:{path}", image_size=32)
    with pytest.raises(NasError, match=r"there is no file .*other\.tar\.gz"):
        load_dataset(f"cifar10:{tmp_path / 'other.tar.gz'}", image_size=32)


@pytest.mark.parametrize("data", [b"", b"not an archive", cifar_bytes()[:500]])
def test_archive_that_cannot_be_read(tmp_path: Path, data: bytes) -> None:
    """Even with the right hash, what is no archive is an error of one line."""
    path = tmp_path / "mine.tar.gz"
    path.write_bytes(data)
    with pytest.raises(NasError, match="must be a CIFAR-10 archive"):
        load_dataset(f"cifar10:{path}", image_size=32, archive=archive_of(data))
