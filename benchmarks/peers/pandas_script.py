"""The same work as a plain pandas script: bronze, silver and gold of one CSV file, in memory.

``python pandas_script.py INPUT.csv OUTPUT_FOLDER`` prints one JSON line with the seconds of each phase. The day is the
``ingestion_date=…`` folder that the input lies in. ``--journeys`` also writes ``user_journeys``, untimed: it is a view
where it is compared with.

Money is counted in cents while it is added up: pandas has no exact decimals of its own, and Arrow's, which the files
have, it cannot group.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

COLUMNS = ["UserID", "SessionID", "Timestamp", "EventType", "ProductID", "Amount", "Outcome"]
NAMES_A_PRODUCT = ("product_view", "add_to_cart", "purchase")
LARGEST = 999_999_999_999  # cents
TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?"
OFFSET = r"(?:Z|[+-]\d\d:\d\d)$"
NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,2})?"
TEXT, DATE = "string[pyarrow]", "date32[pyarrow]"

#: what silver has
ACCEPTED = [
    "event_id", "user_id", "session_id", "event_timestamp", "event_date", "event_type", "product_id", "amount",
    "outcome", "source_file", "record_number", "processed_at",
]  # fmt: skip


def bronze(source: Path) -> pd.DataFrame:
    """Every record as text, with where it came from."""
    with source.open("rb") as content:
        content_hash = hashlib.file_digest(content, "sha256").hexdigest()
    rows = pd.read_csv(source, usecols=COLUMNS, dtype=TEXT, keep_default_na=False)
    return rows.assign(
        record_number=np.arange(1, len(rows) + 1),
        ingestion_timestamp=datetime.now(UTC),
        source_file=source.name,
        content_hash=content_hash,
    )


def silver(raw: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Typed rows, and apart from them those that break a rule, with the first rule that they broke."""
    text = {name: raw[name].str.strip().replace("", pd.NA) for name in COLUMNS}
    at = timestamps(text["Timestamp"])
    cents = cents_of(text["Amount"])
    kind, product = text["EventType"], text["ProductID"]
    rules = {
        "missing_user_id": text["UserID"].isna(),
        "missing_event_type": kind.isna(),
        "missing_product_id": product.isna() & kind.isin(NAMES_A_PRODUCT),
        "missing_amount": text["Amount"].isna() & (kind == "purchase").fillna(False),
        "bad_timestamp": at.isna(),
        "bad_amount": text["Amount"].notna() & cents.isna(),
    }
    rule = pd.Series(
        np.select([broken.to_numpy(bool) for broken in rules.values()], list(rules), default=""), index=raw.index
    )
    good = (rule == "").to_numpy(bool)
    accepted = pd.DataFrame(
        {
            "user_id": text["UserID"],
            "session_id": text["SessionID"],
            "event_timestamp": at,
            "event_type": kind,
            "product_id": product,
            "outcome": text["Outcome"],
            "source_file": raw["source_file"],
            "record_number": raw["record_number"],
        }
    )[good]
    accepted["event_id"] = [
        hashlib.sha256(f"{content}:{number}".encode()).hexdigest()[:32]
        for content, number in zip(raw["content_hash"][good], accepted["record_number"], strict=True)
    ]
    accepted["event_date"] = accepted["event_timestamp"].dt.normalize().astype(DATE)
    accepted["amount"] = money(cents[good])
    accepted["processed_at"] = datetime.now(UTC)
    broken = raw.loc[~good, ["source_file", "record_number"]].assign(rule=rule[~good])
    broken["payload"] = [json.dumps(record) for record in raw.loc[~good, COLUMNS].to_dict("records")]
    return accepted[ACCEPTED], broken


def timestamps(text: pd.Series) -> pd.Series:
    """``YYYY-MM-DD[T ]HH:MM:SS[.f][Z|±hh:mm]`` in UTC, without an offset meaning UTC; null for anything else."""
    spaced = text.str.replace("T", " ", regex=False)
    sound = spaced.where(spaced.str.fullmatch(TIME).fillna(False))
    zoned = sound.str.contains(OFFSET).fillna(False).astype(bool)
    # Apart, since pandas gives a row without an offset that of the row before it.
    parts = [
        pd.to_datetime(some.astype(object), format="ISO8601", utc=True, errors="coerce")
        for some in (sound[zoned], sound[~zoned])
    ]
    return pd.concat(parts).sort_index().astype("datetime64[us, UTC]")


def cents_of(text: pd.Series) -> pd.Series:
    """Whole cents, halves up; null for what is no number, below zero or too large."""
    number = text.where(text.str.fullmatch(NUMBER).fillna(False))
    present = number.notna().to_numpy(bool)
    exact = pa.array(number[present], pa.string()).cast(pa.decimal128(34, 10))
    cents = pc.round(pc.multiply(exact, pa.scalar(Decimal(100))), 0, "half_towards_infinity")
    found = pd.Series(pd.NA, index=text.index, dtype="Int64")
    found[present] = cents.cast(pa.int64()).to_numpy()
    return found.where(found.between(0, LARGEST))


def money(cents: pd.Series) -> pd.Series:
    """Cents as decimals of two places."""
    exact = pa.array(cents, pa.int64(), from_pandas=True).cast(pa.decimal128(19, 0))
    amounts = pc.multiply(exact, pa.scalar(Decimal("0.01"))).cast(pa.decimal128(18, 2))
    return pd.Series(pd.arrays.ArrowExtensionArray(amounts), index=cents.index)


def cents(events: pd.DataFrame) -> pd.Series:
    """Silver's amounts in cents; of what is no purchase none."""
    amounts = pa.array(events["amount"], from_pandas=True).cast(pa.decimal128(18, 2))
    whole = pc.multiply(amounts, pa.scalar(Decimal(100))).cast(pa.decimal128(38, 0), safe=False).cast(pa.int64())
    found = pd.Series(whole.fill_null(0).to_numpy(), index=events.index)
    return found.where(events["event_type"] == "purchase", 0)


def user_days(events: pd.DataFrame) -> pd.DataFrame:
    """What the answers about users and dates need: a row per user and date."""
    found = pd.DataFrame(
        {
            "event_date": events["event_date"].astype("datetime64[us]"),  # Arrow's dates it would compare one by one
            "user_id": events["user_id"],
            "events": 1,
            "purchases": (events["event_type"] == "purchase").astype("int64"),
            "cents": cents(events),
        }
    )
    found = found.groupby(["event_date", "user_id"], as_index=False).sum()
    return found.assign(day_type=np.where(found["event_date"].dt.dayofweek >= 5, "Weekend", "Weekday"))


def user_totals(days: pd.DataFrame) -> pd.DataFrame:
    """The same, a row per user."""
    return days.groupby("user_id", as_index=False).agg(
        first_seen_date=("event_date", "min"),
        last_seen_date=("event_date", "max"),
        total_events=("events", "sum"),
        purchases=("purchases", "sum"),
        cents=("cents", "sum"),
    )


def users(totals: pd.DataFrame) -> pd.DataFrame:
    """Everybody who was ever seen."""
    seen = {name: totals[name].astype(DATE) for name in ("first_seen_date", "last_seen_date")}
    return totals[["user_id", "total_events"]].assign(**seen)


def sessions(events: pd.DataFrame) -> pd.DataFrame:
    """Sessions of users."""
    found = (
        events[events["session_id"].notna()]
        .groupby(["user_id", "session_id"], as_index=False)
        .agg(
            session_start_time=("event_timestamp", "min"),
            session_end_time=("event_timestamp", "max"),
            event_count=("event_timestamp", "size"),
        )
    )
    took = found["session_end_time"] - found["session_start_time"]
    return found.assign(duration_seconds=took.dt.total_seconds())


def products(events: pd.DataFrame) -> pd.DataFrame:
    """Every product that an event names."""
    return events[["product_id"]].dropna().drop_duplicates()


def event_types(events: pd.DataFrame) -> pd.DataFrame:
    """Every type that an event has."""
    return events[["event_type"]].drop_duplicates()


def times(days: pd.DataFrame) -> pd.DataFrame:
    """The dates that have events."""
    dates = days["event_date"].drop_duplicates()
    day = dates.dt
    return pd.DataFrame(
        {
            "date_key": day.strftime("%Y%m%d").astype("int32"),
            "date": dates.astype(DATE),
            "year": day.year,
            "month": day.month,
            "day": day.day,
            "day_of_week": day.dayofweek + 1,
            "is_weekend": day.dayofweek >= 5,
        }
    )


def top_products(events: pd.DataFrame) -> pd.DataFrame:
    """Products by how often they were viewed."""
    kind = events["event_type"]
    counted = {
        "product_id": events["product_id"],
        "view_count": (kind == "product_view").astype("int64"),
        "add_to_cart_count": (kind == "add_to_cart").astype("int64"),
        "purchase_count": (kind == "purchase").astype("int64"),
        "cents": cents(events),
    }
    found = pd.DataFrame(counted).groupby("product_id", as_index=False).sum()
    found = found.sort_values(["view_count", "product_id"], ascending=[False, True])
    found = found.assign(rank=np.arange(1, len(found) + 1), revenue=money(found["cents"]))
    return found.drop(columns="cents")


def conversion_funnel(events: pd.DataFrame) -> pd.DataFrame:
    """How many users viewed, added and bought: in any order, and each after the step before."""
    viewed, added, bought = (
        events.loc[events["event_type"] == kind, ["user_id", "event_timestamp"]] for kind in NAMES_A_PRODUCT
    )

    def after(later: pd.DataFrame, since: pd.Series) -> pd.DataFrame:
        of_users = later.join(since.rename("since"), on="user_id", how="inner")
        return of_users[of_users["event_timestamp"] >= of_users["since"]]

    def first(of: pd.DataFrame) -> pd.Series:
        return of.groupby("user_id")["event_timestamp"].min()

    first_view = first(viewed)
    first_add = first(after(added, first_view))
    counts = {
        "": [one["user_id"].nunique() for one in (viewed, added, bought)],
        "ordered_": [len(first_view), len(first_add), after(bought, first_add)["user_id"].nunique()],
    }
    row: dict[str, float | int | None] = {}
    for order, (views, adds, buys) in counts.items():
        row |= {f"{order}users_viewed": views, f"{order}users_added": adds, f"{order}users_purchased": buys}
        row |= {
            f"{order}view_to_cart_rate": adds / views if views else None,
            f"{order}cart_to_purchase_rate": buys / adds if adds else None,
            f"{order}overall_rate": buys / views if views else None,
        }
    return pd.DataFrame([row])


def daily_active_users(days: pd.DataFrame) -> pd.DataFrame:
    """Users and events of each date."""
    found = days.groupby("event_date", as_index=False).agg(
        day_type=("day_type", "first"), users=("user_id", "size"), events=("events", "sum")
    )
    return found.assign(
        event_date=found["event_date"].astype(DATE), avg_events_per_user=found["events"] / found["users"]
    )


def user_segments(totals: pd.DataFrame) -> pd.DataFrame:
    """Users by how active they are."""
    events = totals["total_events"]
    names = ["High Activity", "Medium Activity", "Low Activity"]
    segment = np.select([events >= 20, events >= 5, events >= 2], names, default="One-time Visitors")
    found = (
        totals.assign(segment=segment)
        .groupby("segment", as_index=False)
        .agg(
            user_count=("user_id", "size"),
            avg_events=("total_events", "mean"),
            avg_purchases=("purchases", "mean"),
            cents=("cents", "sum"),
        )
    )
    return found.assign(avg_spent=found["cents"] / 100 / found["user_count"]).drop(columns="cents")


def revenue_metrics(totals: pd.DataFrame) -> pd.DataFrame:
    """What was bought, in one row."""
    purchasers, repeat = (int((totals["purchases"] >= times).sum()) for times in (1, 2))
    purchases, all_cents = int(totals["purchases"].sum()), int(totals["cents"].sum())
    return pd.DataFrame(
        {
            "total_purchasers": [purchasers],
            "repeat_purchasers": [repeat],
            "total_revenue": money(pd.Series([all_cents])),
            "average_revenue_per_purchaser": [all_cents / 100 / purchasers if purchasers else None],
            "average_order_value": [all_cents / 100 / purchases if purchases else None],
        }
    )


def weekday_weekend(days: pd.DataFrame) -> pd.DataFrame:
    """Working days against weekends."""
    found = days.groupby("day_type", as_index=False).agg(
        users=("user_id", "nunique"), events=("events", "sum"), purchases=("purchases", "sum"), cents=("cents", "sum")
    )
    return found.assign(
        events_per_user=found["events"] / found["users"],
        revenue=money(found["cents"]),
        revenue_per_user=found["cents"] / 100 / found["users"],
    ).drop(columns="cents")


def user_journeys(events: pd.DataFrame) -> pd.DataFrame:
    """The events of users who bought, numbered."""
    purchasers = events.loc[events["event_type"] == "purchase", "user_id"].unique()
    found = events[events["user_id"].isin(purchasers)].sort_values(["user_id", "event_timestamp", "event_id"])
    found = found.assign(step=found.groupby("user_id").cumcount() + 1)
    return found[["user_id", "step", "event_id", "event_type", "product_id", "amount", "event_timestamp"]]


#: the tables of gold: of what each is made
GOLD: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], str]] = {
    "users": (users, "user_totals"),
    "sessions": (sessions, "events"),
    "products": (products, "events"),
    "event_types": (event_types, "events"),
    "time": (times, "user_days"),
    "top_products": (top_products, "events"),
    "conversion_funnel": (conversion_funnel, "events"),
    "daily_active_users": (daily_active_users, "user_days"),
    "user_segments": (user_segments, "user_totals"),
    "revenue_metrics": (revenue_metrics, "user_totals"),
    "weekday_weekend": (weekday_weekend, "user_days"),
}


def write(table: pd.DataFrame, path: Path) -> None:
    """One Parquet file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(path, compression="snappy", index=False)


def day_file(out: Path, layer: str, day: date) -> Path:
    """The one file of a day."""
    return out / layer / f"ingestion_date={day}" / "events.parquet"


def main() -> None:
    """Run the phases one after the other, each from the files of the one before."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("input", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--journeys", action="store_true")
    arguments = parser.parse_args()
    source, out = arguments.input, arguments.output
    day = date.fromisoformat(source.parent.name.removeprefix("ingestion_date="))
    marks = [time.perf_counter()]
    write(bronze(source), day_file(out, "bronze", day))
    marks.append(time.perf_counter())
    accepted, rejected = silver(pd.read_parquet(day_file(out, "bronze", day), dtype_backend="pyarrow"))
    write(accepted, day_file(out, "silver", day))
    write(rejected, day_file(out, "rejected", day))
    marks.append(time.perf_counter())
    events = pd.read_parquet(day_file(out, "silver", day), dtype_backend="pyarrow")
    days = user_days(events)
    sources = {"events": events, "user_days": days, "user_totals": user_totals(days)}
    for name, (table, of) in GOLD.items():
        write(table(sources[of]), out / "gold" / f"{name}.parquet")
    marks.append(time.perf_counter())
    if arguments.journeys:
        write(user_journeys(events), out / "gold" / "user_journeys.parquet")
    took = [later - earlier for earlier, later in pairwise(marks)]
    print(json.dumps({"session": 0.0, **dict(zip(("bronze", "silver", "gold"), took, strict=True))}))


if __name__ == "__main__":
    main()
