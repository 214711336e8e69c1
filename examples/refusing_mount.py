"""Mounts a FUSE file system with direct_io, on which mmap(MAP_SHARED) fails, for as long as an example runs."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
MAP_A_FILE = """
import mmap, sys
with open(sys.argv[1], "w+b") as file:
    file.truncate(4096)
    mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_WRITE)
"""


class CannotMount(Exception):
    """Says why."""


def plain_environment():
    """The environment without mapback: for what shall not run under it."""
    return {k: v for k, v in os.environ.items() if k != "LD_PRELOAD" and not k.startswith("MAPBACK_")}


class RefusingMount:
    def __enter__(self):
        if not os.access("/dev/fuse", os.R_OK | os.W_OK):
            raise CannotMount("/dev/fuse is not there or may not be used")
        if os.geteuid() != 0 and not shutil.which("fusermount3"):
            raise CannotMount("it takes root, or the package fuse3")
        command = testkit() or bindfs()
        if not command:
            raise CannotMount("it takes cargo, to build testkit's mapback-directio, or the package bindfs")
        self.base = Path(tempfile.mkdtemp(prefix="mapback-example-"))
        self.path = self.base / "mnt"
        for folder in (self.base / "data", self.path):
            folder.mkdir()
        self.server = subprocess.Popen(
            [*command, self.base / "data", self.path], stdout=subprocess.DEVNULL, env=plain_environment()
        )
        deadline = time.monotonic() + 10
        while not os.path.ismount(self.path):
            if self.server.poll() is not None or time.monotonic() > deadline:
                self.__exit__()
                raise CannotMount(f"{command[0]} failed")
            time.sleep(0.01)
        print(f"mounted by {Path(command[0]).name}: {self.path}")
        return self

    def show_native_error(self):
        """Tries a shared map without mapback, and shows that the file system refuses it."""
        command = [sys.executable, "-c", MAP_A_FILE, self.path / "native"]
        tried = subprocess.run(command, env=plain_environment(), capture_output=True, text=True)
        if tried.returncode == 0:
            raise CannotMount("this kernel grants shared maps even with direct_io")
        print(f"  without mapback, mmap fails on it: {tried.stderr.strip().splitlines()[-1]}")

    def __exit__(self, kind=None, error=None, trace=None):
        traceback.clear_frames(trace)  # closes what failed, so that nothing holds the mount
        self.server.terminate()  # it unmounts
        try:
            self.server.wait(10)
        except subprocess.TimeoutExpired:
            self.server.kill()
            self.server.wait()
        if os.path.ismount(self.path):
            unmount = ["umount", "-l"] if os.geteuid() == 0 else ["fusermount3", "-u", "-z"]
            subprocess.run([*unmount, self.path], check=False)
        if not os.path.ismount(self.path):  # never delete through a mount
            shutil.rmtree(self.base)


def testkit():
    """mapback's own file system for tests, built if need be."""
    cargo = os.environ.get("CARGO") or shutil.which("cargo")
    if not cargo:
        return None
    command = [cargo, "build", "--quiet", "--release", "--package", "mapback-testkit", "--bin", "mapback-directio"]
    command += ["--message-format=json-render-diagnostics"]
    environment = plain_environment()
    built = subprocess.run(command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, text=True)
    programs = [json.loads(line).get("executable") for line in built.stdout.splitlines()]
    programs = [program for program in programs if program]
    return [programs[-1]] if built.returncode == 0 and programs else None


def bindfs():
    program = shutil.which("bindfs")
    return [program, "-f", "-o", "direct_io"] if program else None
