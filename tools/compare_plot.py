"""compare_plot.py: the plots of compare_cuda.py and compare_cpu.py: panels for shapes, over M, both logarithmic."""
import collections
import importlib.util

OURS = {"w4g128": "#0b6e4f", "w4g32": "#4fb286", "w4g128z": "#8dbf2e", "w4g32z": "#c2d96b", "w8": "#1f5fa8",
        "w8g128": "#6ea6dd", "f16": "#7a4ea3"}
PEERS = {"cublas": "#d1495b", "tinygemm": "#e08e2b", "gemlite": "#8a8a8a", "ort-float": "#d1495b",
         "ort-int8": "#e08e2b", "torch-bf16": "#7a4ea3", "torch-int4": "#8a8a8a", "ort-w8": "#1f5fa8"}

# What a panel shows: row[key][name] ÷ unit. level: where a line goes through the panel, or None.
Quantity = collections.namedtuple("Quantity", "key label unit level")
MICROSECONDS = Quantity("us", "µs a product", 1, None)
MILLISECONDS = Quantity("us", "ms a product", 1000, None)
RATIO = Quantity("ratio", "time ÷ woq's; above 1 woq is faster", 1, 1)


def available():
    return importlib.util.find_spec("matplotlib") is not None


def style(name):
    if name in PEERS:
        return {"color": PEERS[name], "linestyle": "--", "linewidth": 1.6, "marker": "s", "markersize": 3}
    return {"color": OURS[name], "linewidth": 2.2 if name == "w4g128" else 1.4, "marker": "o",
            "markersize": 3.5, "zorder": 3}


def plain(value, _position):
    return f"{value:g}"


def draw_panel(axes, shape, quantity, ticker):
    for name, label in shape["columns"].items():
        points = [(row["m"], row[quantity.key][name] / quantity.unit) for row in shape["rows"]
                  if name in row[quantity.key]]
        if points:
            axes.plot(*zip(*points), label=label, **style(name))
    if quantity.level is not None:
        axes.axhline(quantity.level, color="#444444", linewidth=0.9, zorder=1)
    rows = [row["m"] for row in shape["rows"]]
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(rows, [str(m) for m in rows], fontsize=7, rotation=45)
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(plain))
    axes.yaxis.set_minor_formatter(ticker.NullFormatter())
    axes.tick_params(which="both", labelsize=7, color="#bbbbbb")
    axes.grid(True, which="major", color="#e4e4e4", linewidth=0.7)
    axes.set_xlabel("M, rows of X", fontsize=8)
    axes.set_title(f"{shape['n']} × {shape['k']}", fontsize=10, loc="left")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def lay_out(shapes, quantities):
    """Lines and columns of panels, and what each shows: a shape's quantities are below each other."""
    panels = [(shape, quantity) for quantity in quantities for shape in shapes]
    columns = max(1, len(shapes) if len(quantities) > 1 else min(4, len(shapes)))
    return max(1, -(-len(panels) // columns)), columns, panels


def draw(result, file, quantities, note):
    """result: what --json writes. note: how it was measured, for the title."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    lines, columns, contents = lay_out([s for s in result["shapes"] if s["rows"]], quantities)
    figure, panels = pyplot.subplots(lines, columns, figsize=(1 + 3.6 * columns, 1.2 + 3.1 * lines), squeeze=False,
                                     layout="constrained")
    legend = {}
    for at, (axes, (shape, quantity)) in enumerate(zip(panels.ravel(), contents)):
        draw_panel(axes, shape, quantity, ticker)
        if at % columns == 0:
            axes.set_ylabel(quantity.label, fontsize=9)
        for handle, label in zip(*axes.get_legend_handles_labels()):
            legend.setdefault(label, handle)
    for axes in panels.ravel()[len(contents):]:
        axes.set_visible(False)
    device = result["device"]
    title = f"{device['name']}, {device['driver']}"
    title += f": {note}" if columns > 1 else f"\n{note}"
    figure.suptitle(title, fontsize=11 if columns > 1 else 8)
    figure.legend(legend.values(), legend.keys(), loc="outside lower center", ncols=5 if columns > 1 else 2,
                  frameon=False, fontsize=8)
    figure.savefig(file, dpi=160)
    pyplot.close(figure)
