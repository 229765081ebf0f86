"""CDC landing files: a shop's carts in DynamoDB, and its orders and customers as DMS reads them, all changing.

The first day begins with full loads of orders and customers; what follows are changes, each of a row as it is by then.
A longer range begins with the files of a shorter one. Carts have attributes of all ten types; orders are Parquet files
with commit times and change numbers, and get another column on the third day; customers are CSV files without a
header, but for those in which a customer gets another number, where the row before has to be told apart.

Names are syllables, addresses are at example.com.
"""

import base64
import copy
import csv
import gzip
import io
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from clickstream_assets.generate import Generated
from clickstream_assets.generate.story import Story

#: path, content, records
File: TypeAlias = tuple[str, bytes, int]
Row: TypeAlias = dict[str, Any]

CARTS, ORDERS, CUSTOMERS = "cdc/dynamodb/carts", "cdc/dms/shop/orders", "cdc/dms/shop/customers"
MAX_RECORDS_PER_FILE = 100_000
LOAD_FILES = 11  # of customers: the tenth is LOAD0000000A, as DMS counts
SHARDS = ("shardId-00000001704067200000-1b7e4f0a", "shardId-00000001704067200000-9c03d2e5")
OF_A_DAY = 86_400_000_000  # microseconds

SYLLABLES = ("ba", "do", "fi", "gu", "ka", "lo", "mi", "nu", "pe", "ru", "sa", "to", "vi", "zu")
COUNTRIES, SEGMENTS = ("AT", "BE", "DE", "DK", "FR", "IT", "NL", "PL"), ("consumer", "business", "")
REGIONS, STATUSES, CHANNELS = ("east", "north", "south", "west"), ("open", "paid", "sent"), ("web", "app", "shop")
CUSTOMER_COLUMNS = ("customer_id", "email", "full_name", "country", "segment", "credit_limit", "updated_at")
ORDER_COLUMNS = {
    "order_id": pa.int64(),
    "customer_id": pa.int64(),
    "region": pa.string(),
    "status": pa.string(),
    "amount": pa.decimal128(12, 2),
    "ordered_at": pa.timestamp("us"),
    "gift": pa.bool_(),
}
CHANNEL_FROM_DAY = 2  # of the range, from 0


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
    """Writes the changes of the days `first` to `last`, both included, `rows_per_day` in all each, and first the loads.

    Two changes of five are of carts, two of orders, one of customers. With faults, each day has some in addition to its
    changes: broken records, each breaking one rule, some records of carts a second time, a file twice under two names,
    and files that cannot be read. `faults` are records by rule; `duplicate_file` and `rejected_file` are files.
    `write` gets paths relative to the landing root; `progress` is called after each day. ValueError for arguments that
    make no sense.
    """
    if first > last:
        raise ValueError(f"The first day, {first}, is after the last, {last}.")
    if rows_per_day < 1 or seed < 0:
        raise ValueError(f"Rows per day must be at least 1 and the seed 0 or more, not {rows_per_day} and {seed}.")
    paths: list[str] = []
    planted = Counter[str]()
    rows = 0
    carts, orders, customers = _Carts(seed), _Orders(seed, rows_per_day), _Customers(seed, rows_per_day)
    for n in range((last - first).days + 1):
        day = first + timedelta(n)
        files = [] if n else [*orders.load(day), *customers.load(day)]
        count = story.on(day).rows(rows_per_day) if story else rows_per_day
        of_customers, of_orders = count // 5, count * 2 // 5
        files += carts.changes(day, count - of_customers - of_orders)
        files += orders.changes(day, of_orders, with_channel=n >= CHANNEL_FROM_DAY)
        files += customers.changes(day, of_customers)
        if faults:
            files += _faulty(day, files, max(1, count // 500), planted, seed)
        for path, content, records in files:
            paths.append(path)
            write(path, content)
            rows += records
        if progress:
            progress(day)
    return Generated(paths, rows, dict(planted))


def _draw(*of: object) -> random.Random:
    """Random numbers that belong to a text, the same on every machine."""
    return random.Random("/".join(map(str, of)))  # noqa: S311 data, not secrets


def _moments(rng: random.Random, day: date, count: int) -> list[datetime]:
    """Times of a day in their order; one in five is that of the one before: changes of one transaction."""
    within = sorted(rng.randrange(OF_A_DAY - 10_000_000) for _ in range(count))
    tied = [n > 0 and rng.random() < 0.2 for n in range(count)]
    midnight = datetime.combine(day, time(), UTC)
    moments: list[datetime] = []
    for at, again in zip(within, tied, strict=True):
        moments.append(moments[-1] if again else midnight + timedelta(microseconds=at))
    return moments


def _pieces(items: Sequence[Any], least: int) -> Iterator[Sequence[Any]]:
    """Parts of at most `MAX_RECORDS_PER_FILE`, `least` of them where there are enough."""
    if items:
        size = min(MAX_RECORDS_PER_FILE, -(-len(items) // least))
        yield from (items[start : start + size] for start in range(0, len(items), size))


def _amount(rng: random.Random, most: int) -> Decimal:
    return Decimal(rng.randrange(1, most)) / 100


@dataclass
class _Keys:
    """Keys in use, of which one is drawn in no time."""

    listed: list[Any] = field(default_factory=list)

    def draw(self, rng: random.Random) -> Any:
        return self.listed[rng.randrange(len(self.listed))]

    def take(self, rng: random.Random) -> Any:
        at = rng.randrange(len(self.listed))
        self.listed[at], self.listed[-1] = self.listed[-1], self.listed[at]
        return self.listed.pop()


class _Carts:
    """Items with attributes of every type; half of those that go have outlived their time."""

    def __init__(self, seed: int) -> None:
        self._seed, self._items, self._keys, self._made = seed, dict[str, Row](), _Keys(), 0

    def changes(self, day: date, count: int) -> Iterator[File]:
        """The stream's records of a day, a few files of each shard."""
        rng = _draw(self._seed, "carts", day)
        of_shard: dict[str, list[tuple[datetime, Row]]] = {shard: [] for shard in SHARDS}
        for n, moment in enumerate(_moments(rng, day, count)):
            record = self._change(rng, moment, f"{day.toordinal():07}{n:014}")
            key = record["dynamodb"]["Keys"]["cart_id"]["S"]
            of_shard[SHARDS[int(key[1:]) % len(SHARDS)]].append((moment, record))
        for shard, changes in of_shard.items():
            for piece in _pieces(changes, 2):
                yield _cart_file(shard, [record for _, record in piece], piece[0][0])

    def _change(self, rng: random.Random, moment: datetime, sequence: str) -> Row:
        what = rng.random()
        if not self._keys.listed or what < 0.4:
            self._made += 1
            key, old = f"c{self._made:06}", None
            self._keys.listed.append(key)
            new: Row | None = _cart(rng, key, moment)
        elif what < 0.85:
            key = self._keys.draw(rng)
            old = self._items[key]
            new = _changed_cart(rng, old, moment)
        else:
            key = self._keys.take(rng)
            old, new = self._items[key], None
        if new is None:
            del self._items[key]
        else:
            self._items[key] = new
        return _record(key, old, new, moment, f"1{sequence}", ttl=what >= 0.925)


def _cart(rng: random.Random, key: str, moment: datetime) -> Row:
    lines = [
        {"M": {"sku": {"S": f"P{rng.randrange(500):03}"}, "quantity": {"N": str(rng.randrange(1, 5))}}}
        for _ in range(rng.randrange(1, 4))
    ]
    return {
        "cart_id": {"S": key},
        "customer_id": {"N": str(rng.randrange(1, 1_000))},
        "lines": {"L": lines},
        "total": {"N": str(_amount(rng, 100_000))},
        "gift": {"BOOL": rng.random() < 0.1},
        "note": {"NULL": True} if rng.random() < 0.5 else {"S": 'leave it "at the door", please'},
        "coupons": {"SS": sorted(rng.sample(("SPRING", "FIRST", "FRIENDS", "VIP"), rng.randrange(1, 4)))},
        "points": {"NS": [str(n) for n in sorted(rng.sample(range(100), 2))]},
        "token": {"B": _text(rng.randbytes(8))},
        "pictures": {"BS": [_text(bytes([n])) for n in range(rng.randrange(1, 3))]},
        "visitor": {"M": {"device": {"S": rng.choice(("phone", "desktop"))}, "logged_in": {"BOOL": True}}},
        "expires_at": {"N": str(int(moment.timestamp()) + 86_400)},
    }


def _changed_cart(rng: random.Random, old: Row, moment: datetime) -> Row:
    new = copy.copy(old)  # of its attributes, none is changed within
    new["total"] = {"N": str(_amount(rng, 100_000))}
    new["expires_at"] = {"N": str(int(moment.timestamp()) + 86_400)}
    if rng.random() < 0.2:  # attributes come and go
        new.pop("coupons", None)
        new["delivery"] = {"S": rng.choice(("post", "courier"))}
    return new


def _record(key: str, old: Row | None, new: Row | None, moment: datetime, sequence: str, *, ttl: bool) -> Row:
    images = {"Keys": {"cart_id": {"S": key}}, "NewImage": new, "OldImage": old}
    record: Row = {
        "eventID": f"{int(sequence):032x}",
        "eventName": "REMOVE" if new is None else "INSERT" if old is None else "MODIFY",
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "eu-central-1",
        "dynamodb": {
            "ApproximateCreationDateTime": int(moment.timestamp()),
            **{name: image for name, image in images.items() if image is not None},
            "SequenceNumber": sequence,
            "SizeBytes": 300,
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        },
    }
    if new is None and ttl:
        record["userIdentity"] = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}
    return record


def _cart_file(shard: str, records: Sequence[Row], moment: datetime, name: str = "") -> File:
    lines = [json.dumps(record, separators=(",", ":")).encode() for record in records]
    sequence = records[0]["dynamodb"]["SequenceNumber"]
    return _lines_file(moment, name or f"{shard}-{sequence}", lines)


def _lines_file(moment: datetime, name: str, lines: Sequence[bytes]) -> File:
    content = gzip.compress(b"\n".join((*lines, b"")), compresslevel=1, mtime=0)
    return f"{CARTS}/{moment:year=%Y/month=%m/day=%d}/{moment:%Y%m%dT%H%M%SZ}-{name}.json.gz", content, len(lines)


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


class _Orders:
    """Rows of a relational table; most of what changes is the status, and sometimes the region, or the order goes."""

    def __init__(self, seed: int, rows_per_day: int) -> None:
        self._seed, self._rows, self._keys = seed, dict[int, Row](), _Keys()
        self._first, self._numbered = max(20, rows_per_day // 5), 0

    def load(self, day: date) -> Iterator[File]:
        """The full load, with Op, as DMS writes it when it is asked to; no change has a number yet."""
        rng = _draw(self._seed, "orders", "load")
        moment = datetime.combine(day, time(), UTC)
        for key in range(1, self._first + 1):
            self._rows[key] = _order(rng, key, moment - timedelta(hours=rng.randrange(24, 2_000)))
            self._keys.listed.append(key)
        for number, keys in enumerate(_pieces(self._keys.listed, 2), 1):
            rows = [_dms(self._rows[key], "I", moment, None) for key in keys]
            yield f"{ORDERS}/LOAD{number:08X}.parquet", _parquet(rows, with_channel=False), len(rows)

    def changes(self, day: date, count: int, *, with_channel: bool) -> Iterator[File]:
        """The changes of a day in a few files."""
        rng = _draw(self._seed, "orders", day)
        changes = [(moment, self._change(rng, moment, with_channel)) for moment in _moments(rng, day, count)]
        for number, piece in enumerate(_pieces(changes, 3)):
            rows = [row for _, row in piece]
            yield (
                _stamped(ORDERS, piece[-1][0], "parquet", number),
                _parquet(rows, with_channel=with_channel),
                len(rows),
            )

    def _change(self, rng: random.Random, moment: datetime, with_channel: bool) -> Row:
        self._numbered += 1
        number = f"{moment:%Y%m%d%H%M%S}{moment.microsecond // 10_000:02}{self._numbered:019}"
        what = rng.random()
        if what < 0.2 or not self._keys.listed:
            op, key = "I", self._first + self._numbered
            self._keys.listed.append(key)
            self._rows[key] = _order(rng, key, moment)
        elif what < 0.95:
            op, key = "U", self._keys.draw(rng)
            changed = {"region": rng.choice(REGIONS)} if what < 0.3 else {"status": rng.choice(STATUSES)}
            self._rows[key] = self._rows[key] | changed
        else:
            op, key = "D", self._keys.take(rng)
            return _dms(self._rows.pop(key), op, moment, number)
        if with_channel:
            self._rows[key] = self._rows[key] | {"channel": rng.choice(CHANNELS)}
        return _dms(self._rows[key], op, moment, number)


def _order(rng: random.Random, key: int, moment: datetime) -> Row:
    return {
        "order_id": key,
        "customer_id": rng.randrange(1, 1_000),
        "region": rng.choice(REGIONS),
        "status": "open",
        "amount": _amount(rng, 1_000_000),
        "ordered_at": moment.replace(tzinfo=None),
        "gift": rng.random() < 0.1,
    }


def _dms(row: Row, op: str, moment: datetime, number: str | None) -> Row:
    return {"Op": op, "commit_ts": f"{moment:%Y-%m-%d %H:%M:%S.%f}", "change_seq": number, **row}


def _parquet(rows: Sequence[Row], *, with_channel: bool) -> bytes:
    columns = {"Op": pa.string(), "commit_ts": pa.string(), "change_seq": pa.string(), **ORDER_COLUMNS}
    if with_channel:
        columns["channel"] = pa.string()
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows), pa.schema(list(columns.items()))), sink, store_schema=False)
    return sink.getvalue()


def _stamped(folder: str, moment: datetime, ending: str, number: int = 0) -> str:
    """The name that DMS gives a file of changes: when it was closed, to the millisecond; no two of a day have one."""
    closed = moment + timedelta(seconds=1, milliseconds=10 * number)
    return f"{folder}/{closed:%Y%m%d-%H%M%S}{closed.microsecond // 1000:03}.{ending}"


class _Customers:
    """Rows of which DMS tells neither names of columns nor times; what is null is empty."""

    def __init__(self, seed: int, rows_per_day: int) -> None:
        self._seed, self._rows, self._keys = seed, dict[int, Row](), _Keys()
        self._first, self._made = max(20, rows_per_day // 5), 0

    def load(self, day: date) -> Iterator[File]:
        """The full load; every other file has Op."""
        rng = _draw(self._seed, "customers", "load")
        for _ in range(self._first):
            self._new(rng, datetime.combine(day, time()) - timedelta(hours=rng.randrange(24, 9_000)))
        for number, keys in enumerate(_pieces(self._keys.listed, LOAD_FILES), 1):
            op = [] if number % 2 else ["I"]
            content = _csv([[*op, *self._rows[key].values()] for key in keys])
            if number % 3:
                yield f"{CUSTOMERS}/LOAD{number:08X}.csv", content, len(keys)
            else:
                yield f"{CUSTOMERS}/LOAD{number:08X}.csv.gz", gzip.compress(content, mtime=0), len(keys)

    def changes(self, day: date, count: int) -> Iterator[File]:
        """The changes of a day: files without a header, and one with the row before, of those whose number changes."""
        rng = _draw(self._seed, "customers", day)
        for number, moments in enumerate(_pieces(_moments(rng, day, count), 3)):
            path = _stamped(CUSTOMERS, moments[-1], "csv", number)
            if number == 1:
                header = ["Op", *CUSTOMER_COLUMNS, *(f"BI_{name}" for name in CUSTOMER_COLUMNS)]
                yield path, _csv([header, *(self._renumbered(rng, moment) for moment in moments)]), len(moments)
            else:
                yield path, _csv([self._change(rng, moment) for moment in moments]), len(moments)

    def _new(self, rng: random.Random, moment: datetime) -> int:
        self._made += 1
        name = ["".join(rng.choices(SYLLABLES, k=3)).capitalize() for _ in range(2)]
        self._rows[self._made] = {
            "customer_id": str(self._made),
            "email": f"{name[0].lower()}.{self._made}@example.com",
            "full_name": f"{name[0]} {name[1]}" if rng.random() < 0.9 else f"{name[1]}, {name[0]}",
            "country": rng.choice(COUNTRIES),
            "segment": rng.choice(SEGMENTS),
            "credit_limit": _limit(rng),
            "updated_at": f"{moment:%Y-%m-%d %H:%M:%S}",
        }
        self._keys.listed.append(self._made)
        return self._made

    def _change(self, rng: random.Random, moment: datetime) -> list[str]:
        what = rng.random()
        if what < 0.3 or not self._keys.listed:
            return ["I", *self._rows[self._new(rng, moment)].values()]
        if what < 0.9:
            key = self._keys.draw(rng)
            self._rows[key] |= {
                "credit_limit": _limit(rng),
                "updated_at": f"{moment:%Y-%m-%d %H:%M:%S}",
            }
            return ["U", *self._rows[key].values()]
        gone = self._rows.pop(self._keys.take(rng))
        if what < 0.95:
            return ["D", *gone.values()]
        return ["D", gone["customer_id"], *[""] * (len(CUSTOMER_COLUMNS) - 1)]

    def _renumbered(self, rng: random.Random, moment: datetime) -> list[str]:
        if not self._keys.listed:
            change = self._change(rng, moment)
            return [*change, *[""] * len(CUSTOMER_COLUMNS)]
        before = self._rows.pop(self._keys.take(rng))
        self._made += 1
        row = before | {"customer_id": str(self._made), "updated_at": f"{moment:%Y-%m-%d %H:%M:%S}"}
        self._rows[self._made] = row
        self._keys.listed.append(self._made)
        return ["U", *row.values(), *before.values()]


def _limit(rng: random.Random) -> str:
    return f"{rng.randrange(100) * 50}.00"


def _csv(records: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(records)
    return text.getvalue().encode()


# Faults. A broken record is like a good one, has a key that no good one has, and breaks one rule only.


def _faulty(day: date, files: Sequence[File], share: int, planted: Counter[str], seed: int) -> Iterator[File]:
    """Files with known faults for a day that has these files; they are counted into `planted`."""
    rng = _draw(seed, "faults", day)
    moment = datetime.combine(day, time(23, 59, 55), UTC)
    carts = [file for file in files if file[0].startswith(CARTS)]
    path, content, _ = carts[0]
    again = gzip.decompress(content).splitlines()[:share]
    planted["duplicate"] += len(again)
    yield _lines_file(moment, "again", [*_broken_carts(rng, moment, share, planted), *again])
    yield _broken_orders(rng, moment, share, planted)
    yield _broken_customers(rng, moment, share, planted)
    planted["duplicate_file"] += 1
    yield path.replace(".json.gz", "-copy.json.gz"), content, 0
    planted["rejected_file"] += 2
    yield _lines_file(moment, "cut", again)[0], content[: len(content) * 2 // 3], 0
    yield f"{ORDERS}/part-{day:%Y%m%d}.parquet", _parquet([], with_channel=False), 0


def _broken_carts(rng: random.Random, moment: datetime, share: int, planted: Counter[str]) -> list[bytes]:
    lines: list[bytes] = []
    for n in range(share):
        key = f"x{moment:%Y%m%d}{n:06}"
        item = _cart(rng, key, moment)

        def plant(rule: str, record: Any, key: str = key) -> None:
            planted[rule] += 1
            text = json.dumps(record).encode()
            lines.append(text[: len(text) // 2] if rule == "bad_json" else text)

        number = f"1{moment.toordinal():07}{10**13 + n:014}"
        record = _record(key, None, item, moment, number, ttl=False)
        changes = record["dynamodb"]
        plant("bad_json", record)
        plant("not_a_record", item)
        plant("bad_op", record | {"eventName": ("TRUNCATE", "", "insert ")[n % 3]})
        plant(
            "missing_key", record | {"dynamodb": changes | {"Keys": {"id": {"S": key}}, "NewImage": {"id": {"S": key}}}}
        )
        plant("bad_sequence", record | {"dynamodb": changes | {"SequenceNumber": ("1.5", "12a", "-1")[n % 3]}})
        plant("column_collision", record | {"dynamodb": changes | {"NewImage": item | {"Total": {"N": "1"}}}})
    return lines


def _broken_orders(rng: random.Random, moment: datetime, share: int, planted: Counter[str]) -> File:
    rows: list[Row] = []
    for n in range(share):
        key = 10**12 + moment.toordinal() * 10**5 + n
        row = _dms(_order(rng, key, moment), "I", moment, f"{moment:%Y%m%d%H%M%S}99{10**18 + n:019}")
        rows += [
            row | {"Op": ("X", "", None)[n % 3]},
            row | {"order_id": None},
            row | {"commit_ts": ("yesterday", "2024-02-30 00:00:00.000000")[n % 2]},
            row | {"change_seq": ("12a", "-5")[n % 2]},
        ]
    for rule in ("bad_op", "missing_key", "bad_commit_time", "bad_sequence"):
        planted[rule] += share
    return _stamped(ORDERS, moment, "parquet"), _parquet(rows, with_channel=False), len(rows)


def _broken_customers(rng: random.Random, moment: datetime, share: int, planted: Counter[str]) -> File:
    lines: list[bytes] = []
    for n in range(share):
        key = 10**12 + moment.toordinal() * 10**5 + n
        values = [
            str(key),
            f"x{n}@example.com",
            "Baba Dodo",
            rng.choice(COUNTRIES),
            "consumer",
            _limit(rng),
            f"{moment:%Y-%m-%d %H:%M:%S}",
        ]
        lines += [
            _csv([[("X", "", "u")[n % 3], *values]]),
            _csv([["I", "", *values[1:]]]),
            _csv([["I", *values[:-1]]]) if n % 2 else _csv([["I", *values, "more"]]),
            _csv([["I", *values]]).replace(b"Baba", b"B\xe9ba"),
        ]
    for rule in ("bad_op", "missing_key", "ragged", "bad_encoding"):
        planted[rule] += share
    return _stamped(CUSTOMERS, moment, "csv"), b"".join(lines), len(lines)
