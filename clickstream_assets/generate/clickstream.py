"""Clickstream landing files: what the pages of a small shop send, as Firehose writes it.

The events of a day are drawn as visitors → sessions → steps → events: a step is a short fixed run (a page, a page and
a click, a product viewed, put in the cart, bought), so the funnel holds by construction. What an event says follows
from its row of that drawing alone. So an event that arrives on a later day, or a second time, reads the same, and a
range of days equals its days: the files of a day are made from the drawings of that day and of the three before.
"""

import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from clickstream_assets.generate import Generated
from clickstream_assets.generate.story import CAMPAIGN, DOWN, MEDIUM, SOURCE, Day, Story, catalogue, chosen, hours

Ints: TypeAlias = npt.NDArray[np.int64]
#: rows of a drawing, column by column
Columns: TypeAlias = dict[str, Ints]

STREAM = "shop-events"
FIRST_DAY = date(2024, 1, 1)  # no event is older
RECORDS_PER_FILE = 48_000  # good ones; with the faults at most 50,000
LATE_DAYS = 3
SECOND = 1_000  # durations are in milliseconds
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

EVENTS = ("page_view", "click", "product_view", "add_to_cart", "purchase", "login")
PAGE_VIEW, CLICK, PRODUCT_VIEW, ADD_TO_CART, PURCHASE, LOGIN = range(len(EVENTS))
STEPS = np.array([[0, 0, 0, 0], [0, 1, 0, 0], [0, 2, 0, 0], [0, 2, 3, 0], [0, 2, 3, 4], [5, 0, 0, 0]])
STEP_LENGTHS = np.array([1, 2, 2, 3, 4, 1])
STEP_BOUNDS = np.cumsum([0.47, 0.2, 0.24, 0.06])  # page, click, view, cart; the rest buys
BROWSE, VIEW, LOG_IN = 0, 2, 5  # steps
# visits by hour of the day, UTC
HOURS = (3, 2, 1, 1, 1, 2, 4, 6, 7, 8, 9, 9, 11, 10, 9, 9, 9, 10, 12, 14, 15, 13, 9, 6)

SITE = "https://shop.example.com"
# pages on which a visit may begin, then others; the last three have fixed places
ENTRIES = ("/", "/", "/sale", "/new", "/category/shoes", "/category/bags", "/category/tents", "/blog/how-to-pack")
PAGES = (
    *ENTRIES,
    "/search?q=rain+jacket",
    "/search?q=Gr%C3%B6%C3%9Fe+42",
    "/about",
    "/cart",
    "/checkout/thanks",
    "/login",
)
CART, THANKS, LOGIN_PAGE = len(PAGES) - 3, len(PAGES) - 2, len(PAGES) - 1

# How visits begin: weight, referrer ("" for none), query of the entry page; what ends in "=" gets a click's id.
_UTM = "utm_source={}&utm_medium={}&utm_campaign={}"
# fmt: off
SOURCES = (
    (260, "", ""),
    (190, "https://www.google.com/", ""), (14, "https://www.google.de/", ""), (22, "https://www.bing.com/", ""),
    (14, "https://duckduckgo.com/", ""), (8, "https://www.ecosia.org/", ""), (6, "https://search.yahoo.com/", ""),
    (4, "https://www.baidu.com/link?url=x", ""), (4, "https://yandex.com/", ""),
    (70, "https://www.google.com/", _UTM.format("google", "cpc", "spring_sale") + "&utm_term=rain+jacket&gclid="),
    (24, "https://www.google.com/", "gclid="),
    (12, "https://www.bing.com/", _UTM.format("bing", "cpc", "brand") + "&msclkid="),
    (10, "", _UTM.format("google", "cpc", "shopping_feed") + "&gad_source=1&gbraid="),
    (26, "https://l.facebook.com/", "fbclid="),
    (20, "https://m.facebook.com/", _UTM.format("facebook", "paid_social", "summer%20look") + "&fbclid="),
    (14, "https://l.instagram.com/", _UTM.format("instagram", "social", "stories") + "&utm_content=story_3"),
    (10, "https://t.co/a1B2c3", ""), (7, "https://www.reddit.com/r/hiking/", ""), (7, "https://www.pinterest.com/", ""),
    (6, "https://www.linkedin.com/", ""), (9, "https://www.youtube.com/", ""),
    (6, "https://www.tiktok.com/", "ttclid="),
    (4, "https://www.youtube.com/", _UTM.format("youtube", "video", "tents")),
    (26, "https://chatgpt.com/", "utm_source=chatgpt.com"), (8, "https://chatgpt.com/", ""),
    (9, "https://www.perplexity.ai/", ""), (6, "https://gemini.google.com/", ""), (5, "https://claude.ai/", ""),
    (5, "https://copilot.microsoft.com/", ""),
    (44, "", _UTM.format("newsletter", "email", "week_10")),
    (8, "https://mail.google.com/", _UTM.format("newsletter", "email", "week_10")),
    (12, "https://ads.example.net/slot/7", _UTM.format("adnet", "display", "retargeting") + "&utm_content=banner%2B1"),
    (10, "https://deals.example.org/tents", _UTM.format("deals", "affiliate", "partner_17")),
    (18, "https://blog.example.net/best-tents-of-the-year", ""), (9, "https://news.example.org/outdoors", ""),
    (7, "https://help.shop.example.com/returns", ""), (5, SITE + "/", ""),
    (5, "", _UTM.format("app", "push", "cart_reminder")), (3, "", _UTM.format("sms", "sms", "flash")),
)
STORY_SOURCES = (*SOURCES, (0, "https://l.instagram.com/", _UTM.format(SOURCE, MEDIUM, CAMPAIGN) + "&utm_content=reel"))
# In a story: how many of a thousand further visits the campaign brings, and of the visits from where this is found in
# query or referrer, the first that is: the share that leaves at once, and how willingly the others buy.
CAMPAIGN_VISITS = 450
MANNERS = (
    (CAMPAIGN, 0.42, 1.0), ("utm_medium=email", 0.18, 2.0), ("affiliate", 0.3, 1.6), ("push", 0.3, 1.8),
    ("sms", 0.35, 1.5), ("display", 0.62, 0.3), ("video", 0.5, 0.4), ("paid_social", 0.52, 0.6),
    ("social", 0.5, 0.5), ("cpc", 0.33, 1.35), ("gclid", 0.33, 1.25), ("clid", 0.5, 0.5),
    ("chatgpt", 0.26, 1.4), ("perplexity", 0.3, 1.2), ("gemini", 0.3, 1.1), ("claude", 0.26, 1.3),
    ("copilot", 0.34, 1.0), ("t.co/", 0.58, 0.3), ("reddit", 0.48, 0.6), ("pinterest", 0.45, 0.7),
    ("youtube", 0.5, 0.5), ("linkedin", 0.55, 0.4), ("example", 0.4, 0.8), ("http", 0.38, 0.95), ("", 0.32, 1.15),
)
_CHROME = "Mozilla/5.0 ({}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{}.0.0.0 Safari/537.36"
_MOBILE = "Mozilla/5.0 (Linux; Android {}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{}.0.0.0 Mobile Safari/537.36"
_SAFARI = "Mozilla/5.0 ({}) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/{} {}Safari/{}"
_FIREFOX = "Mozilla/5.0 ({0}; rv:{1}.0) Gecko/20100101 Firefox/{1}.0"
_WINDOWS, _MAC, _LINUX = "Windows NT 10.0; Win64; x64", "Macintosh; Intel Mac OS X 10_15_7", "X11; Linux x86_64"
_IPHONE = "iPhone; CPU iPhone OS {} like Mac OS X"
PEOPLE = (
    *(_CHROME.format(_WINDOWS, n) for n in (120, 121, 122, 123, 124)),
    *(_CHROME.format(_MAC, n) for n in (122, 123, 124)),
    _CHROME.format(_LINUX, 123), *(_CHROME.format(_WINDOWS, n) + f" Edg/{n}.0.0.0" for n in (121, 122, 123)),
    *(_MOBILE.format(a, n) for a, n in ((10, 120), (12, 122), (13, 123), (14, 124))),
    _MOBILE.format("14; SM-S918B", 123).replace("Chrome", "SamsungBrowser/24.0 Chrome"),
    *(_SAFARI.format(_IPHONE.format(s), v, "Mobile/15E148 ", "604.1") for s, v in (
        ("16_6", "16.6"), ("17_2", "17.2"), ("17_3_1", "17.3.1"), ("17_4", "17.4"))),
    _SAFARI.format("iPad; CPU OS 17_3 like Mac OS X", "17.3", "Mobile/15E148 ", "604.1"),
    *(_SAFARI.format(_MAC, v, "", "605.1.15") for v in ("16.6", "17.2", "17.4")),
    *(_FIREFOX.format(_WINDOWS, n) for n in (115, 122, 123, 124)),
    _FIREFOX.format(_MAC, 123), _FIREFOX.format(_LINUX, 123),
    _CHROME.format(_WINDOWS, 122) + " OPR/108.0.0.0",
)
CRAWLERS = (
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    "Mozilla/5.0 (compatible; YandexBot/3.0; +http://yandex.com/bots)",
    "Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)",
    "Mozilla/5.0 (compatible; SemrushBot/7~bl; +http://www.semrush.com/bot.html)",
    "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)",
    "Mozilla/5.0 (compatible; ClaudeBot/1.0; +https://www.anthropic.com/claude)",
    "CCBot/2.0 (https://commoncrawl.org/faq/)",
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
    "python-requests/2.31.0",
)
# fmt: on
AGENTS = (*PEOPLE, *CRAWLERS)
LOCALES = ("de-DE", "en-GB", "en-US", "fr-FR", "nl-NL", "sv-SE")
CURRENCIES = ("EUR", "GBP", "USD", "EUR", "EUR", "SEK")  # of the locales
SCREENS = ("1920x1080", "390x844", "2560x1440", "412x915")
STORY_SHARES = np.array([0.48, 0.2, 0.245, 0.052, 0.023])  # of the steps page, click, view, cart, buy
STORY_FILES = 3  # of a day, at least where it has rows enough
EARLIER = 14  # days before a story of which visitors come again
NEW, AGAIN = 0.09, 0.5  # visitors who come for the first time, to a row; share of the visits of those who came before
FORGET, LOYAL = 1.1, 2.5  # how fast visitors stay away, and how much more often some come than others
DOCUMENTATION = ("192.0.2", "198.51.100", "203.0.113")  # the networks for examples; who finds no place is in 10.0.0.0/8


@dataclass(frozen=True)
class Public:
    """Who visits the site in a story: each day some for the first time, and some who came before, ever less of them.

    ``starts``: of each day from ``begins`` on the first visitor who comes on it for the first time; one more at the
    end.
    """

    story: Story
    begins: date
    starts: Ints

    @classmethod
    def of(cls, story: Story, rows_per_day: int) -> "Public":
        """The public of a story; it grows with the rows."""
        begins = story.first - timedelta(EARLIER)
        days = (story.on(begins + timedelta(n)) for n in range(EARLIER + story.days))
        sizes = [day.rows(max(1, round(NEW * rows_per_day))) for day in days]
        return cls(story, begins, np.cumsum([0, *sizes]))

    def visits(self, day: date, count: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
        """The visitor and the source of so many visits of a day."""
        told = self.story.on(day)
        weights = [weight for weight, *_ in STORY_SOURCES]
        weights[-1] = CAMPAIGN_VISITS if told.campaign else 0
        shares = np.cumsum(weights)
        source = np.searchsorted(shares, rng.random(count) * shares[-1], side="right")
        today = (day - self.begins).days
        sizes = np.diff(self.starts)
        ago = np.arange(1, today + 1)
        # Whom a campaign brought comes again no more often than who would have come anyhow.
        usual = sizes / np.array([self.story.on(self.begins + timedelta(n)).traffic for n in range(sizes.size)])
        loyal = np.cumsum(usual[today - ago] * (ago + 1.0) ** -FORGET)
        picked = np.searchsorted(loyal, rng.random(count) * loyal[-1], side="right")
        earlier = today - ago[np.minimum(picked, today - 1)]
        known = self.starts[earlier] + (usual[earlier] * rng.random(count) ** LOYAL).astype(np.int64)
        again = (rng.random(count) < AGAIN) & (source < len(SOURCES))
        new = self.starts[today] + (np.cumsum(~again) - 1) % sizes[today]
        return np.where(again, known, new), source


@dataclass(frozen=True)
class Shop:
    """What stays the same from day to day: visitors, from the most to the least frequent, and products.

    ``public``, ``shares``: in a story who comes when, and how much each product is wanted but the last, the launched.
    """

    user: Ints  # of each visitor; -1 for one who never logs in
    agent: Ints
    locale: Ints
    ips: pa.Array  # as text; null where the sender has none
    ips_too: pa.Array  # the same, written in another way where there is one
    products: pa.Array  # "prod_1001" … by popularity
    prices: pa.Array  # text, two decimals
    public: Public | None = None
    shares: npt.NDArray[np.float64] | None = None

    @classmethod
    def of(cls, seed: int, rows_per_day: int) -> "Shop":
        """The shop of a seed; its public grows with the rows."""
        rng = np.random.default_rng([seed, 1])
        numbers = [f"prod_{number}" for number in rng.permutation(np.arange(1001, 5001))]
        cents = np.clip(rng.lognormal(8.2, 0.9, len(numbers)), 300, 90_000).astype(np.int64).tolist()
        return cls(*_visitors(rows_per_day // 4 + 20, rng), *_priced(numbers, cents))

    @classmethod
    def of_story(cls, seed: int, rows_per_day: int, story: Story) -> "Shop":
        """The shop of a seed and a story."""
        public = Public.of(story, rows_per_day)
        numbers, cents, shares = catalogue(seed)
        visitors = _visitors(int(public.starts[-1]), np.random.default_rng([seed, 1]))
        names = [f"prod_{number}" for number in numbers.tolist()]
        return cls(*visitors, *_priced(names, cents.tolist()), public, shares)


def _priced(products: list[str], cents: list[int]) -> tuple[pa.Array, pa.Array]:
    return pa.array(products), pa.array([f"{price // 100}.{price % 100:02}" for price in cents])


def _visitors(size: int, rng: np.random.Generator) -> tuple[Ints, Ints, Ints, pa.Array, pa.Array]:
    """User, agent, locale and address, in two spellings, of so many."""
    crawls = rng.random(size) < 0.03
    user = np.where((rng.random(size) < 0.4) & ~crawls, 1000 + rng.permutation(size), -1)
    second = np.flatnonzero((user[1:] >= 0) & (user[:-1] >= 0) & (rng.random(size - 1) < 0.15))
    user[second + 1] = user[second]  # another device of the same user
    agent = np.where(crawls, len(PEOPLE) + rng.integers(len(CRAWLERS), size=size), rng.integers(len(PEOPLE), size=size))
    ips, ips_too = _addresses(size, rng, without=(user >= 0) & (rng.random(size) < 0.02))
    return user, agent, rng.choice(len(LOCALES), size=size, p=[0.4, 0.15, 0.2, 0.1, 0.1, 0.05]), ips, ips_too


def _addresses(size: int, rng: np.random.Generator, without: npt.NDArray[np.bool_]) -> tuple[pa.Array, pa.Array]:
    """An address for each visitor, one in twelve IPv6, and the same in capitals and with all zeros."""
    place = rng.permutation(size)
    texts: list[str] = []
    v6: dict[int, str] = {}
    for number in place.tolist():
        if number % 12 == 5:
            v6[len(texts)] = (
                f"2001:0DB8:{number >> 16:04X}:{number & 0xFFFF:04X}:0000:0000:0000:00{number % 200 + 16:02X}"
            )
            texts.append(f"2001:db8:{number >> 16:x}:{number & 0xFFFF:x}::{number % 200 + 16:x}")
        elif number < 3 * 254:
            texts.append(f"{DOCUMENTATION[number // 254]}.{number % 254 + 1}")
        else:
            texts.append(f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}")
    too = [v6.get(n, text) for n, text in enumerate(texts)]
    return pa.array(texts, mask=without), pa.array(too, mask=without)


@dataclass(frozen=True)
class Drawn:
    """The events that happened in sessions of one day.

    ``late[days]``: rows that arrive that many days later, those among them that arrive for the second time too;
    ``on_time``: the others.
    """

    columns: Columns
    on_time: Ints
    late: dict[int, Ints]


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
    """Writes the files that arrive on the days `first` to `last`, both included, `rows_per_day` good records each.

    A day's bytes depend on (seed, day, rows_per_day, faults, story) alone; in a story the days are its own. One good
    record in 200 is there twice, with faults or without; only with faults are they counted, as `duplicate`. One in
    1,000 repeats an event of the day before, and is counted when that day is written, too. `write` gets paths relative
    to the landing root; `progress` is called after each day. ValueError for arguments that make no sense.
    """
    _check(first, last, rows_per_day, seed, story)
    paths: list[str] = []
    planted: dict[str, int] = {}
    rows = 0
    for arrival in _arrivals(first, last, rows_per_day, seed, story):
        day = arrival.day
        rows += arrival.rows
        if faults:
            contents = _faulty(arrival, planted)
            rows += sum(len(broken) for _, broken in contents)
            files = _faulty_files(arrival, contents, planted)
        else:
            files = _files(arrival)
        for name, content in files:
            paths.append(f"clickstream/year={day:%Y}/month={day:%m}/day={day:%d}/{name}")
            write(paths[-1], content)
        if progress:
            progress(day)
    return Generated(paths, rows, planted)


def _check(first: date, last: date, rows_per_day: int, seed: int, story: Story | None) -> None:
    if first > last:
        raise ValueError(f"The first day, {first}, is after the last, {last}.")
    if first < FIRST_DAY:
        raise ValueError(f"Clickstream data start on {FIRST_DAY}; {first} is before.")
    if story and not story.first <= first <= last <= story.last:
        raise ValueError(f"The story is of {story.first} to {story.last}; {first} to {last} is not part of it.")
    if rows_per_day < 1 or seed < 0:
        raise ValueError(f"Rows per day must be at least 1 and the seed 0 or more, not {rows_per_day} and {seed}.")


def _days(first: date, last: date) -> Iterator[date]:
    return (first + timedelta(n) for n in range((last - first).days + 1))


def _count(planted: dict[str, int], rule: str, count: int) -> None:
    if count:
        planted[rule] = planted.get(rule, 0) + count


def _arrivals(first: date, last: date, rows_per_day: int, seed: int, story: Story | None) -> Iterator["Arrival"]:
    """What arrives on each day."""
    draw = _drawings(seed, rows_per_day, story)
    before = 0
    for day in _days(first, last):
        rows = story.on(day).rows(rows_per_day) if story else rows_per_day
        yield Arrival.of(draw, day, rows, seed, before=before)
        before = rows


#: gives the shop, the drawing of a day, and what of those of the days before arrives with it
Draw: TypeAlias = Callable[[date], tuple[Shop, Drawn, list[Columns]]]


def _drawings(seed: int, rows: int, story: Story | None) -> Draw:
    """Makes the drawings of days; of past ones only what is late is kept. Before a story nothing happened."""
    shop = Shop.of_story(seed, rows, story) if story else Shop.of(seed, rows)
    since = max(FIRST_DAY, story.first) if story else FIRST_DAY
    kept: dict[date, dict[int, Columns]] = {}

    def drawn(day: date) -> Drawn:
        made = _draw(shop, day, story.on(day).rows(rows) if story else rows, seed)
        kept[day] = {ago: {name: column[at] for name, column in made.columns.items()} for ago, at in made.late.items()}
        return made

    def draw(day: date) -> tuple[Shop, Drawn, list[Columns]]:
        before = []
        for ago in range(1, LATE_DAYS + 1):
            earlier = day - timedelta(ago)
            if earlier >= since:
                if earlier not in kept:
                    drawn(earlier)
                before.append(kept[earlier][ago])
        kept.pop(day - timedelta(LATE_DAYS), None)
        return shop, drawn(day), before

    return draw


def _draw(shop: Shop, day: date, rows: int, seed: int) -> Drawn:
    """Somewhat more than `rows` events, ordered by session and time; `columns["moment"]` counts from midnight."""
    rng = np.random.default_rng([seed, day.toordinal(), rows, 0])
    public = shop.public
    told = public.story.on(day) if public else None
    spare = rows // 20 + 10
    wanted = rows + spare
    count = wanted if wanted < 2000 else wanted // 2
    if public:
        visitor, source = public.visits(day, count, rng)
        leaves, buys = _manners()[:, source]
    else:
        visitor = (len(shop.user) * rng.random(count) ** 1.7).astype(np.int64)
        source = np.zeros(count, np.int64)
        leaves, buys = 0.3, np.ones(count)
    bounces = rng.random(count) < leaves
    steps = np.where(bounces, 1, 1 + np.minimum(rng.geometric(0.3, count), 30))
    count = min(count, int(np.searchsorted(np.cumsum(steps), wanted)) + 1)  # sessions that surely fill the day
    visitor, steps, bounces = visitor[:count], steps[:count], bounces[:count]
    first_step = np.cumsum(steps) - steps
    session = np.repeat(np.arange(count), steps)  # of each step
    crawls = shop.agent[visitor] >= len(PEOPLE)

    if told:
        kind = _kinds(buys[:count] * told.conversion, session, rng)
    else:
        kind = np.searchsorted(STEP_BOUNDS, rng.random(session.size), side="right")
    kind = np.where(crawls[session] & (kind > VIEW), VIEW, kind)
    kind[first_step[bounces]] = BROWSE
    member = shop.user[visitor] >= 0
    luck = rng.random(count)  # of members: half are known from the beginning, a third log in, the others do not
    enters = member & (luck > 0.5) & (luck < 0.83) & (steps > 1)
    login = np.where(member & (luck <= 0.5), 0, np.iinfo(np.int64).max)  # the step from which the user is known
    login[enters] = (1 + rng.random(count) * (steps - 1)).astype(np.int64)[enters]
    kind[(first_step + login)[enters]] = LOG_IN
    known = np.arange(session.size) - first_step[session] >= login[session]

    lengths = STEP_LENGTHS[kind]
    step = np.repeat(np.arange(kind.size), lengths)[:wanted]
    event = STEPS[kind[step], np.arange(step.size) - (np.cumsum(lengths) - lengths)[step]]
    session = session[step]
    opens = np.append(True, session[1:] != session[:-1])
    if told and shop.shares is not None:
        product = chosen(rng, kind.size, shop.shares, told)[step]
    else:
        product = (len(shop.products) * rng.random(kind.size) ** 3).astype(np.int64)[step]
    page = _pages(event, opens, product, rng)
    moment = _moments(session, opens, count, rows, rng, told)

    ids = rng.integers(np.iinfo(np.int64).max, size=(2, event.size))
    if not public:
        source = np.searchsorted(np.cumsum([weight for weight, *_ in SOURCES]), rng.random(count) * 1000, side="right")
        source = np.minimum(source, len(SOURCES) - 1)
    columns: Columns = {
        "id": ids[0],
        "id_too": ids[1],
        "visitor": visitor[session],
        "session": (day - FIRST_DAY).days * 100_000_000 + session,
        "event": event,
        "known": known[step].astype(np.int64),
        "opens": opens.astype(np.int64),
        "source": source[session],
        "product": product,
        "quantity": 1 + (rng.random(kind.size) ** 4 * 4).astype(np.int64)[step],
        "page": page,
        "before": np.append(0, page[:-1]),
        "moment": moment,
        "midnight": np.full(event.size, (day - date(1970, 1, 1)).days * DAY),
    }
    return Drawn(columns, *_lateness(moment, rows, rng))


@cache
def _manners() -> npt.NDArray[np.float64]:
    """Of each source in a story: the share of visits that leave at once, and how willingly the others buy."""
    found = []
    for _, referrer, query in STORY_SOURCES:
        found.append(next((leave, buy) for part, leave, buy in MANNERS if part in query + referrer))
    return np.array(found).T


def _kinds(buys: npt.NDArray[np.float64], session: Ints, rng: np.random.Generator) -> Ints:
    """The steps of sessions: those with products are more where visitors buy more willingly, and most so the last."""
    shares = STORY_SHARES * buys[:, None] ** (0.0, 0.0, 0.3, 0.8, 1.2)
    bounds = np.cumsum(shares, axis=1) / shares.sum(axis=1, keepdims=True)
    kinds: Ints = (rng.random(session.size)[:, None] > bounds[session, :-1]).sum(axis=1)
    return kinds


def _pages(event: Ints, opens: npt.NDArray[np.bool_], product: Ints, rng: np.random.Generator) -> Ints:
    """Where in `PAGES`, and behind them in the products' pages, each event happens."""
    where = np.where(opens, rng.integers(len(ENTRIES), size=event.size), rng.integers(CART, size=event.size))
    where = np.where(opens & (rng.random(event.size) < 0.3), len(PAGES) + product, where)
    clicks = np.flatnonzero(event == CLICK)
    where[clicks] = where[clicks - 1]
    where = np.where(event == PRODUCT_VIEW, len(PAGES) + product, where)
    where = np.where(event == ADD_TO_CART, CART, where)
    where = np.where(event == PURCHASE, THANKS, where)
    pages: Ints = np.where(event == LOGIN, LOGIN_PAGE, where)
    return pages


def _moments(
    session: Ints, opens: npt.NDArray[np.bool_], count: int, rows: int, rng: np.random.Generator, told: Day | None
) -> Ints:
    """Milliseconds since the midnight of the session's day; the last sessions go on after the next midnight."""
    visits = hours(HOURS, told) if told else HOURS
    quantiles = np.concatenate([[0.0], np.cumsum(visits) / sum(visits)])
    begin = (np.interp(rng.random(count), quantiles, np.arange(25.0)) * HOUR).astype(np.int64)
    pause = rng.exponential(35 * SECOND, session.size) + SECOND
    pause += np.where(rng.random(session.size) < 0.003, 31 * MINUTE, 0)
    elapsed = np.cumsum(pause.astype(np.int64))
    elapsed -= elapsed[opens][session]
    moment: Ints = np.minimum(begin, DAY - 1)[session] + elapsed
    if told and told.outage:  # who would be there when it begins has come earlier
        end = np.append(np.flatnonzero(opens)[1:], session.size) - 1
        lasts = (moment[opens] < DOWN.start * HOUR) & (moment[end] >= DOWN.start * HOUR)
        moment -= np.where(lasts, moment[end] - DOWN.start * HOUR + 1, 0)[session]
    if np.count_nonzero(moment >= DAY) > rows // 50:
        end = np.append(np.flatnonzero(opens)[1:], session.size) - 1
        moment -= np.maximum(moment[end] - DAY + 1, 0)[session]
    return moment


def _lateness(moment: Ints, rows: int, rng: np.random.Generator) -> tuple[Ints, dict[int, Ints]]:
    """The rows that arrive on their day, and those that arrive later, by days."""
    days = np.zeros(moment.size, np.int64)
    evening = np.flatnonzero(moment >= 18 * HOUR)
    days[rng.permutation(evening)[: rows // 100]] = 1
    for ago, count in ((2, rows // 333), (3, rows // 500)):  # whole sessions: of a telephone without a network
        start = int(rng.integers(max(1, moment.size - count)))
        days[start : start + count] = ago
    days[moment >= DAY] = 1
    on_time = np.flatnonzero(days == 0)
    again = rng.permutation(on_time[: rows // 2])[: rows // 1000]
    late = {n: np.flatnonzero(days == n) for n in range(1, LATE_DAYS + 1)}
    return on_time, late | {1: np.concatenate([late[1], again])}


@dataclass(frozen=True)
class Arrival:
    """What arrives on a day.

    ``files``: rows of ``columns`` for each file, in order of arrival. ``rows``: all of them; ``repeated``: those that
    arrived before, on this day or on the one before if that is written, too.
    """

    shop: Shop
    day: date
    rng: np.random.Generator
    columns: Columns
    files: list[Ints]
    began: list[int]
    rows: int
    repeated: int

    @classmethod
    def of(cls, draw: Draw, day: date, rows: int, seed: int, *, before: int) -> "Arrival":
        """Draw it. ``before``: rows of the day before, if the same call writes it, else 0."""
        rng = np.random.default_rng([seed, day.toordinal(), rows, 1])
        shop, own, earlier = draw(day)
        copies = rows // 250
        again = before // 1000
        late = min(rows, sum(part["id"].size for part in earlier))
        taken = own.on_time[: rows - late - copies]
        columns = {
            name: np.concatenate([column[taken], *(part[name] for part in earlier)])[: taken.size + late]
            for name, column in own.columns.items()
        }
        size = taken.size + late

        midnight = (day - date(1970, 1, 1)).days * DAY
        arrives = columns["midnight"] + columns["moment"] - midnight + rng.integers(SECOND, 5 * MINUTE, size)
        arrives = np.where(arrives < SECOND, rng.integers(DAY, size=size), np.minimum(arrives, DAY - 1))
        order = np.argsort(arrives, kind="stable")
        most = STORY_FILES if shop.public else 6
        count = max(min(most, 1 + rows // 50), -(-rows // RECORDS_PER_FILE))
        bounds = [order.size * n // count for n in range(count + 1)]
        files = [order[start:end] for start, end in pairwise(bounds)]
        which = rng.choice(order.size, size=copies, replace=False) if copies else np.empty(0, np.int64)
        place = np.searchsorted(bounds, which, side="right") - 1
        target = (place + rng.integers(1, max(2, count), size=copies)) % count
        files = [np.concatenate([rows_of, order[which[target == n]]]) for n, rows_of in enumerate(files)]
        began = [int(arrives[rows_of[0]]) for rows_of in files]
        return cls(shop, day, rng, columns, files, began, rows, copies + again)

    def lines(self, number: int, separator: str) -> pa.StringArray:
        """The records of a file as text, each with the separator behind it."""
        rows = self.files[number]
        return _lines(self.shop, {name: column[rows] for name, column in self.columns.items()}, separator)

    def lined(self, number: int) -> bool:
        """Whether a file has a newline behind each record; the others have nothing between them."""
        return (self.day.toordinal() + number) % 3 > 0

    def name(self, number: int) -> str:
        """A name for a file of this number, each time another."""
        moment = datetime(self.day.year, self.day.month, self.day.day, tzinfo=UTC)
        moment += timedelta(milliseconds=self.began[number])
        text = self.rng.bytes(16).hex()
        text = "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
        return f"{STREAM}-1-{moment:%Y-%m-%d-%H-%M-%S}-{text}.gz"


def _files(arrival: Arrival) -> Iterator[tuple[str, bytes]]:
    for number in range(len(arrival.files)):
        yield arrival.name(number), _packed(_text(arrival.lines(number, "\n" if arrival.lined(number) else "")))


def _packed(content: bytes | memoryview) -> bytes:
    return gzip.compress(content, compresslevel=1, mtime=0)


def _text(lines: pa.StringArray) -> memoryview:
    """All of them behind each other: that is how Arrow keeps them."""
    _, offsets, data = lines.buffers()
    bounds = np.frombuffer(offsets, np.int32)[lines.offset : lines.offset + len(lines) + 1]
    return memoryview(data)[int(bounds[0]) : int(bounds[-1])]


# What an event says


def _lines(shop: Shop, c: Columns, separator: str) -> pa.StringArray:
    """Events as JSON, without blanks; a part that is null is left out."""
    visitor, event = c["visitor"], c["event"]
    user = shop.user[visitor]
    known = c["known"] == 1
    opens = c["opens"] == 1
    carted = (event == ADD_TO_CART) | (event == PURCHASE)
    paths = pa.concat_arrays([pa.array(PAGES), _joined("/product/", shop.products)])
    queries, clicks = _queries()
    spelled = (c["id"] % 5 == 0).astype(np.int64)
    ips = pa.concat_arrays([shop.ips, shop.ips_too]).take(pa.array(visitor + spelled * len(shop.ips)))
    return pc.binary_join_element_wise(
        '{"event_id":"',
        _hex(c["id"], c["id_too"]),
        '","event_type":"',
        pa.array(EVENTS).take(pa.array(event)),
        '"',
        _joined(',"user_id":"u_', pa.array(user, mask=~known).cast(pa.string()), '"'),
        pa.array([None, ',"user_id":null']).take(pa.array(np.where(known, 0, visitor % 2))),
        _joined(',"session_id":"s', pa.array(c["session"], mask=visitor % 8 == 3).cast(pa.string()), '"'),
        ',"timestamp":',
        _stamps(c["midnight"] + c["moment"], visitor % 10),
        f',"page_url":"{SITE}',
        paths.take(pa.array(c["page"])),
        queries.take(pa.array(c["source"], mask=~opens)),
        pa.array(c["session"] * 7919 + 10**15, mask=~(opens & clicks[c["source"]])).cast(pa.string()),
        '"',
        _referrers().take(pa.array(c["source"], mask=~opens)),
        _joined(f',"referrer":"{SITE}', paths.take(pa.array(c["before"], mask=opens)), '"'),
        pa.array([f',"user_agent":"{agent}"' for agent in AGENTS]).take(pa.array(shop.agent[visitor])),
        _joined(',"ip":"', ips, '"'),
        _emails(user, event == LOGIN, visitor % 7 == 0),
        _joined(
            ',"product_id":"', shop.products.take(pa.array(c["product"], mask=~carted & (event != PRODUCT_VIEW))), '"'
        ),
        _joined(',"quantity":', pa.array(c["quantity"], mask=~carted).cast(pa.string())),
        _joined(',"price":', shop.prices.take(pa.array(c["product"], mask=~carted))),
        pa.array([f',"currency":"{name}"' for name in CURRENCIES]).take(pa.array(shop.locale[visitor], mask=~carted)),
        pa.array([f',"properties":{{"locale":"{name}"' for name in LOCALES]).take(pa.array(shop.locale[visitor])),
        pa.array([f',"screen":"{size}"' for size in SCREENS]).take(pa.array(visitor % len(SCREENS))),
        _joined(',"order_id":"o', pa.array(c["id"] % 10**9, mask=event != PURCHASE).cast(pa.string()), '"'),
        "}}" + separator,
        "",
        null_handling="replace",
    )


def _joined(*parts: Any) -> pa.StringArray:
    """The parts behind each other; null where one of them is."""
    return pc.binary_join_element_wise(*parts, "")


def _queries() -> tuple[pa.StringArray, npt.NDArray[np.bool_]]:
    """The query of each source's entry page, and whether the id of a click follows."""
    queries = [query for _, _, query in STORY_SOURCES]
    texts = pa.array(["?" + query if query else None for query in queries])
    return texts, np.array([query.endswith("=") for query in queries])


def _referrers() -> pa.StringArray:
    """Of each source. Without one, by turns the key is left out or null."""
    given = [referrer for _, referrer, _ in STORY_SOURCES]
    return pa.array(
        [f',"referrer":"{one}"' if one else (None, ',"referrer":null')[n % 2] for n, one in enumerate(given)]
    )


def _emails(user: Ints, logs_in: npt.NDArray[np.bool_], loud: npt.NDArray[np.bool_]) -> pa.StringArray:
    """The address with which a user logs in; some write it in capitals."""
    name = np.where(loud, 2, 0) + user % 2
    names = pa.array([',"email":"visitor', ',"email":"visitor', ',"email":"Visitor', ',"email":"VISITOR'])
    hosts = pa.array(['@example.com"', '@example.org"', '@Example.com"', '@EXAMPLE.ORG"'])
    return _joined(
        names.take(pa.array(name)), pa.array(user, mask=~logs_in).cast(pa.string()), hosts.take(pa.array(name))
    )


def _stamps(moments: Ints, form: Ints) -> pa.StringArray:
    """Times in the four ways in which senders write them; each sender keeps to its own."""

    def iso(chosen: Ints, unit: int, kind: str, shift: int = 0) -> pa.StringArray:
        return pa.array((chosen + shift) // unit).cast(pa.timestamp(kind)).cast(pa.string())

    def with_t(text: pa.StringArray) -> pa.StringArray:
        return pc.binary_replace_slice(text, 10, 11, "T") if len(text) else text

    groups = [np.flatnonzero((low <= form) & (form < high)) for low, high in ((0, 5), (5, 7), (7, 9), (9, 10))]
    zulu, eastern, epoch, naive = (moments[group] for group in groups)
    texts = [
        _joined('"', with_t(iso(zulu, 1, "ms")), 'Z"'),
        _joined('"', with_t(iso(eastern, SECOND, "s", 2 * HOUR)), '+02:00"'),
        pa.array(epoch).cast(pa.string()),
        _joined('"', iso(naive, 1, "ms"), '"'),
    ]
    back = np.empty(moments.size, np.int64)
    back[np.concatenate(groups)] = np.arange(moments.size)
    return pa.concat_arrays(texts).take(pa.array(back))


def _hex(*words: Ints) -> pa.StringArray:
    """Whole numbers of 64 bits beside each other, in hexadecimal."""
    together = np.stack(words, axis=1).astype(">i8")
    length = 16 * len(words)
    offsets = np.arange(len(together) + 1, dtype=np.int32) * length
    text = together.tobytes().hex().encode()
    return pa.StringArray.from_buffers(len(together), pa.py_buffer(offsets), pa.py_buffer(text))


# Faults. A broken record starts as a good purchase and breaks one rule only.
_LEFT_OUT = object()
# fmt: off
WRONG_FIELDS: dict[str, tuple[dict[str, Any], ...]] = {
    "missing_event_id": tuple({"event_id": value} for value in (_LEFT_OUT, None, "")),
    "missing_event_type": tuple({"event_type": value} for value in (_LEFT_OUT, None, "")),
    "bad_timestamp": tuple({"timestamp": value} for value in (
        _LEFT_OUT, None, "", "yesterday", "18:00:26", "2024-13-01T00:00:00Z", "01/02/2024 10:00:00")),
    "out_of_range": tuple({"timestamp": value} for value in (
        "2031-05-06T10:00:00Z", 1935800000000, "2019-12-31 23:59:59", 1559383200000, "2011-01-01T00:00:00+01:00",
        1709287200)),  # seconds
    "bad_quantity": tuple({"quantity": value} for value in (-1, 1.5, "many", 3_000_000_000)),
    "bad_price": tuple({"price": value} for value in (-19.99, "free", "12,50", "NaN", 10_000_000_000)),
}
# fmt: on
WRONG_TEXTS: dict[str, tuple[Callable[[str], str], ...]] = {
    "bad_json": (
        lambda text: text[: len(text) * 3 // 5],
        lambda text: text.replace('"event_type":"purchase"', '"event_type":"purchase'),
        lambda text: text.replace(',"timestamp"', ' "timestamp"'),
        lambda text: f'<error code="502">no answer for {json.loads(text)["ip"]}</error>',
        lambda text: text[:-1],
        lambda text: f"Gateway timeout: {json.loads(text)['email']} comes again",
        lambda text: str(json.loads(text)),
    ),
    "not_an_object": (
        lambda text: f"[{text}]",
        lambda text: json.dumps(json.loads(text)["email"]),
        lambda text: "42",
        lambda text: "null",
        lambda text: "true",
    ),
}
WRONG_BYTES: dict[str, tuple[bytes, ...]] = {"bad_encoding": (b"caf\xe9", b"\xff\xfe", b"\xc3(", b"\xed\xa0\x80")}
ODD_TEXT = 'Überweisung, "bar" \\ 日本 🛒\n'
MOST_ODD = 1_000  # good records of a day that are written in an unusual way


#: the good records of a file, and by their places the broken ones that follow them
Content: TypeAlias = tuple[list[bytes], dict[int, bytes]]


def _faulty_files(arrival: Arrival, contents: list[Content], planted: dict[str, int]) -> Iterator[tuple[str, bytes]]:
    """The files with these contents, a copy of the first one, and one that is cut short."""
    for number, (lines, broken) in enumerate(contents):
        lined = arrival.lined(number)
        between = b"\n" if lined else b""
        # What is broken has a line of its own, so that what follows can be found again.
        around = between if lined else b"\n"
        pieces = [line + around + broken[n] + around if n in broken else line + between for n, line in enumerate(lines)]
        content = _packed(b"".join(pieces))
        yield arrival.name(number), content
        if number == 0:
            yield arrival.name(number), content
    cut = _packed(b"".join(contents[-1][0][:200]))
    yield arrival.name(len(contents) - 1), cut[: len(cut) * 2 // 3]
    for rule in ("duplicate_file", "rejected_file"):
        _count(planted, rule, 1)


def _faulty(arrival: Arrival, planted: dict[str, int]) -> list[Content]:
    """The contents of the files with known faults, counted into `planted`; no two broken records are neighbours."""
    _count(planted, "duplicate", arrival.repeated)
    rng = arrival.rng
    files = [arrival.lines(number, "").cast(pa.binary()).to_pylist() for number in range(len(arrival.files))]
    places = [(lines, n) for lines in files for n in range(len(lines))]
    chosen = rng.permutation(len(places)).tolist()
    bases = [places[at][0][places[at][1]] for at in chosen]
    rules = [*WRONG_FIELDS, *WRONG_TEXTS, *WRONG_BYTES, "duplicate"]
    share = max(1, arrival.rows // 500)
    broken: dict[int, dict[int, bytes]] = {id(lines): {} for lines in files}
    turn = arrival.day.toordinal()
    for count, (at, base) in enumerate(zip(chosen, bases, strict=True)):
        if count >= share * len(rules):
            break
        rule = rules[count % len(rules)]
        lines, place = places[at]
        broken[id(lines)][place] = _broken(rule, json.loads(base), turn + count // len(rules), rng)
        _count(planted, rule, 1)
    for n, at in enumerate(reversed(chosen[len(chosen) - min(MOST_ODD, arrival.rows // 10) :])):
        lines, place = places[at]
        lines[place] = _odd(json.loads(lines[place]), n)
    return [(lines, broken[id(lines)]) for lines in files]


def _broken(rule: str, base: dict[str, Any], turn: int, rng: np.random.Generator) -> bytes:
    """A record that breaks a rule; for `duplicate` the same event with other content."""
    if rule == "duplicate":
        return _compact(base | {"properties": {"retry": turn}})
    number = int(rng.integers(254))
    record = base | {
        "event_id": rng.bytes(16).hex(),
        "event_type": "purchase",
        "ip": f"{DOCUMENTATION[turn % 3]}.{number + 1}",
        "email": f"visitor{number}@example.com",
        "product_id": "prod_1001",
        "quantity": 1,
        "price": 19.99,
        "currency": "EUR",
    }
    if rule in WRONG_FIELDS:
        wrong = WRONG_FIELDS[rule]
        record |= wrong[turn % len(wrong)]
        return _compact({key: value for key, value in record.items() if value is not _LEFT_OUT})
    if rule in WRONG_TEXTS:
        texts = WRONG_TEXTS[rule]
        return texts[turn % len(texts)](_compact(record).decode()).encode()
    wrong_bytes = WRONG_BYTES[rule]
    return _compact(record | {"note": "~"}).replace(b'"~"', b'"' + wrong_bytes[turn % len(wrong_bytes)] + b'"')


def _odd(record: dict[str, Any], turn: int) -> bytes:
    """The same event with addresses where none should be, with other keys, or written in another way."""
    number = turn % 254 + 1
    email, ip, ip6 = f"visitor{number}@example.org", f"198.51.100.{number}", f"2001:db8::{number:x}"
    encoded, encoded6 = email.replace("@", "%40"), ip6.replace(":", "%3A")
    url = record["page_url"]
    url += "&" if "?" in url else "?"
    match turn % 10:
        case 0:
            return json.dumps(record, indent=2).encode()
        case 1:
            return _compact(record | {"contact": email, "debug": {"remote_addr": ip, "hops": [ip6, 3]}})
        case 2:
            return _compact(record | {"page_url": f"{url}email={encoded}&from={ip}"})
        case 3:
            changed = record | {"properties": {"client": ip, email: True, "note": f"asked by {email}"}}
            return _compact(changed).replace(b"@", b"\\u0040")
        case 4:
            return _compact(record | {"referrer": f"https://mail.example.net/read?to={encoded}#{ip}"})
        case 5:
            return _compact(record | {"user_id": email} if "user_id" in record else record)
        case 6:
            return _compact(record | {"page_url": f"{url}client={encoded6}", "properties": {"peer": [ip6]}})
        case 7:
            changed = record | {"properties": {"text": ODD_TEXT}, "app_version": "3.1", "tags": ["a", None, 1.50]}
            return json.dumps(changed, ensure_ascii=False).encode()
        case 8:
            return json.dumps(dict(reversed(record.items())) | {"properties": None}, indent="\t").encode()
        case _:
            return _compact(record | {"properties": {}, "user_agent": None, "session_id": f"{ip}-{turn}"})


def _compact(record: dict[str, Any]) -> bytes:
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode()


def records(
    *,
    first: date,
    last: date,
    rows_per_day: int,
    seed: int = 0,
    faults: bool = False,
    planted: dict[str, int],
    story: Story | None = None,
) -> Iterator[list[bytes]]:
    """The records of the same files, some tens of thousands at a time, as their senders would send them.

    Without copies of files and rejected ones. Faults are counted into `planted`. ValueError for arguments that make
    no sense.
    """
    _check(first, last, rows_per_day, seed, story)
    for arrival in _arrivals(first, last, rows_per_day, seed, story):
        if not faults:
            for number in range(len(arrival.files)):
                yield arrival.lines(number, "").cast(pa.binary()).to_pylist()
            continue
        for lines, broken in _faulty(arrival, planted):
            yield [one for n, line in enumerate(lines) for one in (line, broken.get(n)) if one is not None]
