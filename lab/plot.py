"""Draw figures, such as the open connections of two runs of the ticket's script."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lab.prove import Result
from overlay.errors import OverlayError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@contextmanager
def figure(file: Path, size: tuple[float, float]) -> Iterator["Figure"]:
    """
    Yield a figure of `size`, in inches, that is then written to an SVG file.

    Raise OverlayError if Matplotlib is missing or the file cannot be written.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError:
        raise OverlayError(
            "Drawing needs Matplotlib: pip install 'django-overlay[plot]'."
        ) from None
    drawn = Figure(figsize=size, layout="constrained")
    yield drawn
    try:
        # The same figures make the same file: no date, no random names.
        with rc_context({"svg.hashsalt": "overlay"}):
            drawn.savefig(file, format="svg", metadata={"Date": None})
    except OSError as error:
        raise OverlayError(f"{file} cannot be written: {error.strerror}.") from None


def draw(results: dict[str, Result], title: str, file: Path) -> None:
    """
    Write a figure of the samples of `results`, by name, to an SVG file.

    See figure() for what is raised.
    """
    with figure(file, (8, 4)) as drawn:
        axes = drawn.subplots()
        for name, result in results.items():
            times, numbers = zip(*result.samples, strict=True)
            (line,) = axes.step(times, numbers, where="post", label=f"{name} Django")
            axes.axvline(result.seconds, color=line.get_color(), linestyle=":")
        axes.set(
            title=f"{title} (dotted: all joined; 1 s later: garbage collection)",
            xlabel="seconds since the first thread started",
            ylabel="open connections",
        )
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend()
