"""Build the source distribution and the wheel, check them, and try the wheel where nothing else is.

``make dist``, or ``python scripts/dist.py``. The version is that of ``pyproject.toml``. A tag
(``v1.2.3``) must be of the same version, and have an entry in ``CHANGELOG.md``.

Steps: build both (the wheel from the source distribution); ``twine check --strict``; names in the
archives; the wheel in a new environment with its dependencies from the index (``--dependencies
here`` takes those of this environment instead: seconds, and no network); ``pip check``; the demo.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: What both archives may hold at their top, beside metadata.
PACKAGES = {"abslrp", "gae_metric"}
#: No checkpoints, photographs or caches.
REFUSED = (".pth", ".pt", ".pkl", ".pyc", ".jpg", ".jpeg", ".npz", ".so")


class DistError(Exception):
    """A distribution is not as it should be."""


def run(*command: object, cwd: Path = ROOT, env: dict[str, str] | None = None) -> str:
    """Run a command, show what it prints, and return it."""
    print("$", *command, flush=True)
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    print(done.stdout[-3000:], flush=True)
    if done.returncode:
        raise DistError(f"{command[0]} ended with status {done.returncode}")
    return done.stdout


def build(folder: Path) -> tuple[Path, Path]:
    """Build both, and return their paths."""
    shutil.rmtree(folder, ignore_errors=True)
    run(sys.executable, "-m", "build", "--outdir", folder)
    (sdist,), (wheel,) = list(folder.glob("*.tar.gz")), list(folder.glob("*.whl"))
    run(sys.executable, "-m", "twine", "check", "--strict", sdist, wheel)
    return sdist, wheel


def version_of(sdist: Path, wheel: Path) -> str:
    """Return the version that both have."""
    found = {sdist.name.removesuffix(".tar.gz").split("-", 1)[1], wheel.name.split("-")[1]}
    if len(found) != 1:
        raise DistError(f"the distributions have different versions: {', '.join(sorted(found))}")
    return found.pop()


def check_tag(version: str) -> None:
    """Compare with the tag of the commit, if there is one, and with the changelog."""
    done = subprocess.run(
        ["git", "describe", "--tags", "--exact-match", "--match", "v*"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    tag = done.stdout.strip()
    if done.returncode:
        print(f"this commit has no tag: {version} is not for publishing")
        return
    if not re.fullmatch(r"v\d+\.\d+\.\d+((a|b|rc)\d+)?", tag):
        raise DistError(f"{tag}: expected a tag such as v1.2.3 or v1.2.3rc1")
    if tag != f"v{version}":
        raise DistError(
            f"the commit is tagged {tag}, but the version is {version} (changed files?)"
        )
    log = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    if not re.search(rf"(?m)^## \[?{re.escape(version)}\]?", log):
        raise DistError(f"CHANGELOG.md has no entry {version}")


def check_names(sdist: Path, wheel: Path) -> None:
    """See that the archives hold what they should, and nothing else."""
    names = zipfile.ZipFile(wheel).namelist()
    with tarfile.open(sdist) as file:
        sources = [member.name.partition("/")[2] for member in file.getmembers() if member.isfile()]
    for each in (names, sources):
        for name in each:
            if name.endswith(REFUSED) or "__pycache__" in name or "shared/" in name:
                raise DistError(f"{name} does not belong in a distribution")
    top = {name.split("/")[0] for name in names}
    extra = {name for name in top if name not in PACKAGES and not name.endswith(".dist-info")}
    if extra:
        raise DistError(f"the wheel has {', '.join(sorted(extra))} beside its packages")
    own = {p.relative_to(ROOT).as_posix() for name in PACKAGES for p in (ROOT / name).rglob("*.py")}
    for what, each in (("wheel", names), ("source distribution", sources)):
        if missing := own - set(each):
            raise DistError(f"the {what} lacks {', '.join(sorted(missing))}")
    for name in ("LICENSE", "README.md", "CHANGELOG.md", "Makefile", "pyproject.toml"):
        if name not in sources:
            raise DistError(f"the source distribution lacks {name}")


def try_wheel(wheel: Path, version: str, dependencies: str) -> None:
    """Install the wheel into a new environment, and run what a new user runs first."""
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(sys.executable, "-m", "venv", folder / "env", cwd=folder)
        python = folder / "env" / "bin" / "python"
        pip = (python, "-m", "pip", "--disable-pip-version-check")
        if dependencies == "here":
            run(*pip, "install", "--no-deps", "--no-index", wheel, cwd=folder, env=env)
            code = "import sysconfig; print(sysconfig.get_path('purelib'))"
            purelib = run(python, "-c", code, cwd=folder, env=env).strip()
            # Files of such a path are found, but not the .pth files in it, hence not the checkout.
            Path(purelib, "here.pth").write_text(sysconfig.get_path("purelib") + "\n")
        else:
            run(*pip, "install", "--quiet", wheel, cwd=folder, env=env)
            run(*pip, "check", cwd=folder, env=env)
        command = folder / "env" / "bin" / "gae-metric"
        if run(command, "--version", cwd=folder, env=env).strip() != f"gae-metric {version}":
            raise DistError("gae-metric --version is not that of the wheel")
        code = "import abslrp, gae_metric; print(abslrp.__file__, gae_metric.__file__)"
        for path in run(python, "-c", code, cwd=folder, env=env).split():
            if not Path(path).is_relative_to(folder.resolve()) and not path.startswith(name):
                raise DistError(f"imported from {path}, not from the wheel")
        run(command, "demo", "--samples", "4", "--networks", "resnet", cwd=folder, env=env)
        if not (folder / "gae-demo" / "resnet" / "maps.png").is_file():
            raise DistError("the demo made no figure")


def main(arguments: Sequence[str] | None = None) -> int:
    """Build, check, and list what there is to publish."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--dependencies", choices=("index", "here"), default="index")
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    options = parser.parse_args(arguments)
    try:
        sdist, wheel = build(options.out)
        version = version_of(sdist, wheel)
        check_tag(version)
        check_names(sdist, wheel)
        try_wheel(wheel, version, options.dependencies)
    except DistError as error:
        print(f"dist: {error}", file=sys.stderr)
        return 1
    for path in (sdist, wheel):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        print(f"{path.name}  {path.stat().st_size / 1e6:.1f} MB  sha256 {digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
