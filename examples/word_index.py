#!/usr/bin/env python3
"""Counts words into an on-disk hash table through a shared file map, then proves that the file holds the counts.

    cargo run --release -- run --stats -- python3 examples/word_index.py

Without --dir the table is put on a file system that refuses shared maps, which the example mounts itself (FUSE with
direct_io, by mapback's own testkit or by bindfs). Where that cannot be done, it asks mapback to serve every map.
"""

import argparse
import collections
import mmap
import os
import re
import struct
import sys
import sysconfig
import tempfile
import zlib
from pathlib import Path

sys.dont_write_bytecode = True
from refusing_mount import CannotMount, RefusingMount

WORD = re.compile(rb"[a-z]{2,24}")
MAGIC = b"WORDIDX1"
HEADER = struct.Struct("<8sQQQ")  # magic, slots, slots in use, words
SLOT = struct.Struct("<24sQ")  # word, count


class Table:
    """A hash table with open addressing, all of it in one mapped file."""

    def __init__(self, path, slots=4096):
        self.file = open(path, "r+b" if path.exists() else "w+b")
        if os.fstat(self.file.fileno()).st_size == 0:
            self.file.truncate(HEADER.size + slots * SLOT.size)
            self.map = mmap.mmap(self.file.fileno(), 0, access=mmap.ACCESS_WRITE)
            self.slots, self.used, self.words = slots, 0, 0
        else:
            self.map = mmap.mmap(self.file.fileno(), 0, access=mmap.ACCESS_WRITE)
            magic, self.slots, self.used, self.words = HEADER.unpack_from(self.map)
            assert magic == MAGIC, f"{path} is no word index"

    def add(self, word, count):
        if self.used * 3 > self.slots * 2:
            self.grow()
        self.words += count
        index = zlib.crc32(word)
        while True:
            at = HEADER.size + index % self.slots * SLOT.size
            key, before = SLOT.unpack_from(self.map, at)
            key = key.rstrip(b"\0")
            if not key or key == word:
                self.used += not key
                SLOT.pack_into(self.map, at, word, before + count)
                return
            index += 1

    def grow(self):
        """Doubles the file and the map over it, and deals the words out anew."""
        entries = list(SLOT.iter_unpack(self.map[HEADER.size :]))
        self.slots, self.used, self.words = self.slots * 2, 0, 0
        self.map.resize(HEADER.size + self.slots * SLOT.size)
        self.map[HEADER.size :] = bytes(self.slots * SLOT.size)
        for key, count in entries:
            if count:
                self.add(key.rstrip(b"\0"), count)

    def close(self):
        HEADER.pack_into(self.map, 0, MAGIC, self.slots, self.used, self.words)
        self.map.flush()
        self.map.close()
        self.file.close()


def index(table_path, sources, truth):
    """Adds the words of the sources to the table, and to `truth`, which stays in memory."""
    table = Table(table_path)
    for source in sources:
        counts = collections.Counter(WORD.findall(source.read_bytes().lower()))
        truth.update(counts)
        for word, count in counts.items():
            table.add(word, count)
    table.close()


def verify(table_path, truth):
    """Reads the file with read(), no map in sight, and compares it with what was counted."""
    data = table_path.read_bytes()
    magic, slots, used, words = HEADER.unpack_from(data)
    found = {key.rstrip(b"\0"): count for key, count in SLOT.iter_unpack(data[HEADER.size :]) if count}
    assert magic == MAGIC and len(data) == HEADER.size + slots * SLOT.size, "the file's size or header is wrong"
    assert (used, words) == (len(truth), sum(truth.values())), "the file's header tells other sums"
    assert found == truth, "the file holds other counts than those that were made"
    print(f"  read back: {len(data):,} bytes, {used:,} distinct words, {words:,} in all: exactly what was counted")


def files_of(source):
    """A file, or a folder's Python sources without installed packages and tests."""
    if not source.is_dir():
        return [source]
    skipped = {"site-packages", "dist-packages", "test", "tests"}
    return [f for f in sorted(source.rglob("*.py")) if f.is_file() and not skipped.intersection(f.parts)]


def run(folder, sources):
    table_path = folder / "words.idx"
    table_path.unlink(missing_ok=True)
    truth = collections.Counter()
    print(f"building {table_path} from {len(sources):,} files")
    index(table_path, sources, truth)
    verify(table_path, truth)
    print("updating it with one more file: few of its pages change")
    index(table_path, [Path(__file__)], truth)
    verify(table_path, truth)
    top = ", ".join(f"{word.decode()} {count:,}" for word, count in truth.most_common(5))
    print(f"most frequent: {top}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, help="put the table here and mount nothing")
    parser.add_argument("sources", nargs="*", type=Path, help="text files or folders [Python's own sources]")
    options = parser.parse_args()
    sources = options.sources or [Path(sysconfig.get_path("stdlib"))]
    files = [file for source in sources for file in files_of(source)]

    if options.dir:
        return run(options.dir, files)
    try:
        with RefusingMount() as folder:
            folder.show_native_error()
            run(folder.path, files)
    except CannotMount as why:
        if "libmapback_preload" in os.environ.get("LD_PRELOAD", "") and os.environ.get("MAPBACK_MAPS") != "all":
            print(f"cannot mount a file system that refuses shared maps: {why}\nso mapback shall serve all maps")
            sys.stdout.flush()
            os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "MAPBACK_MAPS": "all"})
        # Not in /tmp, which may be in memory: such files are left to the kernel.
        with tempfile.TemporaryDirectory(dir=".") as folder:
            run(Path(folder), files)


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        sys.exit(f"word_index.py: {error}\n(does the file system refuse shared maps? run this under `mapback run`)")
