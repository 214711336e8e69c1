"""LMDB with writemap and map_async: two writer processes and a reader process on one environment.

    lmdb_pair.py run DIR [--transactions N] [-- WORDS...]
    lmdb_pair.py check DIR [--transactions N]

`run` starts each process by the given words, if any, such as `mapback run --`. `check` opens the environment read-only
and looks at what `run` left. What fails is told on stderr, and the exit status is 1.

Each writing transaction has a number, and rewrites a few slots; a slot tells in which transaction it was last written,
and its content follows from that. Two writers take turns as LMDB's own mutex lets them, which lives in a shared map. A
reader knows how many transactions had been committed before it began its own, so it sees when it was given an old
state, a mixed one or a damaged one.
"""

import argparse
import os
import random
import struct
import subprocess
import sys
import time
import zlib

import lmdb

WRITERS = 2
MAP_SIZE = 32 << 20
SLOTS = 48
# After so many transactions a writer waits until the reader has finished another one.
PACE = 25
# How long one process waits for another.
PATIENCE = 60

NUMBER = struct.Struct(">QQ")


class Wrong(Exception):
    """An invariant that does not hold."""


def demand(holds, what):
    if not holds:
        raise Wrong(what)


class Counter:
    """A number that processes raise and all can read: the size of a file, which no half-done write can garble."""

    def __init__(self, directory, name):
        self.fd = os.open(os.path.join(directory, name), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def raise_by_one(self):
        os.write(self.fd, b".")

    def value(self):
        return os.fstat(self.fd).st_size


def environment(args, **options):
    path = os.path.join(args.directory, "environment")
    return lmdb.open(path, map_size=MAP_SIZE, max_dbs=2, **options)


def writable(args):
    return environment(args, writemap=True, map_async=True)


def key(slot):
    return b"slot-%04d" % slot


def content(slot, seq):
    """What `slot` holds after transaction `seq` wrote it; the longest fill several pages."""
    dice = random.Random(slot << 32 | seq)
    return NUMBER.pack(slot, seq) + dice.randbytes(dice.choice((0, 40, 700, 1_800, 6_000, 20_000)))


def digest(last_written):
    return zlib.crc32(repr(sorted(last_written.items())).encode())


def entries(txn):
    """The slots, by name, with what they hold as it is in the map."""
    for name, value in txn.cursor():
        if bytes(name) != b"state":
            yield bytes(name), value


def slots(txn):
    """Reads and checks all slots; for each the transaction that wrote it last."""
    found = {}
    for name, value in entries(txn):
        slot, seq = NUMBER.unpack_from(value)
        demand(
            name == key(slot) and bytes(value) == content(slot, seq),
            f"{name.decode()} of transaction {seq} is damaged",
        )
        found[slot] = seq
    return found


def state(txn):
    value = txn.get(b"state")
    return NUMBER.unpack(value) if value else (0, digest({}))


def look(env, at_least, seq=None):
    """One reading transaction; returns its number."""
    with env.begin(buffers=True) as txn:
        found, expected = state(txn)
        demand(found >= at_least, f"transaction {at_least} had been committed, but {found} is the last that is seen")
        demand(seq is None or found == seq, f"{found} is the last transaction that is seen, not {seq}")
        last_written = slots(txn)
        demand(digest(last_written) == expected, f"the slots are not those of transaction {found}")
        demand(state(txn) == (found, expected), f"one transaction saw {found} first and another later")
    return found


def change(env, target, committed):
    """One writing transaction, unless there have been enough."""
    with env.begin(write=True, buffers=True) as txn:
        seq, expected = state(txn)
        if seq == target:
            return seq
        demand(seq >= committed.value(), f"{committed.value()} transactions were committed; a writer sees {seq}")
        seq += 1
        dice = random.Random(-seq)
        last_written = dict(NUMBER.unpack_from(value) for _, value in entries(txn))
        demand(digest(last_written) == expected, f"a writer finds other slots than those of transaction {seq - 1}")
        for slot in dice.sample(range(SLOTS), 4):
            if dice.randrange(4) == 0 and slot in last_written:
                txn.delete(key(slot))
                del last_written[slot]
            else:
                txn.put(key(slot), content(slot, seq))
                last_written[slot] = seq
        txn.put(b"state", NUMBER.pack(seq, digest(last_written)))
    # Both writers may get here at once and in either order: the count is then short for a moment, never too high.
    committed.raise_by_one()
    return seq


def create(args):
    with writable(args) as env:
        with env.begin(write=True) as txn:
            txn.put(b"state", NUMBER.pack(*state(txn)))


def write(args):
    committed = Counter(args.directory, "committed")
    reader = Counter(args.directory, "reader")
    env = writable(args)
    done = 0
    seq = 0
    while seq < args.transactions:
        seq = change(env, args.transactions, committed)
        done += 1
        if done % 100 == 0:
            env.sync(True)
        if done % 300 == 0:
            env.close()
            env = writable(args)
        if done % PACE == 0:
            await_reader(reader, committed, args.transactions)
    # The end of a process that neither syncs nor closes.
    os._exit(0)


def await_reader(reader, committed, target):
    before = reader.value()
    deadline = time.monotonic() + PATIENCE
    # At the end the reader may have left already.
    while reader.value() == before and committed.value() < target:
        demand(time.monotonic() < deadline, "the reader finishes no transaction any more")
        time.sleep(0.001)


def read(args):
    committed = Counter(args.directory, "committed")
    done = Counter(args.directory, "reader")
    env = environment(args, readonly=True)
    seq = 0
    while seq < args.transactions:
        seq = look(env, max(seq, committed.value()))
        done.raise_by_one()
        if done.value() % 100 == 0:
            env.close()
            env = environment(args, readonly=True)
    os._exit(0)


def check(args):
    with environment(args, readonly=True, lock=False) as env:
        look(env, args.transactions, args.transactions)


def run(args):
    def start(role):
        own = [sys.executable, os.path.abspath(__file__), role, args.directory]
        return subprocess.Popen([*args.words, *own, "--transactions", str(args.transactions)])

    finish([("creator", start("create"))])
    people = [(f"writer {writer}", start("write")) for writer in range(WRITERS)]
    people.append(("reader", start("read")))
    finish(people)
    finish([("checker", start("check"))])
    reads = Counter(args.directory, "reader").value()
    print(f"{args.transactions} transactions written, {reads} read")


def finish(people):
    """Waits for all; when one fails the others are killed."""
    waiting = list(people)
    failed = []
    while waiting:
        for name, process in list(waiting):
            if process.poll() is None:
                continue
            waiting.remove((name, process))
            if process.returncode != 0 and not failed:
                failed.append(f"the {name} ended with status {process.returncode}")
                for _, other in waiting:
                    other.kill()
        time.sleep(0.002)
    demand(not failed, "; ".join(failed))


def fail(args, why):
    """Tells why in one write, since others may write at the same time."""
    who = args.role if getattr(args, "reader", None) is None else f"{args.role} {args.reader}"
    os.write(2, f"{who}: {why}\n".encode())
    os._exit(1)


def main():
    words = sys.argv[1:]
    own, started_by = (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, [])
    roles = {"run": run, "create": create, "write": write, "read": read, "check": check}
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("role", choices=roles)
    parser.add_argument("directory")
    parser.add_argument("--transactions", type=int, default=3_000)
    args = parser.parse_args(own)
    args.words = started_by
    try:
        roles[args.role](args)
    except Wrong as error:
        fail(args, str(error))
    except lmdb.Error as error:
        fail(args, f"{error} ({type(error).__name__})")


main()
