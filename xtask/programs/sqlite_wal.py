"""SQLite in WAL mode: one writer and two reader processes on one database.

    sqlite_wal.py run DIR [--transactions N] [--mmap-size BYTES] [-- WORDS...]
    sqlite_wal.py check DIR [--transactions N]

`run` starts each process by the given words, if any, such as `mapback run --`. `check` looks at what `run` left, and
changes nothing before it has. What fails is told on stderr, and the exit status is 1.

The writer moves money between accounts; no money comes or goes. Each transaction has a number, and leaves an entry
whose content follows from it. A reader knows how many transactions had been committed before it began its own, so it
sees when it was given an old state, a mixed one or a damaged one.
"""

import argparse
import os
import random
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

READERS = 2
ACCOUNTS = 64
START_BALANCE = 1_000
# Entries older than this are deleted, so that pages are used again.
KEPT_ENTRIES = 400
# The pages that may gather in the log: few, so that checkpoints come often.
LOG_PAGES = 150
# After so many transactions the writer waits until each reader has finished another one.
PACE = 25
# How often the database is opened and closed at the end.
VISITS = 21
# How long one process waits for another.
PATIENCE = 60


class Wrong(Exception):
    """An invariant that does not hold."""


def demand(holds, what):
    if not holds:
        raise Wrong(what)


class Counter:
    """A number that one process raises and all can read: the size of a file, which no half-done write can garble."""

    def __init__(self, directory, name):
        self.fd = os.open(os.path.join(directory, name), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def raise_by_one(self):
        os.write(self.fd, b".")

    def value(self):
        return os.fstat(self.fd).st_size


def connect(args):
    connection = sqlite3.connect(os.path.join(args.directory, "bank.db"), timeout=PATIENCE, isolation_level=None)
    connection.execute(f"PRAGMA mmap_size = {args.mmap_size}")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
    return connection


def one(connection, query, *values):
    return connection.execute(query, values).fetchone()


def pad(seq):
    """The content of entry `seq`: some fill a cell, some several pages."""
    dice = random.Random(seq)
    return dice.randbytes(dice.choice((10, 300, 2_000, 9_000)))


def create(args):
    with closing(connect(args)) as connection:
        (mode,) = one(connection, "PRAGMA journal_mode = WAL")
        demand(mode == "wal", f"SQLite refuses WAL mode and stays in mode {mode}")
        connection.execute("BEGIN")
        connection.execute("CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL)")
        connection.execute("CREATE TABLE progress (seq INTEGER NOT NULL)")
        connection.execute("CREATE TABLE entry (seq INTEGER PRIMARY KEY, amount INTEGER NOT NULL, pad BLOB NOT NULL)")
        connection.execute("CREATE INDEX entry_amount ON entry (amount)")
        rows = [(account, START_BALANCE) for account in range(ACCOUNTS)]
        connection.executemany("INSERT INTO account VALUES (?, ?)", rows)
        connection.execute("INSERT INTO progress VALUES (0)")
        connection.execute("CREATE TABLE visits (count INTEGER NOT NULL)")
        connection.execute("INSERT INTO visits VALUES (0)")
        connection.execute("COMMIT")


def transfer(connection, seq):
    dice = random.Random(-seq)
    source, target = dice.sample(range(ACCOUNTS), 2)
    amount = dice.randrange(100)
    connection.execute("BEGIN IMMEDIATE")
    (before,) = one(connection, "SELECT seq FROM progress")
    demand(before == seq - 1, f"the writer finds transaction {before} before its transaction {seq}")
    connection.execute("UPDATE account SET balance = balance - ? WHERE id = ?", (amount, source))
    connection.execute("UPDATE account SET balance = balance + ? WHERE id = ?", (amount, target))
    connection.execute("INSERT INTO entry VALUES (?, ?, ?)", (seq, amount, pad(seq)))
    connection.execute("DELETE FROM entry WHERE seq <= ?", (seq - KEPT_ENTRIES,))
    connection.execute("UPDATE progress SET seq = ?", (seq,))
    connection.execute("COMMIT")


def look(connection, at_least, seq=None):
    """One reading transaction; returns its number."""
    connection.execute("BEGIN")
    (found,) = one(connection, "SELECT seq FROM progress")
    demand(found >= at_least, f"transaction {at_least} had been committed, but {found} is the last that is seen")
    demand(seq is None or found == seq, f"{found} is the last transaction that is seen, not {seq}")
    (money,) = one(connection, "SELECT sum(balance) FROM account")
    demand(money == ACCOUNTS * START_BALANCE, f"after transaction {found} there is {money} of money")
    entries, last = one(connection, "SELECT count(*), coalesce(max(seq), 0) FROM entry")
    demand((entries, last) == (min(found, KEPT_ENTRIES), found), f"{entries} entries, the last {last}, not {found}")
    if found:
        for entry in {found, random.randrange(found - entries + 1, found + 1)}:
            row = one(connection, "SELECT pad FROM entry WHERE seq = ?", entry)
            demand(row is not None, f"entry {entry} is not found after transaction {found}")
            (content,) = row
            demand(content == pad(entry), f"entry {entry}, seen after transaction {found}, is damaged")
    (again,) = one(connection, "SELECT seq FROM progress")
    demand(again == found, f"one transaction saw {found} first and {again} later")
    connection.execute("COMMIT")
    return found


def write(args):
    committed = Counter(args.directory, "committed")
    readers = [Counter(args.directory, f"reader-{reader}") for reader in range(READERS)]
    connection = connect(args)
    for seq in range(1, args.transactions + 1):
        transfer(connection, seq)
        committed.raise_by_one()
        if seq % 500 == 0:
            checkpoint(connection)
        if seq % 300 == 0:
            connection.close()
            connection = connect(args)
        if seq % PACE == 0 and seq < args.transactions:
            await_readers(readers)
    # The end of a process that closes nothing: the log stays.
    os._exit(0)


def checkpoint(connection):
    """Empties the log, unless the readers leave no gap for it: then it tells so, and that is fine."""
    connection.execute("PRAGMA busy_timeout = 100")
    one(connection, "PRAGMA wal_checkpoint(TRUNCATE)")
    connection.execute(f"PRAGMA busy_timeout = {PATIENCE * 1_000}")


def await_readers(readers):
    targets = [reader.value() + 1 for reader in readers]
    deadline = time.monotonic() + PATIENCE
    while any(reader.value() < target for reader, target in zip(readers, targets)):
        demand(time.monotonic() < deadline, "a reader finishes no transaction any more")
        time.sleep(0.001)


def read(args):
    committed = Counter(args.directory, "committed")
    done = Counter(args.directory, f"reader-{args.reader}")
    connection = connect(args)
    seq = 0
    while seq < args.transactions:
        seq = look(connection, max(seq, committed.value()))
        done.raise_by_one()
        if done.value() % 100 == 0:
            connection.close()
            connection = connect(args)
    os._exit(0)


def whole(connection, args, visits):
    """Checks all there is."""
    problems = [row[0] for row in connection.execute("PRAGMA integrity_check")]
    demand(problems == ["ok"], "integrity_check: " + "; ".join(problems))
    look(connection, args.transactions, args.transactions)
    for seq, content in connection.execute("SELECT seq, pad FROM entry"):
        demand(content == pad(seq), f"entry {seq} is damaged")
    (found,) = one(connection, "SELECT count FROM visits")
    demand(found == visits, f"there were {visits} visits, not {found}")


def check(args):
    with closing(connect(args)) as connection:
        whole(connection, args, VISITS)


def reopen(args):
    """Opens and closes the database again and again: each time the log and its index are removed and made anew."""
    with closing(connect(args)) as connection:
        whole(connection, args, 0)
    for visit in range(VISITS - 1):
        with closing(connect(args)) as connection:
            look(connection, args.transactions, args.transactions)
            demand(one(connection, "SELECT count FROM visits") == (visit,), f"visit {visit} is lost")
            connection.execute("UPDATE visits SET count = count + 1")
    connection = connect(args)
    connection.execute("UPDATE visits SET count = count + 1")
    # The last visitor closes nothing: `check` finds a log.
    os._exit(0)


def run(args):
    def start(role, *options):
        own = [sys.executable, os.path.abspath(__file__), role, args.directory, *options]
        own += ["--transactions", str(args.transactions), "--mmap-size", str(args.mmap_size)]
        return subprocess.Popen(args.words + own)

    finish([("creator", start("create"))])
    people = [("writer", start("write"))]
    people += [(f"reader {reader}", start("read", "--reader", str(reader))) for reader in range(READERS)]
    finish(people)
    finish([("reopener", start("reopen"))])
    counts = [Counter(args.directory, f"reader-{reader}").value() for reader in range(READERS)]
    print(f"{args.transactions} transactions written, {' and '.join(map(str, counts))} read")


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
    roles = {"run": run, "create": create, "write": write, "read": read, "reopen": reopen, "check": check}
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("role", choices=roles)
    parser.add_argument("directory")
    parser.add_argument("--transactions", type=int, default=3_000)
    parser.add_argument("--mmap-size", type=int, default=0)
    parser.add_argument("--reader", type=int)
    args = parser.parse_args(own)
    args.words = started_by
    try:
        roles[args.role](args)
    except Wrong as error:
        fail(args, str(error))
    except sqlite3.Error as error:
        fail(args, f"{error} ({getattr(error, 'sqlite_errorname', type(error).__name__)})")


main()
