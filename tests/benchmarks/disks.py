"""Small disks of their own, for tests of what happens when one is full or may not be written."""

import contextlib
import subprocess

import pytest


def _mount(*arguments):
    """Mount, or skip the test where that is refused."""
    try:
        done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode:
        pytest.skip(f"this user may not mount a tmpfs: {done.stderr.strip()}")


@contextlib.contextmanager
def small_disk(folder, size):
    """Have a tmpfs of a size, such as ``64k``, in a folder that is made for it."""
    folder.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def remount(folder, options):
    """Change such a disk: ``size=128k`` makes it larger, ``ro`` read-only."""
    _mount("-o", f"remount,{options}", str(folder))
