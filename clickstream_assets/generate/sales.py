"""Sales landing files: each load date has full snapshots of customers, products and locations, and the day's sales.

Members are numbers; what a member is like on a day is computed from its number and the day, so that a day needs no
other day: some change now and then, a few appear in time. Names are syllables, addresses are at example.com and
example.org. Money is in one currency, with two decimals.
"""

import csv
import gzip
import io
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from clickstream_assets.generate import Generated
from clickstream_assets.generate.story import (
    FIRST_PRODUCT,
    LAUNCHED_NAME,
    PRODUCTS,
    Story,
    catalogue,
    chosen,
)

Ints: TypeAlias = npt.NDArray[np.int64]
Write: TypeAlias = Callable[[str, bytes], None]

COLUMNS = {
    "customers": ("customer_id", "first_name", "last_name", "email", "city", "state"),
    "products": ("product_id", "product_name", "category", "subcategory", "brand", "unit_price"),
    "locations": ("location_id", "store_name", "city", "state", "region", "country"),
    "sales": (
        *("sale_id", "sale_date", "customer_id", "product_id", "location_id"),
        *("quantity", "unit_price", "discount", "tax_amount"),
    ),
}
MAX_ROWS_PER_FILE = 500_000
EARLIEST = date(2000, 1, 1)
OPENED = date(2024, 1, 1)  # from then on members are added
TAX = 8  # per cent

SYLLABLES = ("ba", "do", "fi", "gu", "ka", "lo", "mi", "nu", "pe", "ru", "sa", "to", "vi", "zu")
HOSTS = ("example.com", "example.org")
# city, state, region
PLACES = (
    ("Albany", "New York", "Northeast"),
    ("Austin", "Texas", "South"),
    ("Boise", "Idaho", "West"),
    ("Boston", "Massachusetts", "Northeast"),
    ("Chicago", "Illinois", "Midwest"),
    ("Columbus", "Ohio", "Midwest"),
    ("Denver", "Colorado", "West"),
    ("Madison", "Wisconsin", "Midwest"),
    ("Nashville", "Tennessee", "South"),
    ("Phoenix", "Arizona", "West"),
    ("Portland", "Oregon", "West"),
    ("Richmond", "Virginia", "South"),
)
COUNTRY = "United States"
# category, subcategory
SHELVES = (
    ("Home", "Kitchen"),
    ("Home", "Lighting"),
    ("Garden", "Tools"),
    ("Garden", "Plants"),
    ("Office", "Paper"),
    ("Office", "Desks"),
    ("Sports", "Cycling"),
    ("Sports", "Camping"),
)
THINGS = ("Lamp", "Kettle", "Chair", "Rake", "Notebook", "Tent", "Bottle", "Shelf")
BRANDS = ("Acme", "Borealis", "Cobalt", "Delta", "Ember")

# In a story.
WEB = 0.55  # share of the sales that are made on the site, and so hang on it
ONLINE = ((3, 0.2), (5, 0.15), (1, 0.12), (6, 0.08))  # place and share of the sales of each store of the site
STORES = (3, 4, 11, 1, 0, 10, 5, 9, 6, 8, 7, 2)  # places of the others, from the largest to the smallest
LAUNCHED_SHELF, LAUNCHED_BRAND = 7, 1
# how many of a hundred products each shelf and brand has, and how often its products have a discount
SHELF_PRODUCTS = (18, 9, 10, 7, 8, 5, 20, 23)
SHELF_DISCOUNTS = (0.3, 0.18, 0.4, 0.5, 0.1, 0.2, 0.35, 0.28)
BRAND_PRODUCTS = (36, 27, 19, 12, 6)
# what costs so many cents or more is the next thing of its shelf
STEEPER = (2_500, 6_000, 13_000)
SHELF_THINGS = (
    ("Bowl", "Knife", "Kettle", "Mixer"),
    ("Spot", "Lantern", "Lamp", "Chandelier"),
    ("Trowel", "Spade", "Shears", "Mower"),
    ("Herb Pot", "Fern", "Planter", "Olive Tree"),
    ("Notebook", "Planner", "Paper Box", "Shredder"),
    ("Shelf", "Lamp Arm", "Chair", "Desk"),
    ("Bell", "Tyre", "Helmet", "Bike Rack"),
    ("Bottle", "Stove", "Sleeping Bag", "Tent"),
)
CUSTOMERS = 6  # of a story, for each sale of an average day
REGULARS = 0.7  # share of them that are there from the beginning; the others come one day after the other
LEAVE = 60  # days after which half of the customers do not come any more


@dataclass(frozen=True)
class Company:
    """What belongs to the seed: how many members there were at first, and what their attributes are drawn from."""

    seed: int
    customers: int
    products: int
    locations: int

    @classmethod
    def of(cls, seed: int, rows_per_day: int) -> "Company":
        """The company of a seed; it grows with the rows."""
        return cls(
            seed,
            max(20, rows_per_day // 5),
            min(max(10, rows_per_day // 100), 1_000),
            min(max(10, rows_per_day // 1_000), 100),
        )

    def count(self, feed: str, day: date) -> int:
        """How many members there are on a day."""
        days = max(0, (day - OPENED).days)
        match feed:
            case "customers":
                return self.customers + days // 3 + days * self.customers // 4_000
            case "products":
                return self.products + days // 10
            case _:
                return self.locations + days // 90

    def draw(self, members: Ints, salt: int, choices: int) -> Ints:
        """A number below ``choices`` for each member, always the same: the 64 bits of splitmix, mixed with the seed."""
        with np.errstate(over="ignore"):
            bits = members.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(self.seed * 1_000_003 + salt)
            for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
                bits = (bits ^ (bits >> np.uint64(shift))) * np.uint64(factor)
            bits ^= bits >> np.uint64(31)
        return (bits % np.uint64(choices)).astype(np.int64)

    def version(self, members: Ints, salt: int, day: date, period: int) -> Ints:
        """How often each member has changed by a day: about once in ``period`` days, each on days of its own."""
        periods = period + self.draw(members, salt, period)
        return ((day - OPENED).days + self.draw(members, salt + 1, 2 * period)) // periods

    def customer_rows(self, members: Ints, day: date) -> pa.Table:
        """Customers as they are on a day. One in twenty has no address; they move about once a year."""
        place = self.draw(members * 65_536 + self.version(members, 10, day, 250), 12, len(PLACES))
        first, last = (
            self._name(members, 20, 2),
            self._name(members * 65_536 + self.version(members, 14, day, 3_000), 30, 3),
        )
        host = _pick(HOSTS, self.draw(members * 65_536 + self.version(members, 16, day, 500), 18, len(HOSTS)))
        email = _join(pc.utf8_lower(first), ".", pc.utf8_lower(last), ".", _text(members + 1), "@", host)
        columns = [
            _id("C", members, 7),
            first,
            last,
            pc.if_else(pa.array(self.draw(members, 19, 20) == 0), "", email),
            *_place(place)[:2],
        ]
        return pa.table(columns, names=list(COLUMNS["customers"]))

    def product_rows(self, day: date) -> pa.Table:
        """Products as they are on a day. Prices change about twice a year, brands hardly ever."""
        members = np.arange(self.count("products", day))
        shelf = self.draw(members, 40, len(SHELVES))
        thing = _pick(THINGS, self.draw(members, 41, len(THINGS)))
        brand = self.draw(members * 65_536 + self.version(members, 42, day, 2_000), 44, len(BRANDS))
        columns = [
            _id("P", members, 5),
            _join(thing, " ", _text(members + 1)),
            _pick([category for category, _ in SHELVES], shelf),
            _pick([subcategory for _, subcategory in SHELVES], shelf),
            _pick(BRANDS, brand),
            _money(self.prices(day)),
        ]
        return pa.table(columns, names=list(COLUMNS["products"]))

    def prices(self, day: date) -> Ints:
        """Cents that each product costs on a day."""
        members = np.arange(self.count("products", day))
        base = 300 + self.draw(members, 45, 100) ** 2 * 2
        return base * (90 + self.draw(members * 65_536 + self.version(members, 46, day, 120), 48, 31)) // 100

    def location_rows(self, day: date) -> pa.Table:
        """Locations as they are on a day. Now and then a store gets another name."""
        members = np.arange(self.count("locations", day))
        city, state, region = _place(self.draw(members, 50, len(PLACES)))
        named = _pick(
            ("Market", "Corner", "Center"), self.draw(members * 65_536 + self.version(members, 51, day, 400), 53, 3)
        )
        columns = [
            _id("L", members, 4),
            _join(city, " ", named, " ", _text(members + 1)),
            *(city, state, region),
            pa.repeat(COUNTRY, len(members)),
        ]
        return pa.table(columns, names=list(COLUMNS["locations"]))

    def sale_rows(self, day: date, rows: int) -> pa.Table:
        """The sales that arrive on a day: one in twenty is of the day before."""
        rng = np.random.default_rng([self.seed, day.toordinal(), rows])
        prices = self.prices(day)
        customer, product, location = (
            (count * rng.random(rows) ** power).astype(np.int64)
            for count, power in (
                (self.count("customers", day), 2.0),
                (len(prices), 1.7),
                (self.count("locations", day), 1.3),
            )
        )
        dates = _pick(
            (str(day), str(day - timedelta(1))), (rng.random(rows) < (day > EARLIEST) * 0.05).astype(np.int64)
        )
        quantity = np.minimum(rng.geometric(0.6, rows), 9)
        percent = np.where(rng.random(rows) < 0.2, 5 * rng.integers(1, 6, rows), 0)
        discount = prices[product] * quantity * percent // 100
        tax = (prices[product] * quantity - discount) * TAX // 100
        columns = [
            _join(f"S{day:%Y%m%d}-", pc.utf8_lpad(_text(np.arange(1, rows + 1)), 7, "0")),
            dates,
            _id("C", customer, 7),
            _id("P", product, 5),
            _id("L", location, 4),
            _text(quantity),
            _money(prices[product]),
            pc.if_else(pa.array(discount == 0), "", _money(discount)),
            _money(tax),
        ]
        return pa.table(columns, names=list(COLUMNS["sales"]))

    def rows(self, day: date, average: int) -> int:
        """How many sales arrive on a day, where an average one has so many."""
        return average

    def _name(self, members: Ints, salt: int, syllables: int) -> pa.Array:
        picked = (_pick(SYLLABLES, self.draw(members, salt + n, len(SYLLABLES))) for n in range(syllables))
        return pc.utf8_capitalize(_join(*picked))


@dataclass(frozen=True)
class StoryCompany(Company):
    """The company of a story: some products, stores and customers matter more than others, and a product comes late.

    Products have the numbers that they have on the site; the last one is there from its launch on. Of the customers,
    some come in the course of the story, and some leave; most buy once or twice, a few every week.
    """

    story: Story

    @classmethod
    def of_story(cls, seed: int, rows_per_day: int, story: Story) -> "StoryCompany":
        """The company of a seed; its customers are more with more rows."""
        stores = len(ONLINE) + len(STORES)
        return cls(seed, max(40, CUSTOMERS * rows_per_day), PRODUCTS, stores, story)

    def rows(self, day: date, average: int) -> int:
        """How many sales arrive on a day: more of the visitors of the site buy during the campaign."""
        told = self.story.on(day)
        return replace(told, traffic=told.traffic * told.conversion).rows(average, WEB)

    def count(self, feed: str, day: date) -> int:
        """How many members there are on a day."""
        match feed:
            case "customers":
                share = (1 - REGULARS) * min(max((day - self.story.first).days + 1, 0) / self.story.days, 1)
                return int(self.customers * (REGULARS + share))
            case "products":
                return self.products + (self.story.on(day).launched > 0)
            case _:
                return self.locations

    def _of_hundred(self, members: Ints, salt: int, shares: Sequence[int]) -> Ints:
        """A choice for each member, some of them more often than others."""
        chosen: Ints = np.searchsorted(np.cumsum(shares), self.draw(members, salt, 100), side="right")
        return chosen

    def _shelves(self, members: Ints) -> Ints:
        shelves = self._of_hundred(members, 40, SHELF_PRODUCTS)
        return np.where(members == PRODUCTS, LAUNCHED_SHELF, shelves)

    def product_rows(self, day: date) -> pa.Table:
        """Products as they are on a day, with names that fit their shelves."""
        members = np.arange(self.count("products", day))
        shelves = self._shelves(members)
        brand = np.where(members == PRODUCTS, LAUNCHED_BRAND, self._of_hundred(members, 44, BRAND_PRODUCTS))
        things = np.searchsorted(STEEPER, self._usual_prices(members), side="right").tolist()
        names = [
            LAUNCHED_NAME if member == PRODUCTS else f"{SHELF_THINGS[shelf][thing]} {FIRST_PRODUCT + member}"
            for member, shelf, thing in zip(members.tolist(), shelves.tolist(), things, strict=True)
        ]
        columns = [
            _id("P", members + FIRST_PRODUCT - 1, 5),
            pa.array(names),
            _pick([category for category, _ in SHELVES], shelves),
            _pick([subcategory for _, subcategory in SHELVES], shelves),
            _pick(BRANDS, brand),
            _money(self.prices(day)),
        ]
        return pa.table(columns, names=list(COLUMNS["products"]))

    def _usual_prices(self, members: Ints) -> Ints:
        numbers, cents, _ = catalogue(self.seed)
        usual: Ints = cents[np.argsort(numbers)][members]
        return usual

    def prices(self, day: date) -> Ints:
        """Cents that each product costs on a day: about what it costs on the site."""
        members = np.arange(self.count("products", day))
        base = self._usual_prices(members)
        steps = 97 + self.draw(members * 65_536 + self.version(members, 46, day, 120), 48, 7)
        return np.where(members == PRODUCTS, base, base * steps // 100)

    def location_rows(self, day: date) -> pa.Table:
        """The stores of the site, one in each region, then the others."""
        place = np.array([*(place for place, _ in ONLINE), *STORES])
        city, state, region = _place(place)
        kinds = ["Online"] * len(ONLINE) + [("Center", "Market", "Corner")[n * 3 // len(STORES)] for n in range(12)]
        columns = [
            _id("L", np.arange(place.size), 4),
            _join(city, " ", pa.array(kinds)),
            *(city, state, region),
            pa.repeat(COUNTRY, place.size),
        ]
        return pa.table(columns, names=list(COLUMNS["locations"]))

    def sale_rows(self, day: date, rows: int) -> pa.Table:
        """The sales that arrive on a day: one in twenty is of the day before."""
        told = self.story.on(day)
        rng = np.random.default_rng([self.seed, day.toordinal(), rows, 3])
        numbers, _, shares = catalogue(self.seed)
        before = rng.random(rows) < (0 if told.opens else 0.05)
        picked = chosen(rng, rows, shares, told)
        picked = np.where(before & (picked == PRODUCTS), 0, picked)  # then it may not have been there
        product = numbers[picked] - FIRST_PRODUCT
        customer = self._customers(rng, rows, day)
        large = self.draw(customer, 60, 100) < 12  # of customers
        quantity = np.minimum(rng.geometric(np.where(large, 0.3, 0.75)), 9)

        web = WEB * told.traffic * told.conversion
        online = rng.random(rows) < web / (web + 1 - WEB)
        sites, stores = (np.array(one) for one in ([share for _, share in ONLINE], _sizes(len(STORES))))
        location = np.where(
            online,
            rng.choice(sites.size, size=rows, p=sites / sites.sum()),
            sites.size + rng.choice(stores.size, size=rows, p=stores),
        )

        prices = self.prices(day)[product]
        often = np.array(SHELF_DISCOUNTS)[self._shelves(product)] + (0.3 if told.campaign else 0.0)
        percent = np.where(
            rng.random(rows) < often, rng.choice((5, 10, 15, 20, 30), rows, p=(0.3, 0.3, 0.2, 0.15, 0.05)), 0
        )
        discount = prices * quantity * percent // 100
        columns = [
            _join(f"S{day:%Y%m%d}-", pc.utf8_lpad(_text(np.arange(1, rows + 1)), 7, "0")),
            _pick((str(day), str(day - timedelta(1))), before.astype(np.int64)),
            _id("C", customer, 7),
            _id("P", product + FIRST_PRODUCT - 1, 5),
            _id("L", location, 4),
            _text(quantity),
            _money(prices),
            pc.if_else(pa.array(discount == 0), "", _money(discount)),
            _money((prices * quantity - discount) * TAX // 100),
        ]
        return pa.table(columns, names=list(COLUMNS["sales"]))

    def _customers(self, rng: np.random.Generator, rows: int, day: date) -> Ints:
        """Who buys: those that have not left, some of them a hundred times as often as others."""
        members = np.arange(self.count("customers", day))
        coming = np.maximum(members / self.customers - REGULARS, 0) / (1 - REGULARS) * self.story.days
        known = (day - self.story.first).days - coming  # for how many days
        stays = -LEAVE * np.log2((self.draw(members, 61, 10_000) + 1) / 10_001)
        often = ((self.draw(members, 62, 10_000) + 40) / 10_040) ** -0.85
        often *= np.where(known > stays, 0.02, 1) * np.where(known < 2, 4, 1)  # who is new has come to buy
        chances = np.cumsum(often)
        found: Ints = np.searchsorted(chances, rng.random(rows) * chances[-1], side="right")
        return np.minimum(found, members.size - 1)


def _sizes(count: int) -> npt.NDArray[np.float64]:
    """Shares of so many, from the largest to the smallest."""
    sizes = (np.arange(count) + 1.5) ** -0.9
    shares: npt.NDArray[np.float64] = sizes / sizes.sum()
    return shares


def _text(numbers: Ints) -> pa.Array:
    return pa.array(numbers).cast(pa.string())


def _pick(choices: Sequence[str], indexes: Ints) -> pa.Array:
    return pa.array(choices).take(pa.array(indexes))


def _place(indexes: Ints) -> list[pa.Array]:
    return [_pick([place[n] for place in PLACES], indexes) for n in range(3)]


def _join(*parts: Any) -> pa.Array:
    return pc.binary_join_element_wise(*parts, "")


def _id(letter: str, members: Ints, digits: int) -> pa.Array:
    return _join(letter, pc.utf8_lpad(_text(members + 1), digits, "0"))


def _money(cents: Ints) -> pa.Array:
    return _join(_text(cents // 100), ".", pc.utf8_lpad(_text(cents % 100), 2, "0"))


def generate(
    write: Write,
    *,
    first: date,
    last: date,
    rows_per_day: int,
    seed: int = 0,
    faults: bool = False,
    progress: Callable[[date], None] | None = None,
    story: Story | None = None,
) -> Generated:
    """Writes the files of the load dates `first` to `last`, both included, `rows_per_day` sales each.

    Without faults a day's bytes depend on (seed, day, rows_per_day, story) alone. With faults some sales are corrected
    on the day after, and some customers arrive after their first sale: that depends on `first`, too. `write` gets paths
    relative to the landing root; `progress` is called after each day. ValueError for arguments that make no sense.
    """
    if first > last:
        raise ValueError(f"The first day, {first}, is after the last, {last}.")
    if first < EARLIEST:
        raise ValueError(f"Sales data start on {EARLIEST}; {first} is before.")
    if rows_per_day < 1 or seed < 0:
        raise ValueError(f"Rows per day must be at least 1 and the seed 0 or more, not {rows_per_day} and {seed}.")
    company = StoryCompany.of_story(seed, rows_per_day, story) if story else Company.of(seed, rows_per_day)
    paths: list[str] = []
    planted: Counter[str] = Counter()
    rows = 0
    for day in (first + timedelta(n) for n in range((last - first).days + 1)):
        good = {
            "customers": company.customer_rows(np.arange(company.count("customers", day)), day),
            "products": company.product_rows(day),
            "locations": company.location_rows(day),
            "sales": company.sale_rows(day, company.rows(day, rows_per_day)),
        }
        if faults:
            files = _faulty_files(company, good, rows_per_day, first, day, planted)
        else:
            files = (file for feed, table in good.items() for file in _plain_files(feed, day, table))
        for feed, name, content, count in files:
            paths.append(f"sales/{feed}/load_date={day}/{name}")
            write(paths[-1], content)
            rows += count
        if progress:
            progress(day)
    return Generated(paths, rows, dict(planted))


#: feed, name and content of a file, and how many records it adds to what is loaded
File: TypeAlias = tuple[str, str, bytes, int]


def _body(table: pa.Table) -> bytes:
    """CSV text without header; nothing in it needs quotes."""
    sink = io.BytesIO()
    arrow_csv.write_csv(table, sink, arrow_csv.WriteOptions(include_header=False, quoting_style="none"))
    return sink.getvalue()


def _lines(table: pa.Table) -> list[bytes]:
    return _body(table).splitlines()


def _plain_files(feed: str, day: date, table: pa.Table) -> Iterator[File]:
    """Files of at most `MAX_ROWS_PER_FILE` records."""
    for index, start in enumerate(range(0, len(table), MAX_ROWS_PER_FILE)):
        some = table.slice(start, MAX_ROWS_PER_FILE)
        yield _named(feed, day, index, _body(some), len(some))


def _files(feed: str, day: date, lines: Sequence[bytes]) -> Iterator[File]:
    """The same of lines."""
    for index, start in enumerate(range(0, len(lines), MAX_ROWS_PER_FILE)):
        some = lines[start : start + MAX_ROWS_PER_FILE]
        yield _named(feed, day, index, b"\n".join((*some, b"")), len(some))


def _named(feed: str, day: date, index: int, body: bytes, count: int) -> File:
    """A file with its header; every third day is compressed."""
    name, content = f"{feed}-{index:04}.csv", _header(feed) + body
    if day.toordinal() % 3:
        return feed, name, content, count
    return feed, f"{name}.gz", gzip.compress(content, compresslevel=1, mtime=0), count


def _header(feed: str) -> bytes:
    return ",".join(COLUMNS[feed]).encode() + b"\n"


# Faults. A broken record starts as a good one under an id of its own and breaks one rule only.
# fmt: off
BROKEN: dict[str, dict[str, tuple[dict[str, str | None], ...]]] = {  # None: left out
    "customers": {
        "missing_customer_id": ({"customer_id": ""}, {"customer_id": " "}),
        "bad_email": tuple({"email": text} for text in (
            "nobody", "no body@example.com", "one@two@example.com", "nobody@example", "@example.com")),
        "ragged": ({"state": None}, {"state": "Ohio,more"}),
        "bad_encoding": ({"city": "Orl\xe9ans"},),
    },
    "products": {
        "missing_product_id": ({"product_id": ""},),
        "bad_unit_price": tuple({"unit_price": text} for text in ("", "abc", "-5.00", "NaN")),
    },
    "locations": {"missing_location_id": ({"location_id": ""},)},
    "sales": {
        **{f"missing_{key}": ({key: ""},) for key in ("sale_id", "customer_id", "product_id", "location_id")},
        "bad_sale_date": tuple({"sale_date": text} for text in (
            "", "2024-02-30", "1999-12-31", "01/02/2024", "2024-1-5", "9999-12-31")),
        "bad_quantity": tuple({"quantity": text} for text in ("", "0", "-1", "2.5", "1000000000", "two")),
        "bad_unit_price": tuple({"unit_price": text} for text in ("", "abc", "-5.00", "NaN")),
        "bad_discount": tuple({"discount": text} for text in ("abc", "-5.00", "10%")),
        "bad_tax_amount": tuple({"tax_amount": text} for text in ("abc", "-0.01", "inf")),
        "gross_too_large": ({"quantity": "999999999", "unit_price": "9999999999.99"},),
        "discount_above_gross": ({"quantity": "2", "unit_price": "5.00", "discount": "10.01"},),
        "ragged": ({"tax_amount": None}, {"tax_amount": "1.00,more"}),
        "bad_encoding": ({"location_id": "L\xe9"},),
    },
}
# fmt: on


def _faulty_files(
    company: Company, good: dict[str, pa.Table], rows_per_day: int, first: date, day: date, planted: Counter[str]
) -> Iterator[File]:
    """The day with known faults, counted into `planted`. A tenth of the sales, at most 1,000, are in an odd file."""
    sales = good["sales"]
    share = _share(len(sales))
    lines = {feed: _lines(table) for feed, table in good.items()}
    copied = lines["sales"][:share]
    odd = lines["sales"][:: max(10, -(-len(sales) // 1_000))] if len(sales) >= 10 else []
    if odd:
        taken = set(odd)
        lines["sales"] = [line for line in lines["sales"] if line not in taken]
    for feed, rules in BROKEN.items():
        lines[feed] += _broken_lines(feed, day, share if feed == "sales" else 1, planted, rules, good[feed])
    # The same key twice in a day: sales as they are, a customer with blanks around the id and a city of its own.
    lines["sales"] += copied
    again = dict(zip(COLUMNS["customers"], lines["customers"][0].decode().split(","), strict=True))
    lines["customers"].append(
        ",".join((again | {"customer_id": f" {again['customer_id']} ", "city": ""}).values()).encode()
    )
    planted["duplicate"] += len(copied) + 1
    # Sales of customers that come a day or two later, and those that have come.
    late = _late(company, day, share)
    sold = [dict(zip(COLUMNS["sales"], line.decode().split(","), strict=True)) for line in _lines(sales[:share])]
    lines["sales"] += [
        ",".join((sale | {"sale_id": f"{sale['sale_id']}-L", "customer_id": customer}).values()).encode()
        for sale, customer in zip(sold, late["customer_id"].to_pylist(), strict=True)
    ]
    planted["late_customer"] += share
    for n in range((day - first).days):
        came = first + timedelta(n)
        late = _late(company, came, _share(company.rows(came, rows_per_day)))
        arrived = [line for k, line in enumerate(_lines(late)) if came + timedelta(1 + k % 2) <= day]
        lines["customers"] += arrived
    for feed, of_feed in lines.items():
        files = list(_files(feed, day, of_feed))
        yield from files
        if feed == "sales":
            _, name, content, _ = files[0]
            yield feed, name.replace("0000", "copy"), content, 0
    planted["duplicate_file"] += 1
    yield _rejected(day, lines["customers"][:50])
    planted["rejected_file"] += 1
    if odd:
        yield "sales", "odd but good.csv", _odd([line.decode().split(",") for line in odd]), len(odd)
    if day > first:
        before = day - timedelta(1)
        corrected = _corrected(company.sale_rows(before, company.rows(before, rows_per_day))[:share])
        planted["corrected_sale"] += len(corrected)
        yield "sales", "corrections.csv", _header("sales") + b"\n".join((*corrected, b"")), len(corrected)


def _share(sales: int) -> int:
    """How many records of each fault a day with so many sales has."""
    return max(1, sales // 500)


def _broken_lines(
    feed: str,
    day: date,
    share: int,
    planted: Counter[str],
    rules: dict[str, tuple[dict[str, str | None], ...]],
    good: pa.Table,
) -> Iterator[bytes]:
    columns = COLUMNS[feed]
    records = [
        dict(zip(columns, line.decode().split(","), strict=True)) for line in _lines(good.slice(len(good) // 2, 1))
    ]
    number = 0
    for rule, variants in rules.items():
        planted[rule] += share
        for n in range(share):
            number += 1
            record: dict[str, str | None] = dict(records[0])
            record |= {columns[0]: f"X{number}"}
            if feed == "sales":
                record |= {"discount": "", "tax_amount": ""}
            record |= variants[(day.toordinal() + n) % len(variants)]
            yield ",".join(text for text in record.values() if text is not None).encode("latin-1")


def _late(company: Company, day: date, share: int) -> pa.Table:
    """Customers whose first sale is on a day and who are in the snapshots of one or two days later."""
    rows = company.customer_rows(np.arange(share) + 10**6 + day.toordinal() * share, day)
    ids = _join(f"C{day:%Y%m%d}", pc.utf8_lpad(_text(np.arange(share)), 5, "0"))
    return rows.set_column(0, "customer_id", ids)


def _corrected(sales: pa.Table) -> list[bytes]:
    """The same sales with one more of each."""
    quantity = pc.add(sales["quantity"].cast(pa.int64()), 1).cast(pa.string())
    return _lines(sales.set_column(sales.column_names.index("quantity"), "quantity", quantity))


def _rejected(day: date, lines: Sequence[bytes]) -> File:
    """A customers file that cannot be read as a whole: without a required column, or cut short."""
    content = _header("customers") + b"\n".join((*lines, b""))
    if day.toordinal() % 2:
        packed = gzip.compress(content, mtime=0)
        return "customers", "rejected-cut.csv.gz", packed[: len(packed) * 2 // 3], 0
    return "customers", "rejected-column.csv", b"\n".join(line.rpartition(b",")[0] for line in content.splitlines()), 0


def _odd(records: list[list[str]]) -> bytes:
    """The same good sales as unusual CSV: byte order mark, CRLF, other order, a column more, blanks around values."""
    text = io.StringIO(newline="")
    writer: Any = csv.DictWriter(text, ("channel", *reversed(COLUMNS["sales"])))
    writer.writeheader()
    for n, record in enumerate(records):
        row = dict(zip(COLUMNS["sales"], record, strict=True))
        row |= {
            "quantity": f" 0{row['quantity']}",
            "unit_price": f"{row['unit_price']}0",
            "channel": ("web, app", 'the "shop"')[n % 2],
        }
        writer.writerow(row)
    return text.getvalue().encode("utf-8-sig")
