"""Make a latency table from published figures, by the name of the table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from nas.errors import NasError, unknown_name
from nas.latency.published import hw_nas_bench, nn_meter, note10_lut, pixel_lut, tf_nas
from nas.latency.table import LatencyTable
from nas.networks.space.search_space import load_space

# Makes a table from the folder of the published files.
Builder = Callable[[Path], LatencyTable]

# Tables whose rows are the units of the published figures. The rows of pixel_lut are those of search spaces.
BUILDERS: Mapping[str, Builder] = {
    note10_lut.NAME: note10_lut.build_note10_lut,
    **{name: partial(nn_meter.build_early_stages, name) for name in nn_meter.PHONES},
    **{name: partial(tf_nas.build_tf_nas, name) for name in tf_nas.DEVICES},
    **{name: partial(hw_nas_bench.build_fbnet32, name) for name in hw_nas_bench.DEVICES},
}
PIXEL_LUT_SPACES = ("mbv3",)


def build_table(name: str, folder: Path, spaces: Sequence[str] | None = None) -> LatencyTable:
    """Make the table called `name` from the published files in `folder`; the same files give the same table.

    `spaces` are the search spaces whose units get rows in pixel_lut; no other table takes any. Raises NasError for an
    unknown name, and for files that are missing or not laid out as latency_tables/README.md says.
    """
    if name == pixel_lut.NAME:
        units = [unit for space in spaces or PIXEL_LUT_SPACES for unit in load_space(space).units()]
        return pixel_lut.build_pixel_lut(folder, units)
    if name not in BUILDERS:
        raise NasError(unknown_name("table of published figures", name, (pixel_lut.NAME, *BUILDERS)))
    if spaces:
        raise NasError(f"the units of {name} are those of the published figures: leave out --space")
    return BUILDERS[name](folder)
