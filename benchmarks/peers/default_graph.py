"""The same work as a Dagster graph with what Dagster has by default: pickles between the assets, a process per step.

``dagster asset materialize -f default_graph.py --select "*"`` makes all tables below ``DAGSTER_HOME``, of the file that
``DEFAULT_GRAPH_INPUT`` names. Inside the steps is pandas, as in ``pandas_script.py``.

``python default_graph.py DAGSTER_HOME OUTPUT_FOLDER DAY`` writes what was made as Parquet files, to be compared.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # in a step's process this file is loaded by its path

import dagster as dg  # noqa: TID251 a graph of its own
import pandas as pd
import pandas_script as script


@dg.asset
def bronze() -> pd.DataFrame:
    """Every record as text, with where it came from."""
    return script.bronze(Path(os.environ["DEFAULT_GRAPH_INPUT"]))


@dg.multi_asset(outs={"silver": dg.AssetOut(), "rejected": dg.AssetOut()})
def events_cleaned(bronze: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Typed rows, and apart from them those that break a rule."""
    return script.silver(bronze)


@dg.asset
def user_days(silver: pd.DataFrame) -> pd.DataFrame:
    """A row per user and date."""
    return script.user_days(silver)


@dg.asset
def user_totals(user_days: pd.DataFrame) -> pd.DataFrame:
    """A row per user."""
    return script.user_totals(user_days)


def _of_gold(name: str, table: Callable[[pd.DataFrame], pd.DataFrame], of: str) -> dg.AssetsDefinition:
    @dg.asset(name=name, ins={"source": dg.AssetIn("silver" if of == "events" else of)}, description=table.__doc__)
    def made(source: pd.DataFrame) -> pd.DataFrame:
        return table(source)

    return made


defs = dg.Definitions(
    assets=[
        *(bronze, events_cleaned, user_days, user_totals),
        *(_of_gold(name, table, of) for name, (table, of) in script.GOLD.items()),
    ]
)


def export(home: Path, out: Path, day: date) -> None:
    """Write what was made, and ``user_journeys``, as the other scripts do."""

    def made(name: str) -> pd.DataFrame:
        found: pd.DataFrame = pickle.loads((home / "storage" / name).read_bytes())  # noqa: S301 made just now
        return found

    for layer in ("bronze", "silver", "rejected"):
        script.write(made(layer), script.day_file(out, layer, day))
    for name in script.GOLD:
        script.write(made(name), out / "gold" / f"{name}.parquet")
    script.write(script.user_journeys(made("silver")), out / "gold" / "user_journeys.parquet")


if __name__ == "__main__":
    export(Path(sys.argv[1]), Path(sys.argv[2]), date.fromisoformat(sys.argv[3]))
