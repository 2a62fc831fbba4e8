"""The pictures of a study as files."""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from hephaestus_dag.scaling import figure, mixture_figure
from hephaestus_dag.scaling.study import Study


def draw(found: Study, folder: Path) -> None:
    """Write ``ratio.png``, ``flops.png``, ``optimum.png`` and ``residuals.png``.

    Where the mixtures do not lie on a line there is no one ratio: then ``ratio.png`` has a panel for each domain, ``flops.png``
    no power law per ratio, and ``optimum.png`` the best share of each domain.
    """
    views = mixture_figure if found.axis is None else figure
    _save(views.ratio_figure(found), folder / "ratio.png")
    _save(views.flops_figure(found), folder / "flops.png")
    _save(views.optimum_figure(found), folder / "optimum.png")
    _save(figure.residual_figure(found), folder / "residuals.png")


def _save(picture: Figure, path: Path) -> None:
    """Write a PNG with a palette: a third of the size, and its bytes depend on the picture alone."""
    canvas = FigureCanvasAgg(picture)
    canvas.draw()
    pixels = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    pixels.quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)
