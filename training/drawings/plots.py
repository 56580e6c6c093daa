"""Figures as Matplotlib draws them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from training.drawings.canvas import clouds
from training.drawings.style import (
    Random,
    between,
)
from training.drawings.typography import (
    SANS,
    Font,
    title,
)


@lru_cache
def _plot_fonts() -> tuple[str, ...]:
    from matplotlib import font_manager

    names = ["DejaVu Sans", "DejaVu Serif", "STIXGeneral"]
    for family in ("roboto", "lato"):
        path = Font(SANS[family], "regular", 10).face.path
        font_manager.fontManager.addfont(str(path))
        names.append(font_manager.FontProperties(fname=str(path)).get_name())
    return tuple(names)


def plot(random: Random, height: int, width: int) -> np.ndarray:
    """A figure as scientists and offices make them: lines, bars, points, heat maps, contours, pies, boxes."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.style import context

    dpi = float(random.choice([72, 90, 110, 140]))
    style = (
        "dark_background"
        if random.random() < 0.2
        else str(
            random.choice(
                ["default", "ggplot", "bmh", "seaborn-v0_8-whitegrid", "seaborn-v0_8-darkgrid", "classic"]
            )
        )
    )
    settings: Any = {"font.family": str(random.choice(_plot_fonts())), "font.size": random.uniform(7, 12)}
    with context(style), rc_context(settings):
        figure = Figure((width / dpi, height / dpi), dpi=dpi, layout="constrained")
        surface = FigureCanvasAgg(figure)
        rows, columns = [(1, 1), (1, 1), (2, 1), (2, 2), (1, 2)][
            random.integers(5 if min(height, width) / dpi > 4 else 2)
        ]
        for axes in np.atleast_1d(figure.subplots(rows, columns)).ravel():
            _axes(random, axes)
        if random.random() < 0.3:
            figure.suptitle(title(random, "english", 2, 4))
        surface.draw()
        return np.ascontiguousarray(np.asarray(surface.buffer_rgba())[:height, :width, :3])


def _axes(random: Random, axes: Any) -> None:
    """Draw one of eight sorts of plots, with its names."""
    what, count = random.integers(8), between(random, 8, 60)
    x = np.linspace(0, float(random.choice([1, 5, 10, 100])), count)
    names = [title(random, "english", 1, 1) for _ in range(6)]
    maps = ["viridis", "plasma", "magma", "coolwarm", "Blues", "jet", "Greys", "RdYlGn"]
    if what < 3:
        for k in range(between(random, 1, 5)):
            y = (
                np.cumsum(random.normal(size=count))
                if random.random() < 0.5
                else np.exp(-x / x[-1] * (k + 1)) * (k + 2)
            )
            marker = random.choice(["", "", "o", "s", "^", "x"])
            axes.plot(x, y, random.choice(["-", "-", "--", ":"]), marker=marker, label=names[k],
                      linewidth=random.uniform(0.7, 2.5), markersize=random.uniform(2, 6))  # fmt: skip
            if random.random() < 0.2:
                axes.fill_between(x, y - 0.5, y + 0.5, alpha=0.25)
        axes.legend(fontsize="small")
    elif what == 3:
        groups = between(random, 1, 3)
        for k in range(groups):
            edge = "black" if random.random() < 0.4 else None
            axes.bar(np.arange(6) + 0.8 * k / groups, random.gamma(3, 2, 6), 0.8 / groups, label=names[k],
                     hatch=random.choice(["", "", "//", ".."]), edgecolor=edge)  # fmt: skip
        axes.set_xticks(np.arange(6), names, rotation=random.choice([0, 30, 90]), fontsize="small")
        if groups > 1:
            axes.legend(fontsize="small")
    elif what == 4:
        for k in range(between(random, 1, 4)):
            points = random.normal(random.normal(size=2) * 2, 1, (between(random, 20, 200), 2))
            axes.scatter(*points.T, s=random.uniform(4, 40), alpha=random.uniform(0.4, 1), label=names[k])
        axes.legend(fontsize="small")
    elif what == 5:
        side = between(random, 4, 14)
        values = random.normal(size=(side, side))
        image = axes.imshow(values, cmap=str(random.choice(maps)), aspect="auto", interpolation="nearest")
        if side < 8:
            for (row, column), value in np.ndenumerate(values):
                axes.text(column, row, f"{value:.1f}", ha="center", va="center", fontsize="small")
        axes.figure.colorbar(image, ax=axes)
    elif what == 6:
        draw_contours = axes.contourf if random.random() < 0.5 else axes.contour
        draw_contours(
            clouds(random, 40, 40, 0.35), levels=between(random, 5, 14), cmap=str(random.choice(maps))
        )
    elif random.random() < 0.5:
        axes.pie(random.gamma(2, 1, 5) + 0.3, labels=names[:5], autopct="%.0f%%")
        return
    else:
        axes.boxplot([random.normal(k % 3, 1, 40) for k in range(5)])
    if random.random() < 0.6:
        axes.grid(alpha=random.uniform(0.2, 1), linestyle=str(random.choice(["-", "--", ":"])))
    axes.set_xlabel(title(random, "english", 1, 2))
    axes.set_ylabel(title(random, "english", 1, 2))
    if random.random() < 0.6:
        axes.set_title(title(random, "english", 1, 4))
