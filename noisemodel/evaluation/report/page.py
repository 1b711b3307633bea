"""The page: head, contents, sections, style and script in one text."""

from collections.abc import Callable
from importlib.resources import files

from plotly.offline import get_plotlyjs

from noisemodel.evaluation.comparison import Comparison, compare
from noisemodel.evaluation.line_spectra import darkest
from noisemodel.evaluation.report.distributions import distributions_section
from noisemodel.evaluation.report.figures import metrics_section, parameters_section, provenance_section
from noisemodel.evaluation.report.markup import Section, escape, section
from noisemodel.evaluation.report.pictures import pictures_section
from noisemodel.evaluation.report.structure import correlation_section, spectra_section
from noisemodel.evaluation.report.variances import components_section, variance_section

SECTIONS: dict[str, Callable[[Comparison], Section]] = {
    "pictures": pictures_section,
    "parameters": parameters_section,
    "components": components_section,
    "variance": variance_section,
    "distributions": distributions_section,
    "spectra": spectra_section,
    "correlation": correlation_section,
    "metrics": metrics_section,
    "provenance": provenance_section,
}
# Nothing may be loaded from elsewhere; "blob:" is plotly's own way of saving a chart as a picture.
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"

FOOT = "Blue is real, orange is generated, everywhere. Drag on a chart to zoom in; double-click to zoom out."


def report_page(compared: Comparison) -> str:
    """The whole page as one HTML text, some 6 to 8 MB, of which plotly.js is 5; the same input gives the same text."""
    sections = [make(compared) for make in SECTIONS.values()]
    title = f"Noise model {escape(compared.model.physical.noiselist)}"
    contents = "".join(f'<li><a href="#{s.key}">{escape(s.title)}</a></li>' for s in sections)
    body = "".join(section(s) for s in sections)
    style, script = (files(__package__).joinpath(name).read_text("utf-8") for name in ("page.css", "page.js"))
    library = get_plotlyjs().replace("</script", "<\\/script")
    return f"""<!DOCTYPE html>
<html lang="en" data-drawn="0" data-error="">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>{style}</style>
<script>window.onerror = (m) => {{ document.documentElement.dataset.error += m + "; "; }};</script>
<script>{library}</script>
</head>
<body>
<header><h1>{title}</h1><p>{escape(_compared_with(compared))}</p>{_tiles(compared)}</header>
<nav aria-label="Contents"><ol>{contents}</ol></nav>
<main>{body}</main>
<footer><p>{FOOT}</p></footer>
<script>{script}</script>
</body>
</html>
"""


def _compared_with(compared: Comparison) -> str:
    kinds = [p.recording.kind for p in compared.pairs]
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
    kind = compared.model.kind
    network = "no network" if compared.model.network is None else f"network {kind}"
    return f"beside {compared.data} ({counts}); residuals from {compared.reference}; {network}"


def _tiles(compared: Comparison) -> str:
    """The few figures that are looked for first."""
    rows = {row.name: row for row in compared.rows}
    tiles = []
    for name, heading in (("shot.gain", "Gain"), ("dark.std", "Dark noise")):
        if name in rows and (row := rows[name]):
            tiles.append((heading, row.dn or row.value, row.electrons or row.interval))
    ratios = (compared.curve.generated / compared.curve.real).sqrt()
    if len(ratios):
        low, high = float(ratios.min()), float(ratios.max())
        levels = f"{low:.3f} to {high:.3f} over {len(ratios)} signal levels"
        tiles.append(("Std, generated / real", f"{float(ratios.median()):.3f}", levels))
    lines = [
        compare(p.real, p.generated, valid=p.recording.valid, layout=p.recording.layout)
        for p in darkest(compared.pairs)
    ]
    known = [ratio for line in lines if (ratio := line["row_mean_std"]["ratio"]) is not None]
    if known:
        tiles.append(("Row means, generated / real", f"{sum(known) / len(known):.3f}", "std in the darkest recordings"))
    inner = "".join(
        f"<div><dt>{escape(a)}</dt><dd>{escape(b)}<small>{escape(c)}</small></dd></div>" for a, b, c in tiles
    )
    return f'<dl class="tiles">{inner}</dl>'
