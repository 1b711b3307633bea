"""Several sources of noise on the same recordings: what evaluate's tables are made of."""

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from noisemodel.evaluation.baselines import NoiseSource, draw_pair
from noisemodel.evaluation.fidelity import Described, chosen_metrics, join_recordings, measure_pair
from noisemodel.evaluation.fidelity_report import Judged, floor_row, point_values
from noisemodel.evaluation.recording import Recording
from noisemodel.streams import stream


def judge(
    recordings: Sequence[Callable[[], Recording]],
    sources: Mapping[str, NoiseSource],
    *,
    metrics: Sequence[str] | None = None,
    draws: int = 200,
    seed: int = 0,
) -> list[Judged]:
    """Measure every source on every recording, one recording in memory at a time.

    Args:
        recordings: what reads each.
        sources: by name; at least one.
        metrics, draws, seed: as `fidelity`.
    Returns: one row per source, then real against real.
    Raises: InputError as `fidelity`.
    """
    found: dict[str, dict[str, dict[str, Tensor]]] = {name: {} for name in sources}
    for index, read in enumerate(recordings):
        recording = read()
        names, described = chosen_metrics(metrics, recording), Described()
        for name, source in sources.items():
            pair = draw_pair(source, recording, generator=stream(seed, "evaluate", name, recording.name))
            resampling = stream(seed, "bands", index)
            measured = measure_pair(pair, names, draws=draws, generator=resampling, described=described)
            found[name][recording.name] = measured
    models = []
    for name, of_source in found.items():
        scores = join_recordings(list(of_source.values()), draws=draws, generator=stream(seed, "recordings"))
        models.append(Judged(name, tuple(scores), {at: point_values(values) for at, values in of_source.items()}))
    return [*models, floor_row(models[0])]
