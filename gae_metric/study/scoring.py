"""From maps to scores, whatever order and chunks the maps come in."""

from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from gae_metric.functional import scores as equations
from gae_metric.functional.masking import LERF, MORF
from gae_metric.functional.mosaic import positions, score_map
from gae_metric.study.conversion import sent
from gae_metric.study.items import Items
from gae_metric.study.study import Study

#: What rounding changes in curves that are in [0, 1] or relative.
_ROUNDING = 8 * torch.finfo(torch.float32).eps
#: What it may change in the similarity of two maps of one input, in batches or on a GPU.
_OF_MAPS = 1e-4


class Scorer:
    """Scores of a study's samples, filled in as maps arrive.

    The map of an original must come before those of its perturbed states.

    Parameters
    ----------
    study
        What is explained.
    """

    def __init__(self, study: Study) -> None:
        rows, steps = len(study.samples), study.outputs.shape[2]
        self._study = study
        self._similarity = np.full((rows, 2, steps), np.nan)
        self._known = np.zeros(self._similarity.shape, dtype=bool)
        self._alike: bool | None = None
        self._faithfulness = np.full(rows, np.nan)
        self._contrastiveness = np.full((rows, study.mosaics), np.nan)
        self._originals: dict[int, Tensor] = {}
        self._seen = np.zeros(rows, dtype=bool)
        self._empty_original = np.zeros(rows, dtype=bool)
        self._empty_mosaic = np.zeros((rows, study.mosaics), dtype=bool)
        self._bad_map = np.zeros(rows, dtype=bool)
        self._coming: list[tuple[NDArray[Any], Any, Tensor]] = []

    @property
    def bad_map(self) -> NDArray[np.bool_]:
        """(R,) samples one of whose maps is not finite."""
        self._settle()
        return self._bad_map

    def first_bad(self, row: int) -> str | None:
        """Say of which state or mosaic the first map that is not finite is; None for the input."""
        self._settle()
        if self._seen[row] and np.isnan(self._faithfulness[row]):
            return None
        states = np.argwhere(np.isnan(self._similarities()[row]).T)
        if self._seen[row] and len(states):
            state, order = states[0]
            return f"state {state} of {('LeRF', 'MoRF')[order]}"
        return f"mosaic {int(np.isnan(self._contrastiveness[row]).argmax())}"

    @property
    def empty(self) -> int:
        """Originals and mosaics whose map has no positive value.

        Perturbed inputs are not counted: where all features are zero, so are most methods' maps.
        """
        self._settle()
        return int(self._empty_original.sum() + self._empty_mosaic.sum())

    def known(self, items: Items) -> NDArray[np.bool_]:
        """Tell of which items no map is needed: their input is that of the state before.

        That is so if the maps of earlier ones were alike. They get the similarity of that state.
        """
        repeated = self._study.repeated
        if self._alike is None and repeated.any():
            self._settle()
            apart = np.abs(np.diff(self._similarity[..., 1:]))[repeated[..., 2:]]
            apart = apart[~np.isnan(apart)]
            self._alike = bool((apart < _OF_MAPS).all()) if len(apart) else None
        again = (items.state > 1) & repeated[items.row, items.order, items.state]
        again &= bool(self._alike)
        some = items[again]
        self._known[some.row, some.order, some.state] = True
        return again

    def _similarities(self) -> NDArray[np.float64]:
        self._settle()
        explained = np.where(self._known, 0, np.arange(self._known.shape[2]))
        return np.take_along_axis(self._similarity, np.maximum.accumulate(explained, 2), 2)

    def lacks(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return those of some rows whose original has not come yet, ascending."""
        rows = np.unique(rows)
        return rows[~self._seen[rows]]

    def add(self, items: Items, maps: Tensor) -> None:
        """Take maps (n, 1 or C, ...) of loaded items of the study."""
        maps = equations.positive_map(maps)
        # Maps that are not finite are NaN throughout.
        self._later(self._bad_map, items.row, maps.flatten(1)[:, 0].isnan())
        for part, where in (
            (self._add_originals, items.state == 0),
            (self._add_states, items.state > 0),
            (self._add_mosaics, items.mosaic >= 0),
        ):
            if where.any():
                chosen = sent(np.flatnonzero(where), maps.device)
                part(items[where], maps if where.all() else maps[chosen])

    def _later(self, array: NDArray[Any], where: Any, values: Tensor) -> None:
        """Fill in values once they are asked for: a GPU that is not waited for goes on working."""
        self._coming.append((array, where, values))
        if not values.is_cuda:
            self._settle()

    def _settle(self) -> None:
        coming, self._coming = self._coming, []
        for array, where, values in coming:
            if values.dtype == torch.bool:  # of which several may be for one place
                np.logical_or.at(array, where, values.cpu().numpy())
            else:
                array[where] = values.cpu().double().numpy()  # not every device has float64

    def _add_originals(self, items: Items, a: Tensor) -> None:
        signs = sent(self._study.impact_signs(items.row), a.device)
        self._later(self._faithfulness, items.row, equations.local_faithfulness(a, signs))
        self._similarity[items.row, :, 0] = 1
        self._later(self._empty_original, items.row, _empty(a))
        self._originals.update(zip(items.row.tolist(), a, strict=True))
        self._seen[items.row] = True

    def _add_states(self, items: Items, a: Tensor) -> None:
        rows, places = np.unique(items.row, return_inverse=True)
        kept = (self._originals[row].to(a.device) for row in rows.tolist())
        # Some may have one channel.
        originals = torch.stack(torch.broadcast_tensors(*kept))  # type: ignore[no-untyped-call]
        a_init = originals[sent(places.reshape(-1), a.device)]
        place = items.row, items.order, items.state
        self._later(self._similarity, place, equations.similarity(a_init, a))

    def _add_mosaics(self, items: Items, a: Tensor) -> None:
        assert self._study.mosaicking is not None
        scores = sent(self._study.quadrants(items).to(a.dtype), a.device)
        sides = positions(a.shape)
        s = score_map(scores, sides, centre_block=self._study.mosaicking.protocol == "repository")
        place = items.row, items.mosaic
        shown = equations.contrastiveness(a.reshape(len(a), -1, *sides), s)
        self._later(self._contrastiveness, place, shown)
        self._later(self._empty_mosaic, place, _empty(a))

    def forget(self, before: int) -> None:
        """Let go of the originals of rows below one."""
        for row in [row for row in self._originals if row < before]:
            del self._originals[row]

    def curves(self) -> dict[str, NDArray[Any]]:
        """Curves along the trajectory, (R, T) each; see :attr:`GAE.curves`."""
        similarity = self._similarities()
        outputs = torch.from_numpy(self._study.outputs)
        lerf, morf = outputs[:, LERF], outputs[:, MORF]
        return {
            "output_lerf": lerf.numpy(),
            "output_morf": morf.numpy(),
            "output_difference": equations.output_difference(lerf, morf, lerf[:, 0]).numpy(),
            "similarity_lerf": similarity[:, LERF],
            "similarity_morf": similarity[:, MORF],
            "similarity_difference": similarity[:, LERF] - similarity[:, MORF],
        }

    def components(self, columns: tuple[str, ...]) -> pd.DataFrame:
        """Scores of the samples, one row each, indexed by their place in the data set."""
        self._settle()
        values: dict[str, Tensor] = {}
        if self._study.masking is not None:
            curves = self.curves()
            d_o = torch.from_numpy(curves["output_difference"][:, 1:])
            d_a = torch.from_numpy(curves["similarity_difference"][:, 1:])
            robustness = equations.local_robustness(d_o, d_a)
            # Masking changes nothing in an image of the mask value, and rounding is no change.
            robustness[(torch.cat([d_o, d_a], 1).abs() < _ROUNDING).all(1)] = 1
            faithfulness = torch.from_numpy(self._faithfulness)
            values |= {"lc_robustness": robustness, "lc_faithfulness": faithfulness}
            values["local_consistency"] = equations.local_consistency(robustness, faithfulness)
        if self._study.mosaics:
            values["contrastiveness"] = torch.from_numpy(self._contrastiveness.mean(axis=1))
        if len(values) == 4:
            lc, c = values["local_consistency"], values["contrastiveness"]
            values["gae"] = equations.global_attribution(lc, c)
        index = pd.Index(self._study.samples, name="sample")
        chosen = {name: values[name].numpy() for name in columns}
        return pd.DataFrame(chosen, index=index, dtype=float)


def _empty(maps: Tensor) -> Tensor:
    return maps.flatten(1).amax(1) == 0
