"""Make the branches, patches and texts of the contribution: one of each for every topic."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from running import BuildError

HERE = Path(__file__).resolve().parent
FOLDER = HERE / "topics"
FIXES = ("road", "assert_attributions", "evaluate", "normalise_by_max", "batched_metric")
TOPICS = (*FIXES, "metrics")


def git(tree: Path, *arguments: str, author: str = "", given: str | None = None) -> str:
    """Run git in a tree, whatever the user's settings and the repository around it.

    Parameters
    ----------
    tree
        Where.
    *arguments
        What.
    author
        ``Name <address>``, of commits.
    given
        What git reads from its standard input.
    """
    name, _, address = author.removesuffix(">").partition(" <")
    who = {"NAME": name, "EMAIL": address}
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
        "GIT_CEILING_DIRECTORIES": str(tree.resolve().parent),
        "GIT_CONFIG_GLOBAL": os.devnull,
        **{f"GIT_{role}_{key}": who[key] for role in ("AUTHOR", "COMMITTER") for key in who},
    }
    done = subprocess.run(
        ["git", *arguments],
        cwd=tree,
        env=environment,
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BuildError(f"git {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def find_author(given: str | None) -> str:
    """Return the author of the commits, ``Name <address>``, by default as git knows the user here.

    Raises
    ------
    BuildError
        If there is none.
    """
    if given is None:
        found = [
            subprocess.run(
                ["git", "config", f"user.{key}"],
                cwd=HERE,
                capture_output=True,
                text=True,
                check=False,
            ).stdout.strip()
            for key in ("name", "email")
        ]
        given = "{} <{}>".format(*found)
    if not re.fullmatch(r"[^<>\n]*\S <[^<>@\s]+@[^<>@\s]+>", given):
        raise BuildError(
            f"--author: expected 'Name <address>', got {given!r}. By default git's user.name and "
            "user.email are taken"
        )
    return given


def branch(work: Path, author: str) -> None:
    """Make a branch of each topic off the base, each in a tree of its own, and ``all`` of them.

    Parameters
    ----------
    work
        Folder with the tree ``base``. The others, and ``patches/TOPIC``, are made beside it.
    author
        ``Name <address>``.
    """
    base, patches = work / "base", work / "patches"
    for folder in (patches, work / "all", *(work / topic for topic in TOPICS)):
        shutil.rmtree(folder, ignore_errors=True)
    git(base, "init", "--quiet", "--initial-branch", "main")
    (base / ".git/info/exclude").write_text("__pycache__/\n*.pyc\n", encoding="utf-8")
    git(base, "add", "--all")
    git(base, "commit", "--quiet", "--message", "Quantus", author=author)
    for topic in TOPICS:
        tree = work / topic
        git(base, "worktree", "add", "--quiet", "-b", topic, str(tree.resolve()), "main")
        left = change(tree, FOLDER / topic)
        git(tree, "add", "--all")
        message = str(FOLDER / topic / "message.txt")
        git(tree, "commit", "--quiet", "--file", message, author=author)
        out = str((patches / topic).resolve())
        patch = git(tree, "format-patch", "-1", "--output-directory", out).strip()
        append(Path(patch), left)
    git(base, "worktree", "add", "--quiet", "-b", "all", str((work / "all").resolve()), "main")
    git(work / "all", "merge", "--quiet", "--no-edit", *TOPICS, author=author)


def change(tree: Path, topic: Path) -> list[str]:
    """Change a tree as a topic says.

    Parameters
    ----------
    tree
        A tree of Quantus.
    topic
        Folder with ``change.patch`` and new files.

    Returns
    -------
    list of str
        Changes of documentation that the tree lacks, as a source distribution does.
    """
    left = []
    text = (topic / "change.patch").read_text(encoding="utf-8")
    for part in re.split(r"(?m)^(?=diff --git )", text)[1:]:
        name = part.split()[2].removeprefix("a/")
        if name.startswith("quantus/") or (tree / name).exists():
            git(tree, "apply", "--index", "-", given=part)
        else:
            left.append(part)
    for file in sorted(each for each in (topic / "new").rglob("*") if each.is_file()):
        name = file.relative_to(topic / "new")
        if (tree / name).exists():
            raise BuildError(f"{topic.name}: the tree has a file {name} already")
        text = file.read_text(encoding="utf-8")
        if name.parts[0] == "quantus":
            title, rest = text.split("\n", 1)
            text = f"{title}\n\n{licence_header(tree)}\n{rest}"
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text, encoding="utf-8")
    return left


def licence_header(tree: Path) -> str:
    """Return the header that Quantus's files carry, from one of them."""
    text = (tree / "quantus/metrics/localisation/focus.py").read_text(encoding="utf-8")
    found = re.search(r"(?m)(?:^#.*\n)+", text)
    if found is None:
        raise BuildError("quantus/metrics/localisation/focus.py: expected a licence header")
    return found[0].rstrip()


def append(patch: Path, parts: list[str]) -> None:
    """Append changes to a patch as git writes it, before its signature."""
    text, mark, signature = patch.read_text(encoding="utf-8").rpartition("-- \n")
    patch.write_text(text + "".join(parts) + mark + signature, encoding="utf-8")


def describe(topic: str, evidence: str) -> str:
    """Return the text of a fix's pull request, in the form that Quantus asks for."""
    message = (FOLDER / topic / "message.txt").read_text(encoding="utf-8")
    title, body = message.strip().split("\n\n", 1)
    changed = re.findall(
        r"(?m)^\+\+\+ b/(\S+)", (FOLDER / topic / "change.patch").read_text(encoding="utf-8")
    )
    new = FOLDER / topic / "new"
    added = [file.relative_to(new).as_posix() for file in sorted(new.rglob("*.py"))]
    return f"""# {title}

### Description

{body}

### Implemented changes

- [x] The change: `{"`, `".join(changed)}`
- [x] Tests: `{"`, `".join(added)}`

### Evidence

{evidence}

### Minimum acceptance criteria

- All tests pass on the supported versions; nothing changes other than described.
- @annahedstroem
"""
