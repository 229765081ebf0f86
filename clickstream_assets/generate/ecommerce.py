"""E-commerce landing files: a small shop's clickstream export, one folder per ingestion date.

A day is drawn as visitors → sessions → steps → events. A step is a short fixed run of events (a page,
a page and a click, a product viewed, put in the cart, bought), so a session is in time order and the
funnel holds by construction. Who comes, what is popular, what it costs belong to the seed; the rest
to the day, so a range of days equals its days. All time stamps are naive UTC with microseconds.
"""

import csv
import gzip
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import csv as arrow_csv

from clickstream_assets.generate import Generated
from clickstream_assets.generate.story import DOWN, Day, Story, catalogue, chosen, hours

Ints: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float64]

COLUMNS = ("UserID", "SessionID", "Timestamp", "EventType", "ProductID", "Amount", "Outcome")
MAX_ROWS_PER_FILE = 500_000
EPOCH = date(2000, 1, 1)  # session numbers count from here
MAX_DAILY_SESSIONS = 4  # of one user
SECOND = 1_000_000  # all durations are in microseconds
HOUR = 3_600 * SECOND
DAY = 24 * HOUR

EVENTS = ("login", "logout", "page_view", "click", "product_view", "add_to_cart", "purchase")
PRODUCT_VIEW, PURCHASE = EVENTS.index("product_view"), EVENTS.index("purchase")  # from the first on: with product
LOGIN, LOGOUT, BROWSE, VIEW = 0, 1, 2, 4  # steps
STEPS = np.array([[0, 0, 0, 0], [1, 0, 0, 0], [2, 0, 0, 0], [2, 3, 0, 0], [2, 4, 0, 0], [2, 4, 5, 0], [2, 4, 5, 6]])
STEP_LENGTHS = np.array([1, 1, 1, 2, 2, 3, 4])
STEP_SHARES = np.array([0.36, 0.22, 0.36, 0.045, 0.015])  # page, click, view, cart, purchase
# Monday to Sunday: interest in products against an ordinary day, and mean steps per session beyond two
APPETITE = (1.0, 0.94, 0.97, 1.0, 1.1, 1.45, 1.35)
LINGERING = (1.1, 1.1, 1.1, 1.1, 1.2, 1.7, 1.8)
# visits by hour of the day: lunch and evening on working days, a long afternoon at weekends
WORKDAY = (2, 1, 1, 1, 1, 2, 4, 6, 7, 7, 7, 8, 11, 9, 7, 7, 8, 9, 11, 14, 15, 13, 8, 4)
WEEKEND = (4, 3, 2, 1, 1, 1, 2, 3, 5, 8, 11, 13, 13, 13, 14, 14, 13, 12, 11, 11, 10, 8, 7, 5)
LATE_SHARE = 0.02  # sessions of the evening before that arrive with this day
# In a story: shares of the steps, and how far each follows the conversion; steps per session beyond two; users for each
# row of an average day, and how much rarer the next one comes.
STORY_SHARES = np.array([0.36, 0.22, 0.34, 0.055, 0.025])
STORY_FOLLOWS = np.array([0.0, 0.0, 0.5, 1.0, 1.8])
STORY_LINGERING = 1.6
STORY_USERS, STORY_PULL = 6, -0.85


@dataclass(frozen=True)
class Shop:
    """What stays the same from day to day: `users` from the most to the least active, `products` likewise."""

    users: Ints  # user ids by rank
    pull: Floats  # how strongly a rank comes back
    products: pa.Array  # "prod_1001" … by popularity rank
    prices: pa.Array  # text, two decimals, of the same ranks
    shares: Floats | None = None  # in a story: of each rank but the last, which is the product that is launched

    @classmethod
    def of(cls, seed: int, rows_per_day: int) -> "Shop":
        """The shop of a seed; its population grows with the rows."""
        rng = np.random.default_rng([seed, 0])
        products = [f"prod_{number}" for number in rng.permutation(np.arange(1001, 10_000))]
        cents = np.clip(rng.lognormal(8.2, 0.9, len(products)), 300, 50_000).astype(np.int64)
        prices = [f"{price // 100}.{price % 100:02}" for price in cents.tolist()]
        size = rows_per_day // 2 + 1  # a visit has two steps or more: enough for a day even if everybody leaves at once
        return cls(
            rng.permutation(size) + 1, np.power(np.arange(1.0, size + 1), -0.6), pa.array(products), pa.array(prices)
        )

    @classmethod
    def of_story(cls, seed: int, rows_per_day: int) -> "Shop":
        """The shop of a seed, with the products of stories."""
        rng = np.random.default_rng([seed, 0])
        numbers, cents, shares = catalogue(seed)
        size = STORY_USERS * rows_per_day + 1
        return cls(
            rng.permutation(size) + 1,
            np.power(np.arange(1.0, size + 1), STORY_PULL),
            pa.array([f"prod_{number}" for number in numbers.tolist()]),
            pa.array([f"{price // 100}.{price % 100:02}" for price in cents.tolist()]),
            shares,
        )


def generate(
    write: Callable[[str, bytes], None],
    *,
    first: date,
    last: date,
    rows_per_day: int,
    seed: int = 0,
    faults: bool = False,
    progress: Callable[[date], None] | None = None,
    story: Story | None = None,
) -> Generated:
    """Writes the files of the ingestion dates `first` to `last`, both included, `rows_per_day` good records each.

    A day's bytes depend on (seed, day, rows_per_day, faults, story) alone. `write` gets paths relative to the
    landing root; `progress` is called after each day. ValueError for arguments that make no sense.
    """
    if first > last:
        raise ValueError(f"The first day, {first}, is after the last, {last}.")
    if first < EPOCH:
        raise ValueError(f"E-commerce data start on {EPOCH}; {first} is before.")
    if rows_per_day < 1 or seed < 0:
        raise ValueError(f"Rows per day must be at least 1 and the seed 0 or more, not {rows_per_day} and {seed}.")
    shop = Shop.of_story(seed, rows_per_day) if story else Shop.of(seed, rows_per_day)
    paths: list[str] = []
    planted: dict[str, int] = {}
    rows = 0
    for day in (first + timedelta(n) for n in range((last - first).days + 1)):
        rng = np.random.default_rng([seed, day.toordinal(), rows_per_day])
        told = story.on(day) if story else None
        events = _events(shop, day, told.rows(rows_per_day) if told else rows_per_day, rng, told)
        rows += len(events)
        files = _faulty_files(events, day, rng, planted) if faults else _files(events, day)
        for name, content in files:
            paths.append(f"ecommerce/ingestion_date={day}/{name}")
            write(paths[-1], content)
        if progress:
            progress(day)
    return Generated(paths, rows + sum(n for name, n in planted.items() if not name.endswith("_file")), planted)


def _events(shop: Shop, day: date, rows: int, rng: np.random.Generator, told: Day | None = None) -> pa.Table:
    """One day's good events in `COLUMNS`, exactly `rows` of them, ordered by user, session and time."""
    weekday = day.weekday()
    size = len(shop.users)
    ranks = np.argsort(rng.exponential(size=size) / shop.pull, kind="stable")  # in order of coming, the active first
    visits = 1 + rng.binomial(MAX_DAILY_SESSIONS - 1, 0.5 * (1 - ranks / size) ** 3)
    visitor = np.repeat(np.arange(size), visits)  # of each session
    lingering = STORY_LINGERING if told else LINGERING[weekday]
    steps = 2 + np.minimum(rng.geometric(1 / (1 + lingering), visitor.size) - 1, 40)
    count = int(np.searchsorted(np.cumsum(steps), rows)) + 1  # sessions that surely fill the day
    visitor, steps = visitor[:count], steps[:count]
    number = np.arange(count) - _starts(visits)[visitor]
    session_of_step = np.repeat(np.arange(count), steps)

    shares = STEP_SHARES * np.where(np.arange(5) < VIEW - BROWSE, 1, APPETITE[weekday] * rng.normal(1, 0.04))
    if told:
        shares = shares / STEP_SHARES * STORY_SHARES * told.conversion**STORY_FOLLOWS
    bounds = np.cumsum(shares)[:-1] / shares.sum()
    kind = BROWSE + np.searchsorted(bounds, rng.random(session_of_step.size), side="right")
    member = rng.random(count) < 0.35
    leaves = member & (steps > 2) & (rng.random(count) < 0.5)
    kind[_starts(steps)[member]] = LOGIN
    kind[np.cumsum(steps)[leaves] - 1] = LOGOUT

    lengths = STEP_LENGTHS[kind]
    step = np.repeat(np.arange(kind.size), lengths)[:rows]
    event = STEPS[kind[step], np.arange(rows) - _starts(lengths)[step]]
    if told and shop.shares is not None:
        product = chosen(rng, kind.size, shop.shares, told)[step]
    else:
        luck = 0.05 + 0.95 * rng.random(kind.size)  # cubed: a power law, flattened at the top
        product = (len(shop.products) * (luck**3 - 0.05**3)).astype(np.int64)[step]
    session = session_of_step[step]
    moment = _moments(visitor, session, WEEKEND if weekday > 4 else WORKDAY, rng, told)
    if told:  # of the evening before: then it may not have been there
        product = np.where((moment < 0) & (product == len(shop.products) - 1), 0, product)

    user = shop.users[ranks[visitor[session]]]
    order = np.argsort(user, kind="stable")
    user, session, event, product, moment = (a[order] for a in (user, session, event, product, moment))
    bought = event == PURCHASE
    midnight = np.datetime64(day, "us")
    columns = [
        pa.array(user),
        pa.array((day - EPOCH).days * MAX_DAILY_SESSIONS + number[session] + 1),
        pa.array(midnight + moment.astype("timedelta64[us]")),
        pa.array(EVENTS).take(pa.array(event)),
        shop.products.take(pa.array(product, mask=event < PRODUCT_VIEW)),
        shop.prices.take(pa.array(product, mask=~bought)),
        pa.array(["purchase"]).take(pa.array(np.zeros(rows, np.int64), mask=~bought)),
    ]
    return pa.table(columns, names=list(COLUMNS))


def _moments(
    visitor: Ints, session: Ints, of_day: tuple[int, ...], rng: np.random.Generator, told: Day | None = None
) -> Ints:
    """Microseconds since the day's midnight of each event, negative for the evening before.

    `visitor` of each session and `session` of each event ascend. Nothing happens after the day: a session
    that would cross midnight ends at the moment at which it would have begun. So does one that would last until the
    site is down.
    """
    visits = hours(of_day, told) if told else of_day
    quantiles = np.concatenate([[0.0], np.cumsum(visits) / sum(visits)])
    begin = np.interp(rng.random(visitor.size), quantiles, np.arange(25.0)) * HOUR
    late = rng.random(visitor.size) < (0 if told and told.opens else LATE_SHARE)
    evening = 6 * HOUR if told is None else (24 - DOWN.stop) * HOUR  # the site may have been down before
    begin = np.where(late, -evening * rng.random(visitor.size), begin).astype(np.int64)
    begin = np.sort(begin + visitor * 2 * DAY) - visitor * 2 * DAY  # a visitor's sessions one after the other

    elapsed = np.cumsum((rng.exponential(45 * SECOND, session.size) + SECOND).astype(np.int64))
    opening = np.searchsorted(session, np.arange(visitor.size))
    opening = opening[opening < session.size]  # sessions beyond the last row have none
    elapsed -= elapsed[opening][session]
    closing = np.append(opening[1:], session.size) - 1
    begin = begin[: opening.size]
    crosses = (begin < 0) != (begin + elapsed[closing] < 0)
    crosses |= begin + elapsed[closing] >= DAY
    if told and told.outage:
        crosses |= (begin < DOWN.start * HOUR) & (begin + elapsed[closing] >= DOWN.start * HOUR)
    moments: Ints = (begin - np.where(crosses, elapsed[closing] + 1, 0))[session] + elapsed
    return moments


def _starts(lengths: Ints) -> Ints:
    """The index at which each of the consecutive groups of these lengths starts."""
    starts: Ints = np.cumsum(lengths) - lengths
    return starts


def _body(events: pa.Table) -> bytes:
    """CSV text of the events without header; nothing in them needs quotes."""
    sink = io.BytesIO()
    arrow_csv.write_csv(events, sink, arrow_csv.WriteOptions(include_header=False, quoting_style="none"))
    return sink.getvalue()


def _named(day: date, index: int, body: bytes) -> tuple[str, bytes]:
    """File name and content, header included; every third day is compressed."""
    content = ",".join(COLUMNS).encode() + b"\n" + body
    if day.toordinal() % 3:
        return f"events-{index:04}.csv", content
    return f"events-{index:04}.csv.gz", gzip.compress(content, compresslevel=1, mtime=0)


def _files(events: pa.Table, day: date) -> Iterator[tuple[str, bytes]]:
    for index, start in enumerate(range(0, len(events), MAX_ROWS_PER_FILE)):
        yield _named(day, index, _body(events.slice(start, MAX_ROWS_PER_FILE)))


# Faults. A broken record starts as a good one with every field filled and breaks one rule only.
# fmt: off
BROKEN: dict[str, tuple[dict[str, str | None], ...]] = {  # rule → variants: the fields that differ, None: left out
    "missing_user_id": ({"UserID": ""},),
    "missing_event_type": ({"EventType": ""},),
    "missing_product_id": tuple({"EventType": e, "ProductID": "", "Amount": a, "Outcome": o} for e, a, o in (
        ("product_view", "", ""), ("add_to_cart", "", ""), ("purchase", "19.99", "purchase"))),
    "missing_amount": ({"Amount": ""},),
    "bad_timestamp": tuple({"Timestamp": text} for text in (
        "18:00:26", "2024", "2024-13-01 00:00:00", "not a time", "01/02/2024 10:00:00")),
    "bad_amount": tuple({"Amount": text} for text in ("abc", "-5.00", "NaN", "inf")),
    "ragged": ({"Outcome": "purchase,extra"}, {"Outcome": "purchase,"}, {"Outcome": None}),
    "bad_encoding": ({"Outcome": "caf\xe9"},),
}
# fmt: on
ODD_COLUMNS = ("amount", "campaign", "userid", "outcome", "eventtype", "timestamp", "sessionid", "productid")
ODD_OUTCOMES = ("paid, then left", 'said "thank you"', "first line\nsecond line", "Überweisung", "")


def _faulty_files(
    events: pa.Table, day: date, rng: np.random.Generator, planted: dict[str, int]
) -> Iterator[tuple[str, bytes]]:
    """The day with known faults, counted into `planted`; a tenth of the good records, at most 1,000, in an odd file."""
    good = _body(events).splitlines()
    tenths = slice(0, len(good) // 10 * 10, max(10, -(-len(good) // 1000)))
    lines, odd = good.copy(), good[tenths]
    del lines[tenths]
    share = max(1, len(good) // 500)
    for rule, variants in BROKEN.items():
        planted[rule] = planted.get(rule, 0) + share
        for n, at in enumerate(rng.integers(len(lines), size=share).tolist()):
            lines[at] += b"\n" + _broken(good[at], variants[(day.toordinal() + n) % len(variants)])
    lines = b"\n".join(lines).split(b"\n")
    for index, start in enumerate(range(0, len(lines), MAX_ROWS_PER_FILE)):
        name, content = _named(day, index, b"\n".join(lines[start : start + MAX_ROWS_PER_FILE]) + b"\n")
        yield name, content
        if index == 0:
            yield name.replace("0000", "copy"), content
    yield _rejected(good[:200], day, rng)
    if odd:
        yield "odd but good.csv", _odd([line.decode().split(",") for line in odd])
    for rule in ("duplicate_file", "rejected_file"):
        planted[rule] = planted.get(rule, 0) + 1


def _broken(line: bytes, change: dict[str, str | None]) -> bytes:
    """A purchase by the user and at the time of a good record, with some fields changed; Latin-1."""
    fields: dict[str, str | None] = dict(zip(COLUMNS, line.decode().split(","), strict=True))
    fields |= {"EventType": "purchase", "ProductID": "prod_1001", "Amount": "19.99", "Outcome": "purchase"}
    return ",".join(text for text in (fields | change).values() if text is not None).encode("latin-1")


def _rejected(lines: list[bytes], day: date, rng: np.random.Generator) -> tuple[str, bytes]:
    """A file that cannot be read as a whole: cut short, without a required column, or not text; by turns."""
    whole = b"\n".join([",".join(COLUMNS).encode(), *lines, b""])
    match day.toordinal() % 3:
        case 0:
            packed = gzip.compress(whole, mtime=0)
            return "rejected-cut.csv.gz", packed[: len(packed) * 2 // 3]
        case 1:
            at = COLUMNS.index("EventType")
            rows = (line.split(b",") for line in whole.splitlines())
            return "rejected-column.csv", b"".join(b",".join(r[:at] + r[at + 1 :]) + b"\n" for r in rows)
        case _:
            return "rejected-binary.csv", b"PK\x03\x04\x14\x00\x00\x00" + rng.bytes(2048)


def _odd(records: list[list[str]]) -> bytes:
    """The same good records as unusual CSV: byte order mark, CRLF, other columns, quoted text, other time stamps."""
    text = io.StringIO(newline="")
    writer: Any = csv.DictWriter(text, ODD_COLUMNS)
    writer.writeheader()
    for n, record in enumerate(records):
        row = dict(zip((name.lower() for name in COLUMNS), record, strict=True))
        moment = datetime.fromisoformat(row["timestamp"])
        row["timestamp"] = (
            moment.isoformat() + "Z",
            (moment + timedelta(hours=2)).isoformat(" ") + "+02:00",
            moment.isoformat(" ", "seconds"),
        )[n % 3]
        row["amount"] += "54"[n % 2] if row["amount"] else ""  # three decimals: half a cent or less
        writer.writerow(row | {"campaign": f"spring, {n}", "outcome": ODD_OUTCOMES[n % len(ODD_OUTCOMES)]})
    return text.getvalue().encode("utf-8-sig")
