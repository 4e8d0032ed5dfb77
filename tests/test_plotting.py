"""Pictures: what they show is what was computed, and nothing is cut off."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from sklearn.linear_model import BayesianRidge, Ridge
from sklearn.model_selection import LearningCurveDisplay
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_kt import CompositionTokenizer, ImplicitKTRegressor, read_compositions
from sklearn_kt.compositions import ELEMENTS
from sklearn_kt.exceptions import CompositionError, InputError, UnseenElementWarning
from sklearn_kt.explanation import CompositionInteractions
from sklearn_kt.plotting import (
    ConditionDisplay,
    EmbeddingDisplay,
    InteractionDisplay,
    IntervalReliabilityDisplay,
    ParityDisplay,
    StructureDisplay,
    plot_pair_matrix,
    plot_periodic_table,
    plot_training_curve,
    write_explanation,
)
from sklearn_kt.structures import Candidate, PrototypeGenerator

ORANGE, BLUE = "#d55e00", "#0072b2"
KINDS = ("network", "waterfall", "force", "upset")


@pytest.fixture(autouse=True)
def _no_figure_stays() -> Iterator[None]:
    yield
    plt.close("all")


def interactions(
    names: list[str], *, index: str = "k-SII", order: int = 2, formula: str = "X", seed: int = 0
) -> CompositionInteractions:
    """Random values of every interaction."""
    rng = np.random.default_rng(seed)
    values = CompositionInteractions(
        {(): 140.0},
        index=index,
        max_order=order,
        n_players=len(names),
        min_order=0,
        baseline_value=140.0,
        player_names=names,
        formula=formula,
    )
    for subset in values.subsets():
        values.interactions[subset] = float(rng.normal(scale=100))
    return values


def cut_off(figure: Figure) -> float:
    """How far, in inches, anything drawn reaches beyond the page."""
    figure.canvas.draw()
    drawn, page = figure.get_tightbbox(), figure.bbox_inches
    beyond = [page.x0 - drawn.x0, drawn.x1 - page.x1, page.y0 - drawn.y0, drawn.y1 - page.y1]
    return max(0.0, *beyond) if max(beyond) > 0.02 else 0.0


def bars(ax: Axes) -> list[tuple[float, str]]:
    """Lengths and colours of horizontal or vertical bars."""
    sizes = []
    for container in ax.containers:
        sizes += [
            (patch.get_width() if container.orientation == "horizontal" else patch.get_height(), p)
            for patch, p in ((q, to_hex(q.get_facecolor())) for q in container)
        ]
    return sizes


# ---------------------------------------------------------------- one formula

CASES = {
    "single": (["Si"], 1, "Si"),
    "pair": (["Na", "Cl"], 2, "NaCl"),
    "phosphate": (["Li", "Fe", "P", "O"], 3, "LiFePO4"),
    "tokens": (["Fe", "2 (Fe)", "O", "3 (O)"], 2, "Fe2O3"),
    "steel": ([*ELEMENTS[12:26]], 2, "Fe0.62C0.000953Mn0.000521Si0.00102Cr0.00011Ni0.192"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES)
def test_nothing_is_cut_off(case: str, kind: str) -> None:
    names, order, formula = CASES[case]
    values = interactions(names, order=order, formula=formula)
    display = InteractionDisplay(values).plot(kind, label="Seebeck coefficient (µV/K)")
    assert cut_off(display.figure_) == 0


def test_waterfall_steps_from_baseline_to_prediction() -> None:
    values = interactions(["Li", "Fe", "P", "O"])
    ax = InteractionDisplay(values).plot("waterfall", label="gap (eV)").ax_
    shown = bars(ax)
    ordered = sorted((values[s] for s in values.subsets()), key=abs)
    assert [length for length, _ in shown] == pytest.approx(ordered)
    assert all(colour == (ORANGE if length >= 0 else BLUE) for length, colour in shown)
    patches = [patch for container in ax.containers for patch in container]
    assert patches[0].get_x() == pytest.approx(140)
    end = patches[-1].get_x() + patches[-1].get_width()
    assert end == pytest.approx(140 + sum(ordered))
    assert ax.get_yticklabels()[-1].get_text() == values.to_frame()["interaction"][0]
    assert ax.get_xlabel() == "gap (eV)"


def test_small_values_are_joined() -> None:
    values = interactions(["Li", "Fe", "P", "O"])
    ax = InteractionDisplay(values).plot("waterfall", max_display=3).ax_
    total = sum(values[s] for s in values.subsets())
    assert ax.get_yticklabels()[0].get_text() == "8 others"
    assert len(bars(ax)) == 3
    assert sum(length for length, _ in bars(ax)) == pytest.approx(total)


def test_force_bars_meet_at_the_prediction() -> None:
    values = interactions(["Li", "Fe", "O"])
    ax = InteractionDisplay(values).plot("force").ax_
    total = 140 + sum(values[s] for s in values.subsets())
    spans = {to_hex(p.get_facecolor()): [] for p in ax.patches}
    for patch in ax.patches:
        spans[to_hex(patch.get_facecolor())] += patch.get_xy()[:, 0].tolist()
    assert max(spans[ORANGE]) == pytest.approx(total)
    assert min(spans[BLUE]) == pytest.approx(total)
    positive = sum(max(values[s], 0) for s in values.subsets())
    assert max(spans[ORANGE]) - min(spans[ORANGE]) == pytest.approx(positive)


def test_network_draws_strong_values_large() -> None:
    values = interactions(["Li", "Fe", "P", "O"], order=3)
    ax = InteractionDisplay(values).plot("network").ax_
    circles = [patch for patch in ax.patches if isinstance(patch, Circle)]
    strengths = [abs(values[(player,)]) for player in range(4)]
    assert np.argsort([c.radius for c in circles]).tolist() == np.argsort(strengths).tolist()
    pairs = [s for s in values.subsets() if len(s) == 2]
    widths = [line.get_linewidth() for line in ax.lines]
    assert widths == pytest.approx(
        np.array([abs(values[p]) for p in pairs]) * widths[0] / abs(values[pairs[0]])
    )
    colours = [to_hex(line.get_color()) for line in ax.lines]
    assert colours == [ORANGE if values[p] >= 0 else BLUE for p in pairs]
    assert "orders 1 and 2" in ax.get_title()


def test_upset_marks_who_takes_part() -> None:
    values = interactions(["Li", "Fe", "O"], order=3)
    ax = InteractionDisplay(values).plot("upset", max_display=4).ax_
    top = values.to_frame().head(4)
    assert [height for height, _ in bars(ax)] == pytest.approx(top["value"].tolist())
    names = [label.get_text() for label in ax.get_yticklabels(minor=True)]
    rows = dict(zip(ax.get_yticks(minor=True).round(6), names, strict=True))
    dark = [line for line in ax.lines if line.get_color() == "0.2"]
    marked = ["-".join(rows[y] for y in line.get_ydata().round(6)) for line in dark]
    assert marked == top["interaction"].tolist()


def test_values_that_do_not_add_up_are_not_stacked() -> None:
    values = interactions(["Na", "Cl"], index="SII")
    for kind in ("waterfall", "force"):
        with pytest.raises(InputError, match="SII do not add up"):
            InteractionDisplay(values).plot(kind)
    for kind in ("network", "upset"):
        InteractionDisplay(values).plot(kind)


def test_zero_values_have_pictures() -> None:
    values = interactions(["Na", "Cl"])
    values.interactions = {(): 140.0}
    for kind in KINDS:
        assert cut_off(InteractionDisplay(values).plot(kind).figure_) == 0


def test_bad_options() -> None:
    with pytest.raises(InputError, match="kind must be one of 'network'"):
        InteractionDisplay(interactions(["Na"], order=1)).plot("pie")
    with pytest.raises(InputError, match="max_display"):
        InteractionDisplay(interactions(["Na"], order=1)).plot(max_display=0)


def test_estimated_values_say_so() -> None:
    values = interactions(["Na", "Cl"], formula="NaCl2")
    values.estimated = True
    title = InteractionDisplay(values).plot().ax_.get_title()
    assert "k-SII, estimated" in title
    assert "NaCl$_{" in title


def test_from_estimator_passes_options_on() -> None:
    def model(formulas: list[str]) -> list[float]:
        return [float(len(f)) for f in formulas]

    ax = plt.figure().subplots()
    display = InteractionDisplay.from_estimator(
        model, "LiFePO4", kind="upset", index="SV", background=["Li", "Fe", "P", "O"], ax=ax
    )
    assert display.ax_ is ax
    shown = display.values  # noqa: PD011 - not a data frame
    assert shown.index == "SV"
    assert shown.baseline_value == 1.5


@pytest.mark.parametrize("index", ["k-SII", "SII"])
def test_written_picture(tmp_path, index: str) -> None:
    path = write_explanation(interactions(["Na", "Cl"], index=index), tmp_path / "a.png")
    assert plt.imread(path).shape == (780, 1725, 4)
    assert plt.get_fignums() == []


# ---------------------------------------------------------------- data sets


@pytest.fixture
def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "elements": ["Fe", "O", "Na", "Fe-O", "Na-O"],
            "order": [1, 1, 1, 2, 2],
            "count": [3, 5, 2, 3, 2],
            "mean": [1.0, -2.0, 0.5, 0.25, -0.75],
            "mean_abs": [1.0, 2.0, 0.5, 0.25, 0.75],
        }
    )


def cells(ax: Axes) -> dict[str, str]:
    """Colour of each element."""
    return {
        text.get_text(): to_hex(patch.get_facecolor())
        for patch, text in zip(
            ax.patches, [t for t in ax.texts if t.get_text() in ELEMENTS], strict=True
        )
    }


def test_periodic_table(table: pd.DataFrame) -> None:
    ax = plot_periodic_table(table, label="effect (eV)")
    colours = cells(ax)
    assert len(colours) == 118
    # the largest value sets the scale for both signs
    assert colours["O"] == BLUE
    assert colours["Fe"] not in (ORANGE, BLUE, colours["He"])
    assert colours["He"] == colours["U"] == "#ededed"
    assert {"1.00", "−2.00", "0.50"} <= {text.get_text() for text in ax.texts}  # noqa: RUF001
    assert cut_off(ax.figure) == 0
    places = [(p.get_x(), p.get_y()) for p in ax.patches]
    assert len(set(places)) == 118


def test_periodic_table_of_one_sign(table: pd.DataFrame) -> None:
    by_column = cells(plot_periodic_table(table, column="mean_abs"))
    assert by_column["O"] == ORANGE
    by_mapping = cells(plot_periodic_table({"O": 2.0, "Fe": 1.0, "Na": 0.5, "He": float("nan")}))
    assert by_mapping == by_column
    by_series = cells(plot_periodic_table(pd.Series({"O": 2.0, "Fe": 1.0, "Na": 0.5})))
    assert by_series == by_column
    assert cells(plot_periodic_table({"O": 0.0}))["O"] == "#f7f7f7"


@pytest.mark.parametrize("kind", [list, pd.Series, read_compositions])
def test_periodic_table_counts_the_elements_of_formulas(kind: Callable) -> None:
    ax = plot_periodic_table(kind(["Fe2O3", "FeO", "O2", "NaFe3Cl"]))
    shown = [text.get_text() for text in ax.texts]
    counts = {symbol: shown[shown.index(symbol) + 1] for symbol in ("Fe", "O", "Na", "Cl")}
    assert counts == {"Fe": "3", "O": "3", "Na": "1", "Cl": "1"}
    with pytest.raises(CompositionError, match="Xx"):
        plot_periodic_table(["FeO", "Xx"])


def test_periodic_table_of_nothing(table: pd.DataFrame) -> None:
    with pytest.raises(InputError, match="'Xx' is not an element"):
        plot_periodic_table({"Xx": 1.0})
    for nothing in ({}, [], {"Fe": float("nan")}, table[table["order"] == 2]):
        with pytest.raises(InputError, match="no number to show"):
            plot_periodic_table(nothing)
    with pytest.raises(InputError, match="no column 'median'"):
        plot_periodic_table(table, column="median")


def matrix_of(ax: Axes) -> dict[tuple[str, str], float]:
    values = ax.collections[-1].get_array()
    rows = [label.get_text() for label in ax.get_yticklabels()]
    columns = [label.get_text() for label in ax.get_xticklabels()]
    return {
        (rows[i], columns[j]): float(values[i, j])
        for i in range(len(rows))
        for j in range(len(columns))
        if not np.ma.getmaskarray(values)[i, j]
    }


def test_pair_matrix(table: pd.DataFrame) -> None:
    ax = plot_pair_matrix(table, label="interaction (eV)")
    # electropositive first; sodium with iron is nowhere
    assert matrix_of(ax) == {("O", "Na"): -0.75, ("O", "Fe"): 0.25}
    assert [label.get_text() for label in ax.get_xticklabels()] == ["Na", "Fe"]
    assert cut_off(ax.figure) == 0
    assert matrix_of(plot_pair_matrix(table, max_elements=2)) == {("O", "Fe"): 0.25}
    chosen = plot_pair_matrix(table, elements=["O", "Na"], column="mean_abs")
    assert matrix_of(chosen) == {("O", "Na"): 0.75}


def test_large_pair_matrix_is_not_cut_off() -> None:
    chosen = ELEMENTS[:40]
    names = [f"{a}-{b}" for i, a in enumerate(chosen) for b in chosen[:i]]
    table = pd.DataFrame({"elements": names, "order": 2, "count": 1, "mean": 1.0})
    ax = plot_pair_matrix(table, max_elements=40, label="mean interaction (µV/K)")
    assert len(matrix_of(ax)) == 40 * 39 / 2
    assert cut_off(ax.figure) == 0


def test_pair_matrix_without_pairs(table: pd.DataFrame) -> None:
    with pytest.raises(InputError, match="holds no pairs"):
        plot_pair_matrix(table[table["order"] == 1])
    with pytest.raises(InputError, match="holds no pairs"):
        plot_pair_matrix(table, elements=["Na", "Fe"])
    with pytest.raises(InputError, match="no column 'count'"):
        plot_pair_matrix(table.drop(columns="count"))


# ---------------------------------------------------------------- predictions


@pytest.fixture
def noisy() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=2000)
    std = rng.uniform(0.5, 1.5, size=2000)
    return truth, truth + std * rng.normal(size=2000), std


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["parity", "residuals"])
@pytest.mark.parametrize("n_rows", [1, 100, 1000, 2000])
@pytest.mark.parametrize("uncertain", [False, True])
def test_parity(noisy, kind: str, n_rows: int, uncertain: bool) -> None:
    truth, predicted, std = (array[:n_rows] for array in noisy)
    display = ParityDisplay.from_predictions(
        truth, predicted, std=std if uncertain else None, kind=kind, label="gap (eV)"
    )
    ax = display.ax_
    assert cut_off(display.figure_) == 0
    assert ax.get_title().startswith(f"MAE {np.abs(predicted - truth).mean():.3g}")
    x, y = (truth, predicted) if kind == "parity" else (predicted, predicted - truth)
    if n_rows == 1000:
        points = ax.collections[0].get_offsets()
        assert sorted(points.tolist()) == sorted(np.column_stack([x, y]).tolist())
    # every dot is within the limits
    low, high = ax.get_xlim()
    assert low <= x.min()
    assert x.max() <= high
    low, high = ax.get_ylim()
    assert low <= y.min()
    assert y.max() <= high


def test_parity_of_an_estimator() -> None:
    X, y = ["NaCl", "MgO", "Si", "Fe2O3"], np.array([8.5, 7.8, 1.1, 2.2])
    model = make_pipeline(CompositionTokenizer("fraction"), Ridge()).fit(X, y)
    display = ParityDisplay.from_estimator(model, X, y)
    assert display.std is None
    assert display.y_pred == pytest.approx(model.predict(X))
    # uncertainties need inner folds, and those some rows
    X, y = [f"{a}{n}Cl" for a in ("Na", "K", "Li") for n in range(1, 9)], np.arange(24.0)
    networks = ImplicitKTRegressor(
        None, backbone="tiny", readout="head", n_estimators=2, max_epochs=2, random_state=0
    ).fit(X, y)
    std = networks.predict(X, return_std=True)[1]
    certain = ParityDisplay.from_estimator(networks, X, y, return_std=True, kind="residuals")
    assert certain.std == pytest.approx(std)


def test_reliability_of_intervals_that_a_model_gives() -> None:
    X, y = [f"{a}{n}Cl" for a in ("Na", "K", "Li") for n in range(1, 9)], np.arange(24.0)
    model = ImplicitKTRegressor(readout="fast", random_state=0).fit(X, y)
    reliable = IntervalReliabilityDisplay.from_estimator(model, X, y, name="fast")
    assert "fast" in reliable.ax_.get_legend().get_texts()[0].get_text()
    at = reliable.expected.tolist().index(0.9)
    low, high = model.predict_interval(X, coverage=0.9).T
    assert reliable.observed[at] == np.mean((low <= y) & (y <= high))
    assert reliable.observed[[0, -1]].tolist() == [0, 1]
    piped = make_pipeline(FunctionTransformer(), model)
    again = IntervalReliabilityDisplay.from_estimator(piped, X, y)
    assert again.observed.tolist() == reliable.observed.tolist()
    # of ten predictions one tells
    with pytest.warns(UnseenElementWarning) as told:
        IntervalReliabilityDisplay.from_estimator(model, ["AgCl", "NaCl"], [1.0, 2.0])
    assert len(told) == 1
    with pytest.raises(InputError, match=r"y_pred must be one number per row.*\(3,\)"):
        IntervalReliabilityDisplay.from_estimator(model, X, y[:3])
    with pytest.raises(InputError, match="Ridge gives neither intervals nor standard deviations"):
        IntervalReliabilityDisplay.from_estimator(Ridge(), X, y)


def test_reliability_of_a_model_without_intervals() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 1))
    y = X[:, 0] + rng.normal(size=60)
    model = BayesianRidge().fit(X, y)
    display = IntervalReliabilityDisplay.from_estimator(model, X, y)
    read = IntervalReliabilityDisplay.from_predictions(y, *model.predict(X, return_std=True))
    assert display.observed.tolist() == read.observed.tolist()
    assert len(display.expected) == 101


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (([1.0], [1.0, 2.0], None), r"y_pred must be one number per row.*\(2,\) beside \(1,\)"),
        (([], [], None), "y_true must be"),
        (([[1.0]], [[1.0]], None), "y_true must be"),
        (([1.0, 2.0], [1.0, float("nan")], None), "row 1 of y_pred is nan"),
        (([1.0], [1.0], [-0.1]), "must not be negative"),
        (([1.0], [1.0], [0.1, 0.2]), "std must be"),
    ],
)
def test_bad_predictions(arrays, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ParityDisplay(*arrays)


def test_bad_kind() -> None:
    with pytest.raises(InputError, match="'parity' or 'residuals'"):
        ParityDisplay([1.0], [1.0]).plot("scatter")


def test_reliability_of_honest_intervals(noisy) -> None:
    honest = IntervalReliabilityDisplay.from_predictions(*noisy)
    assert honest.miscalibration_area_ < 0.03
    assert honest.observed[[0, -1]] == pytest.approx([0, 1])
    assert (np.diff(honest.observed) >= 0).all()
    truth, predicted, std = noisy
    bold = IntervalReliabilityDisplay.from_predictions(truth, predicted, std / 3)
    timid = IntervalReliabilityDisplay.from_predictions(truth, predicted, std * 3)
    assert (bold.observed[10:-1] < bold.expected[10:-1]).all()
    assert (timid.observed[10:-1] > timid.expected[10:-1]).all()
    # two models on the same axes
    bold.plot(name="bold", ax=honest.ax_)
    labels = [text.get_text() for text in honest.ax_.get_legend().get_texts()]
    assert [label.split()[0] for label in labels] == ["model", "bold"]
    colours = {line.get_color() for line in honest.ax_.lines[1:]}
    assert len(colours) == 2
    assert cut_off(honest.figure_) == 0


def test_reliability_of_certain_predictions() -> None:
    right = IntervalReliabilityDisplay.from_predictions([1.0, 2.0], [1.0, 2.0], [0.0, 0.0])
    assert right.observed.tolist() == [1.0] * 101
    wrong = IntervalReliabilityDisplay.from_predictions([1.0, 2.0], [2.0, 3.0], [0.0, 0.0])
    assert wrong.observed.tolist() == [0.0] * 100 + [1.0]
    with pytest.raises(InputError, match="expected must rise"):
        IntervalReliabilityDisplay([0, 1, 0.5], [0, 1, 1], 2)
    with pytest.raises(InputError, match="a share for each of its levels"):
        IntervalReliabilityDisplay([0, 1], [0], 2)
    with pytest.raises(InputError, match="std is needed"):
        IntervalReliabilityDisplay.from_predictions([1.0], [1.0], None)


# ---------------------------------------------------------------- training and embeddings


def test_training_curve() -> None:
    X, y = ["NaCl", "MgO", "Si", "Fe2O3"] * 5, np.arange(20.0)
    model = ImplicitKTRegressor(
        None,
        backbone="tiny",
        readout="head",
        n_estimators=2,
        max_epochs=3,
        early_stopping=True,
        random_state=0,
    ).fit(X, y)
    ax = plot_training_curve(model)
    assert len(ax.lines) == 4
    first = model.history_[0]
    assert ax.lines[0].get_ydata() == pytest.approx([epoch["train_loss"] for epoch in first])
    assert ax.lines[2].get_ydata() == pytest.approx([epoch["valid_loss"] for epoch in first])
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == ["training", "validation"]
    assert cut_off(ax.figure) == 0
    for untrained in (ImplicitKTRegressor(), Ridge()):
        with pytest.raises(InputError, match="no training curve"):
            plot_training_curve(untrained)


def test_learning_curves_are_those_of_scikit_learn() -> None:
    X = np.array(["NaCl", "MgO", "Si", "Fe2O3", "KCl", "CaO", "Ge", "FeO"] * 2, dtype=object)
    model = ImplicitKTRegressor(
        None, backbone="tiny", readout="head", n_estimators=1, max_epochs=1, random_state=0
    )
    display = LearningCurveDisplay.from_estimator(
        model, X, np.arange(16.0), cv=2, train_sizes=[4, 8], scoring="neg_mean_absolute_error"
    )
    assert display.test_scores.shape == (2, 2)
    assert np.isfinite(display.test_scores).all()


class Lookup:
    """Transformer of two dimensions beside a constant one."""

    def transform(self, X) -> np.ndarray:
        rng = np.random.default_rng(0)
        return np.column_stack([rng.normal(size=(len(X), 2)) * [5, 1], np.ones(len(X))])


def test_map_keeps_the_distances_that_two_dimensions_hold() -> None:
    X = [f"Na{i}Cl" for i in range(1, 31)]
    display = EmbeddingDisplay.from_estimator(Lookup(), X, np.arange(30.0), label="gap (eV)")
    truth = Lookup().transform(X)
    before = np.linalg.norm(truth[:, None] - truth, axis=-1)
    after = np.linalg.norm(display.points[:, None] - display.points, axis=-1)
    assert after == pytest.approx(before)
    assert display.ax_.get_xlabel().startswith("component 1 (9")
    assert cut_off(display.figure_) == 0


def test_map_by_neighbours_is_reproducible() -> None:
    X = [f"Na{i}Cl" for i in range(1, 13)]
    maps = [
        EmbeddingDisplay.from_estimator(Lookup(), X, method="tsne", random_state=0).points
        for _ in range(2)
    ]
    assert np.array_equal(*maps)
    assert maps[0].shape == (12, 2)


def test_map_of_labels() -> None:
    points = np.arange(14.0).reshape(7, 2)
    display = EmbeddingDisplay(points, list("abcdefg")).plot(label="kind")
    names = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert names == list("abcdefg")
    assert len({to_hex(c.get_facecolor()[0]) for c in display.ax_.collections}) == 7
    assert cut_off(display.figure_) == 0
    with pytest.raises(InputError, match="y has 8 labels, but there are 7 colours"):
        EmbeddingDisplay(np.zeros((8, 2)), list("abcdefgh")).plot()


def test_bad_maps() -> None:
    with pytest.raises(InputError, match=r"\(n_samples, 2\), got \(3, 3\)"):
        EmbeddingDisplay(np.zeros((3, 3)))
    with pytest.raises(InputError, match="'pca' or 'tsne'"):
        EmbeddingDisplay.from_estimator(Lookup(), ["Na"] * 3, method="umap")
    with pytest.raises(InputError, match="at least 3 compositions, got 2"):
        EmbeddingDisplay.from_estimator(Lookup(), ["NaCl", "KCl"])
    with pytest.raises(ValueError, match="inconsistent"):
        EmbeddingDisplay(np.zeros((3, 2)), [1.0])


# ---------------------------------------------------------------- crystals


def rock_salt(shear: float = 0.0) -> Candidate:
    """Eight atoms: four on corners and faces, four on edges and the centre."""
    coords = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]], float)
    lattice = 5.6 * np.eye(3)
    lattice[1, 0] = shear
    return Candidate(
        lattice,
        np.repeat([11, 17], 4),
        np.vstack([coords, (coords + np.array([0.5, 0, 0])) % 1]),
        0.25,
    )


def test_crystals_are_drawn_to_scale_with_their_boundary_atoms() -> None:
    display = StructureDisplay([rock_salt()]).plot()
    [ax] = display.axes_
    discs = [(patch, to_hex(patch.get_facecolor())) for patch in ax.patches]
    # 8 corners and 6 faces; 12 edges and the centre
    colours = [colour for _, colour in discs]
    assert sorted(colours.count(colour) for colour in set(colours)) == [13, 14]
    sodium, chlorine = ({d.radius for d, c in discs if colours.count(c) == n} for n in (14, 13))
    assert len(sodium) == len(chlorine) == 1
    assert min(sodium) > max(chlorine)
    # from the centre 6, from each of the 12 edges 4
    assert len(ax.collections) == 6 + 12 * 4
    assert len(ax.lines) == 12
    lengths = [np.hypot(*np.ptp(line.get_xydata(), axis=0)) for line in ax.lines]
    assert max(lengths) <= 5.6 + 1e-9
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["Na", "Cl"]
    assert ax.get_title() == "NaCl, Fm$\\bar{3}$m\nscore 0.25"
    assert cut_off(display.figure_) == 0


@pytest.mark.parametrize("formula", ["BaTiO3", "LiFePO4", "C"])
def test_proposed_crystals_are_drawn(formula: str) -> None:
    display = StructureDisplay.from_estimator(PrototypeGenerator(), formula, n_candidates=2)
    assert len(display.axes_) == 2
    assert "a known crystal" in display.axes_[0].get_title()
    assert cut_off(display.figure_) == 0
    # nearer atoms are drawn later; no two on one place
    for ax in display.axes_:
        orders = [patch.get_zorder() for patch in ax.patches]
        assert len(set(orders)) == len(orders)


def test_atoms_have_one_size_in_all_pictures() -> None:
    small, large = rock_salt(), rock_salt()
    large = replace(large, lattice=2 * large.lattice)
    display = StructureDisplay([small, large]).plot()
    display.figure_.draw_without_rendering()
    scales = [ax.transData.get_matrix()[0, 0] for ax in display.axes_]
    assert scales[0] == pytest.approx(scales[1])


def test_an_atom_far_from_others_has_no_bond() -> None:
    lone = Candidate(9 * np.eye(3), np.array([10]), np.zeros((1, 3)), 1.0)
    [ax] = StructureDisplay([lone]).plot().axes_
    assert len(ax.patches) == 8
    assert not ax.collections


def test_substituted_crystals_name_what_they_are_like() -> None:
    display = StructureDisplay.from_estimator(PrototypeGenerator(), "Na3Bi", n_candidates=4)
    titles = [ax.get_title() for ax in display.axes_]
    assert any("after Na" in title and "score 0." in title for title in titles)
    assert all("(mp-" in title or "(oqmd-icsd-" in title for title in titles)
    [salt] = StructureDisplay.from_estimator(PrototypeGenerator(), "NaCl", n_candidates=1).axes_
    known = "a known crystal (mp-22862)\n0.000 eV/atom above the hull"
    assert salt.get_title().partition("\n")[2] == known


def test_bad_crystals() -> None:
    with pytest.raises(InputError, match="no candidates to draw"):
        StructureDisplay([]).plot()
    with pytest.raises(InputError, match="2 crystals need 2 axes, got 1"):
        StructureDisplay([rock_salt()] * 2).plot(axes=[Figure().subplots()])
    with pytest.raises(InputError, match="no crystal for Og1Ts1"):
        StructureDisplay.from_estimator(PrototypeGenerator(), "Og1Ts1")


def test_given_axes_make_no_figure(noisy, table: pd.DataFrame) -> None:
    truth, predicted, std = noisy
    ax = Figure(layout="constrained").subplots()
    for kind in KINDS:
        InteractionDisplay(interactions(["Na", "Cl"])).plot(kind, ax=Figure().subplots())
    ParityDisplay(truth, predicted, std).plot(ax=ax)
    IntervalReliabilityDisplay([0, 0.9, 1], [0, 0.8, 1], 50).plot(ax=Figure().subplots())
    plot_periodic_table(table, ax=Figure().subplots())
    plot_pair_matrix(table, ax=Figure().subplots())
    EmbeddingDisplay(np.zeros((3, 2))).plot(ax=Figure().subplots())
    StructureDisplay([rock_salt(1.0)]).plot(axes=[Figure().subplots()])
    assert plt.get_fignums() == []


# --- conditions --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def measured() -> tuple[pd.DataFrame, np.ndarray]:
    formulas = ["NaCl", "KCl", "MgO", "CaO", "GaAs", "Si", "PbTe", "SnSe", "ZnO", "TiO2", "Al2O3"]
    formulas += ["SiO2", "InP", "CdS"]
    table = pd.DataFrame(
        {
            "material": formulas * 2,
            "temperature": np.repeat([300.0, 600.0], 14),
            "route": ["cast", "SPS", "cast", "cast"] * 7,
        }
    )
    return table, table["temperature"].to_numpy() / 100


def test_property_against_a_condition(measured: tuple[pd.DataFrame, np.ndarray]) -> None:
    X, y = measured
    model = ImplicitKTRegressor(None, readout="fast", random_state=0).fit(X, y)
    display = ConditionDisplay.from_estimator(
        model, ["PbTe", "MgO"], "temperature", measured=measured, label="S (µV/K)"
    )
    lines = display.ax_.get_lines()
    assert [line.get_linestyle() for line in lines] == ["-", "None"] * 2
    np.testing.assert_allclose(lines[0].get_xdata()[[0, -1]], [300, 600])
    assert sorted(lines[1].get_xdata()) == [300, 600]
    rows = pd.DataFrame({"material": "PbTe", "temperature": [300.0, 600.0], "route": "cast"})
    np.testing.assert_allclose(lines[0].get_ydata()[[0, -1]], model.predict(rows))
    low, high = model.predict_interval(rows, 0.9).T
    np.testing.assert_allclose(display.intervals[0, [0, -1]], np.column_stack([low, high]))
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("temperature", "S (µV/K)")
    other = ConditionDisplay.from_estimator(
        model, ["PbTe"], "temperature", values=[450], others={"route": "SPS"}, coverage=None
    )
    expected = model.predict(rows[:1].assign(temperature=450.0, route="SPS"))
    np.testing.assert_allclose(other.predictions[0], expected)
    for arguments, message in [
        ((["PbTe"], "route"), "no condition 'route' that is a number; it has 'temperature'"),
        (("PbTe", "temperature"), "must be a list of formulas"),
    ]:
        with pytest.raises(InputError, match=message):
            ConditionDisplay.from_estimator(model, *arguments)
    # inside others, too
    given = (["PbTe"], "temperature")
    inside = ConditionDisplay.from_estimator(make_pipeline(model), *given)
    np.testing.assert_allclose(inside.intervals, display.intervals[:1])

    class Around:
        def __init__(self) -> None:
            self.model_ = model

        def predict(self, X: pd.DataFrame) -> np.ndarray:
            return self.model_.predict(X)

    inside = ConditionDisplay.from_estimator(Around(), *given, coverage=None)
    np.testing.assert_allclose(inside.predictions, display.predictions[:1])
    with pytest.raises(InputError, match="gives no intervals; pass coverage=None"):
        ConditionDisplay.from_estimator(Around(), *given)
    with pytest.raises(InputError, match="need predictions of shape"):
        ConditionDisplay([1, 2], [[1.0]], ["PbTe"])


def test_measured_points_of_any_table() -> None:
    polars = pytest.importorskip("polars")
    display = ConditionDisplay([300, 600], [[1.0, 2.0]], ["PbTe"], condition="t")
    table = {"t": [300.0, 400.0], "formula": ["PbTe", "MgO"]}
    for X in (polars.DataFrame(table), pd.DataFrame(table)):
        points = display.plot(measured=(X, [1.0, 2.0])).ax_.get_lines()[1]
        assert points.get_xdata() == [300]
    with pytest.raises(InputError, match="must hold a table and its targets, got list"):
        display.plot(measured=(["PbTe"], [1.0]))
