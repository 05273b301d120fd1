"""compare_plot.py: the plot of compare_cuda.py: a panel for each shape, µs over M, both logarithmic."""
import importlib.util

OURS = {"w4g128": "#0b6e4f", "w4g32": "#4fb286", "w4g128z": "#8dbf2e", "w4g32z": "#c2d96b", "w8": "#1f5fa8",
        "w8g128": "#6ea6dd", "f16": "#7a4ea3"}
PEERS = {"cublas": "#d1495b", "tinygemm": "#e08e2b", "gemlite": "#8a8a8a"}


def available():
    return importlib.util.find_spec("matplotlib") is not None


def style(name):
    if name in PEERS:
        return {"color": PEERS[name], "linestyle": "--", "linewidth": 1.6, "marker": "s", "markersize": 3}
    return {"color": OURS[name], "linewidth": 2.2 if name == "w4g128" else 1.4, "marker": "o",
            "markersize": 3.5, "zorder": 3}


def plain(value, _position):
    return f"{value:g}"


def draw_panel(axes, shape, ticker):
    for name, label in shape["columns"].items():
        points = [(row["m"], row["us"][name]) for row in shape["rows"] if name in row["us"]]
        if points:
            axes.plot(*zip(*points), label=label, **style(name))
    rows = [row["m"] for row in shape["rows"]]
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(rows, [str(m) for m in rows], fontsize=7, rotation=45)
    axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(plain))
    axes.yaxis.set_minor_formatter(ticker.NullFormatter())
    axes.tick_params(which="both", labelsize=7, color="#bbbbbb")
    axes.grid(True, which="major", color="#e4e4e4", linewidth=0.7)
    axes.set_xlabel("M, rows of X", fontsize=8)
    axes.set_title(f"{shape['n']} × {shape['k']}", fontsize=10, loc="left")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def draw(result, file):
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    shapes = [s for s in result["shapes"] if s["rows"]]
    columns = min(4, max(1, len(shapes)))
    lines = max(1, -(-len(shapes) // columns))
    figure, panels = pyplot.subplots(lines, columns, figsize=(1 + 3.6 * columns, 1.2 + 3.1 * lines), squeeze=False,
                                     layout="constrained")
    panels = panels.ravel()
    for axes, shape in zip(panels, shapes):
        draw_panel(axes, shape, ticker)
    for axes in panels[len(shapes):]:
        axes.set_visible(False)
    legend = {}
    for axes in panels[:len(shapes)]:
        legend.update(zip(axes.get_legend_handles_labels()[1], axes.get_legend_handles_labels()[0]))
    figure.supylabel("µs a product", fontsize=9)
    device = result["device"]
    figure.suptitle(f"{device['name']}, {device['driver']}: medians, weights from memory", fontsize=11)
    figure.legend(legend.values(), legend.keys(), loc="outside lower center", ncols=5, frameon=False, fontsize=8)
    figure.savefig(file, dpi=160)
    pyplot.close(figure)
