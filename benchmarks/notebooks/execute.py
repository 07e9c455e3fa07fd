"""``python -m benchmarks.notebooks.execute``: run the notebooks, and store them with their outputs.

Needs the extra ``dev`` (nbclient, nbformat, ipykernel) and pytorch-grad-cam. What a run leaves
behind that says nothing about the notebook is removed: times of execution, messages on the standard
error, and the version of the interpreter.
"""

import os
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

FOLDER = Path(__file__).parent
NOTEBOOKS = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
#: Seconds that a cell may take.
TIMEOUT = 300


def load(name: str) -> NotebookNode:
    """Read a notebook by its name."""
    path = FOLDER / f"{name}.ipynb"
    notebook: NotebookNode = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    return notebook


def execute(notebook: NotebookNode) -> NotebookNode:
    """Run all cells in a new kernel and an empty folder, and return the notebook with outputs.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        At the first cell that fails.
    """
    # The kernel sees the checkout, as it may not be installed, and works on one thread, so that
    # sums do not depend on the number of cores.
    path = os.pathsep.join([str(FOLDER.parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    # The kernel's own backend draws into the notebook.
    environment.pop("MPLBACKEND", None)
    with tempfile.TemporaryDirectory() as folder:
        there = {"metadata": {"path": folder}}
        client = NotebookClient(notebook, timeout=TIMEOUT, kernel_name="python3", resources=there)
        client.execute(env=environment)
    return tidied(notebook)


def tidied(notebook: NotebookNode) -> NotebookNode:
    """Remove from outputs what differs from run to run, and messages on the standard error."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name", "") != "stderr"]
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return notebook


def main() -> None:
    """Run the notebooks and store them with what they show."""
    for name in NOTEBOOKS:
        nbformat.write(execute(load(name)), FOLDER / f"{name}.ipynb")  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
