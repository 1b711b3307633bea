"""Pictures inside the page: 8-bit PNG as data URIs, one stretch for all, and what the magnifier needs."""

import base64
import io

import matplotlib as mpl
import numpy as np
from PIL import Image

from noisemodel.evaluation.comparison import Comparison
from noisemodel.evaluation.figure_style import RESIDUAL_MAP, short, signal_text
from noisemodel.evaluation.panel_components import ComponentDraw, colour_limit, component_draws
from noisemodel.evaluation.panel_images import Region, pictures_of, regions
from noisemodel.evaluation.report.markup import Section, escape, grid, note
from noisemodel.sensor.rendering import Picture
from noisemodel.streams import stream

LARGEST = 512  # side of the pictures [sensor pixels]; larger ones would make the page too heavy
PALETTE = (mpl.colormaps[RESIDUAL_MAP](np.linspace(0, 1, 256))[:, :3] * 255).round().astype(np.uint8)

HOW_TO = "Move over a picture, drag on it, or use the arrow keys: the same place is shown magnified under all five."


def pictures_section(compared: Comparison) -> Section:
    """Clean, real and generated with one stretch, both differences, and a magnifier over all of them."""
    pair, cfa = compared.shown, compared.cfa
    at = pair.recording
    region = _middle(at.reference.shape[-2], at.reference.shape[-1], 2 if at.layout == "mosaic" else 1)
    clean, real, made, real_off, made_off = pictures_of(pair, region, cfa)
    limit = colour_limit(real_off)
    base = "mean" if at.centred else "clean"
    unit = at.levels.range_dn
    shown = {
        f"Mean of {len(at.frames)} frames" if at.centred else "Clean (ground truth)": grey_or_colour(clean),
        "Real": grey_or_colour(real),
        "Generated": grey_or_colour(made),
        f"Real − {base}": diverging(by_root(real_off, limit), 1.0),
        f"Generated − {base}": diverging(by_root(made_off, limit), 1.0),
    }
    figures = [_magnified(title, uri) for title, uri in shown.items()]
    figures.append(_control(limit * unit))
    dark = regions(
        at.clean[0][..., region.rows, region.columns], at.valid[0][..., region.rows, region.columns], at.layout
    )[1]
    height, width = (s.stop - s.start for s in (region.rows, region.columns))
    place = ((dark.columns.start + dark.columns.stop) / 2 / width, (dark.rows.start + dark.rows.stop) / 2 / height)
    step = 2 if at.layout == "mosaic" else 1
    facts = f'data-x="{place[0]:.4f}" data-y="{place[1]:.4f}" data-width="{width * step}"'
    mean = signal_text(float(at.reference[0][..., region.rows, region.columns].mean()) * unit)
    about = f"{at.name}: {height * step}×{width * step} sensor pixels, mean signal {mean}."
    lead = "Grain, stripes and brightness should look alike in Real and Generated. One stretch for all three pictures."
    return Section(
        "pictures", "Pictures", lead, f'<div class="magnifier" {facts}>{grid(figures, "five")}</div>{note(about)}'
    )


def components_pictures(compared: Comparison) -> str:
    """One draw of every component, each on its own colour scale."""
    draws = component_draws(
        compared.model, compared.shown.recording, generator=stream(compared.seed, "view", "components")
    )
    return grid([_component(one) for one in draws], "small")


def _component(one: ComponentDraw) -> str:
    limit = colour_limit(one.picture_dn)
    electrons = "" if one.std_electrons is None else f" = {short(one.std_electrons)} e⁻"
    share = "" if one.share is None else f", {100 * one.share:.3g} % of the variance"
    text = f"std {short(one.std_dn)} DN{electrons}{share}; colours ±{short(limit, 2)} DN"
    picture = f'<img src="{diverging(one.picture_dn, limit)}" alt="noise of {escape(one.word)}" class="pixels">'
    return f"<figure><h3>{escape(one.word)}</h3>{picture}<figcaption>{escape(text)}</figcaption></figure>"


def _magnified(title: str, uri: str) -> str:
    """A picture and, under it, the place that the magnifier shows."""
    name = escape(title)
    picture = f'<div class="under"><img src="{uri}" alt="{name}" draggable="false"><span class="box"></span></div>'
    return f'<figure><h3>{name}</h3>{picture}<canvas aria-label="{name}, magnified"></canvas></figure>'


def _control(limit_dn: float) -> str:
    """What the colours mean, and how much is magnified."""
    ramp = ",".join("#" + bytes(PALETTE[i]).hex() for i in range(0, 256, 51))
    marks = [f"{sign}{short(limit_dn * share)}" for sign, share in (("−", 1), ("−", 0.25), ("+", 0.25), ("+", 1))]
    ends = "".join(f"<span>{text}</span>" for text in (*marks[:2], "0 DN", *marks[2:]))
    return f"""<div class="control"><p>{HOW_TO}</p>
<label>Magnified width <output>64 px</output><input type="range" min="16" max="160" step="8" value="64"></label>
<label><input type="checkbox" checked> Stretch the magnified part, all three as Real needs it</label>
<p>Colours of the differences go with the square root:</p>
<div class="ramp" style="background:linear-gradient(90deg,{ramp})"></div><div class="ends">{ends}</div></div>"""


def _middle(height: int, width: int, step: int) -> Region:
    """At most LARGEST sensor pixels in the middle of (height, width) plane pixels."""
    sides = [min(length, LARGEST // step) for length in (height, width)]
    rows, columns = (
        slice((length - side) // 2, (length - side) // 2 + side)
        for length, side in zip((height, width), sides, strict=True)
    )
    return Region("whole", rows, columns, True)


def grey_or_colour(picture: Picture) -> str:
    """(H, W) or (H, W, 3) in [0, 1] as a data URI of an 8-bit PNG."""
    return _data_uri(Image.fromarray((np.clip(picture, 0, 1) * 255).round().astype(np.uint8)))


def diverging(picture: Picture, limit: float) -> str:
    """(H, W) from -limit (blue) over 0 (white) to limit (red) as a data URI of a PNG with a palette."""
    index = np.clip((picture / limit + 1) * 127.5, 0, 255).round().astype(np.uint8)
    image = Image.fromarray(index).convert("P")
    image.putpalette(PALETTE.tobytes())
    return _data_uri(image)


def by_root(picture: Picture, limit: float) -> Picture:
    """sign(x) sqrt(|x| / limit): noise in the dark and in the light on one colour scale."""
    return np.asarray(np.sign(picture) * np.sqrt(np.abs(picture) / limit))


def _data_uri(image: Image.Image) -> str:
    stored = io.BytesIO()
    image.save(stored, "PNG", compress_level=9)
    return "data:image/png;base64," + base64.b64encode(stored.getvalue()).decode("ascii")
