"""Sample data with a story, judged by the code that judges them without one."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta
from functools import cache
from urllib.parse import parse_qs, urlsplit

import pytest

from clickstream_assets.generate import Generated, generator
from clickstream_assets.generate.story import DOWN, LEAST_DAYS, Story
from clickstream_assets_tests.generate import test_cdc as of_cdc
from clickstream_assets_tests.generate import test_clickstream as of_clickstream
from clickstream_assets_tests.generate import test_ecommerce as of_ecommerce
from clickstream_assets_tests.generate import test_ga4 as of_ga4
from clickstream_assets_tests.generate import test_sales as of_sales

DOMAINS = ("ecommerce", "clickstream", "ga4", "sales", "cdc")
FIRST = date(2024, 4, 1)  # a Monday
STORY = Story(FIRST, FIRST + timedelta(20))
DAYS = [FIRST + timedelta(n) for n in range(STORY.days)]
ROWS = {"ecommerce": 1_500, "clickstream": 1_500, "ga4": 100, "sales": 500, "cdc": 60}
PRODUCT, SOLD, PAGE = "prod_1241", "P01241", "/shop/tents/aurora-trail-tent"


@cache
def made(
    domain: str, faults: bool = False, seed: int = 0, story: Story = STORY, rows: int | None = None
) -> tuple[Generated, dict[str, bytes]]:
    files: dict[str, bytes] = {}
    result = generator(domain)(
        files.__setitem__,
        first=story.first,
        last=story.last,
        rows_per_day=rows or ROWS[domain],
        seed=seed,
        faults=faults,
        story=story,
    )
    assert result.paths == list(files)
    return result, files


def on_their_days(files: dict[str, bytes]) -> dict[str, bytes]:
    """GA4's files with the names that final pulls have without a story, the older ones first."""
    named = re.compile(r"date=(\d{4}-\d\d-\d\d)/ga4_events_(\d{4}-\d\d-\d\d)_\d{6}")

    def renamed(path: str) -> str:
        match = named.search(path)
        if match is None or match[1] == match[2]:
            return path
        return path.replace(match[0], f"date={match[1]}/ga4_events_{match[1]}_235959")

    return {renamed(path): content for path, content in files.items()}


# The calendar


@pytest.mark.parametrize("days", [*range(1, 70), 365, 730])
def test_every_range_has_its_week_and_growth_and_from_four_days_on_all_that_happens(days: int) -> None:
    story = Story(FIRST, FIRST + timedelta(days - 1))
    told = {day: story.on(day) for day in (FIRST + timedelta(n) for n in range(days))}
    assert 0.85 < sum(day.usual for day in told.values()) / days < 1.15
    outages = [day for day, of_day in told.items() if of_day.outage]
    campaign = [day for day, of_day in told.items() if of_day.campaign]
    launched = [day for day, of_day in told.items() if of_day.launched]
    assert {day for day, of_day in told.items() if of_day.opens} == {FIRST}
    if days < LEAST_DAYS:
        assert not outages and not campaign and not launched
        return
    assert outages == [story.outage] and launched[0] == story.launch and launched[-1] == story.last
    assert FIRST < campaign[0] <= campaign[-1] < launched[0] < outages[0] <= story.last
    assert 1 <= len(campaign) <= 7 and campaign == [campaign[0] + timedelta(n) for n in range(len(campaign))]


def test_weekends_are_busier_and_the_shop_grows() -> None:
    story = Story(FIRST, FIRST + timedelta(55))
    by_weekday: dict[int, list[float]] = defaultdict(list)
    weeks = [0.0] * 8
    for n in range(56):
        usual = story.on(FIRST + timedelta(n)).usual
        by_weekday[n % 7].append(usual)
        weeks[n // 7] += usual
    assert min(by_weekday[5] + by_weekday[6]) > min(by_weekday[2])
    assert sum(by_weekday[5]) > 1.2 * sum(by_weekday[2])
    assert weeks == sorted(weeks) and 1.15 < weeks[-1] / weeks[0] < 1.3


def test_before_and_after_there_are_ordinary_days() -> None:
    for ago in (1, 400, 4_000):
        before, after = STORY.on(FIRST - timedelta(ago)), STORY.on(STORY.last + timedelta(ago))
        assert (before.traffic, before.launched) == (after.traffic, 0) == (1, 0) and after.launched
        assert 0.5 < before.usual < after.usual < 2


def test_a_story_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(ValueError, match="is after the last"):
        Story(FIRST, FIRST - timedelta(1))


# Of all domains


@pytest.mark.parametrize("faults", [False, True])
@pytest.mark.parametrize("domain", DOMAINS)
def test_the_same_story_gives_the_same_bytes_and_another_gives_others(domain: str, faults: bool) -> None:
    once = made(domain, faults)
    assert made.__wrapped__(domain, faults) == once
    assert made(domain, faults, seed=1)[1] != once[1]
    other = Story(FIRST, FIRST + timedelta(21))
    ends = made(domain, faults, story=other)[1]
    assert not once[1].items() <= ends.items()


@pytest.mark.parametrize("faults", [False, True])
@pytest.mark.parametrize("domain", DOMAINS)
def test_no_story_is_what_there_was(domain: str, faults: bool) -> None:
    files: list[dict[str, bytes]] = [{}, {}]
    arguments = {"first": FIRST, "last": FIRST + timedelta(2), "rows_per_day": 90, "faults": faults}
    for some, further in zip(files, ({}, {"story": None}), strict=True):
        generator(domain)(some.__setitem__, **arguments, **further)  # type: ignore[arg-type]
    assert files[0] == files[1]
    told: dict[str, bytes] = {}
    generator(domain)(told.__setitem__, **arguments, story=Story(FIRST, FIRST + timedelta(2)))  # type: ignore[arg-type]
    assert told != files[0]


@pytest.mark.parametrize("days", [1, 4, 21])
@pytest.mark.parametrize("rows", [1, 9, None])
@pytest.mark.parametrize("domain", DOMAINS)
def test_planted_faults_and_rows_are_what_the_files_show(domain: str, rows: int | None, days: int) -> None:
    story = Story(FIRST, FIRST + timedelta(days - 1))
    result, files = made(domain, True, story=story, rows=rows)
    found: Counter[str] = Counter()
    match domain:
        case "ecommerce":
            events, found = of_ecommerce.records(files)
            count = len(events) + found.total()
            found += Counter(rejected_file=days, duplicate_file=days)
            by_day = Counter(day for day, _ in events)
            assert by_day == {day: story.on(day).rows(rows or ROWS[domain]) for day in by_day} and len(by_day) == days
        case "clickstream":
            good, found = of_clickstream.events(files)
            count = len(good) + found.total()
            found += Counter(rejected_file=days, duplicate_file=days, duplicate=of_clickstream.repeated(good))
        case "sales":
            sold, found = of_sales.records(files)
            count = sum(map(len, sold.values())) + found.total()
            keys = Counter((f, day, row[of_sales.KEYS[f]].strip()) for f in sold for day, row in sold[f])
            found += Counter(rejected_file=days, duplicate_file=days, duplicate=keys.total() - len(keys))
            sales = {row["sale_id"] for _, row in sold["sales"]}
            found["late_customer"] = sum(sale.endswith("-L") for sale in sales)
            dates = {(row["sale_id"], day) for day, row in sold["sales"]}
            found["corrected_sale"] = len(dates) - len(sales)
        case "ga4":
            count, found = of_ga4.judged(on_their_days(files))
        case _:
            count, found = of_cdc.judged(files)
    assert (result.rows, Counter(result.faults)) == (count, +found)


def test_corrections_are_of_the_sales_of_the_day_before() -> None:
    sold = of_sales.records(made("sales", True)[1])[0]["sales"]
    first: dict[str, dict[str, str]] = {}
    corrected = 0
    for _, row in sold:
        before = first.setdefault(row["sale_id"], row)
        if int(row["quantity"]) != int(before["quantity"]):
            corrected += 1
            assert {**row, "quantity": ""} == {**before, "quantity": ""}
    assert corrected == made("sales", True)[0].faults["corrected_sale"]


# What they tell


def test_e_commerce_tells_it() -> None:
    good, _ = of_ecommerce.records(made("ecommerce", rows=8_000)[1])
    events, buys, new, hours = Counter[date](), Counter[date](), Counter[date](), Counter[int]()
    for _, row in good:
        moment = of_ecommerce.moment_of(row["timestamp"])
        assert moment is not None
        day = moment.date()
        events[day] += 1
        buys[day] += row["eventtype"] == "purchase"
        new[day] += row["productid"] == PRODUCT
        hours[moment.hour] += day == STORY.outage
    assert sorted(events) == DAYS, "nothing is of the evening before the first day"
    _low_on_the_outage(events, 0.5)
    assert not any(hours[hour] for hour in DOWN) and all(hours[hour] for hour in (20, 21, 22))
    assert _share(buys, events, campaign=True) > 1.1 * _share(buys, events, campaign=False)
    _launched(new)
    sold = Counter(row["productid"] for day, row in good if row["eventtype"] == "product_view" and day >= STORY.launch)  # type: ignore[operator]
    assert PRODUCT in dict(sold.most_common(5))


def test_clickstream_tells_it() -> None:
    good = {event["event_id"]: event for _, event in of_clickstream.events(made("clickstream")[1])[0]}.values()
    events, buys, new = Counter[date](), Counter[date](), Counter[date]()
    tagged, hours = Counter[date](), Counter[int]()
    ips: dict[str, set[date]] = defaultdict(set)
    for event in good:
        moment = of_clickstream.moment_of(event["timestamp"])
        assert moment is not None
        day = moment.date()
        events[day] += 1
        buys[day] += event["event_type"] == "purchase"
        new[day] += event.get("product_id") == PRODUCT or PRODUCT in event["page_url"]
        asked = parse_qs(urlsplit(event["page_url"]).query)
        if asked.get("utm_campaign") == ["trail_days"]:
            assert (asked["utm_source"], asked["utm_medium"]) == (["instagram"], ["paid_social"])
            tagged[day] += 1
        hours[moment.hour] += day == STORY.outage
        if event.get("ip"):
            ips[event["ip"].lower()].add(day)
    assert sorted(day for day in events if day <= STORY.last) == DAYS
    _low_on_the_outage(events, 0.5)
    assert not any(hours[hour] for hour in DOWN) and all(hours[hour] for hour in (6, 20, 21, 22))
    assert _share(buys, events, campaign=True) > 1.1 * _share(buys, events, campaign=False)
    _launched(new)
    assert STORY.campaign and min(tagged) == STORY.campaign[0]
    assert max(tagged) - STORY.campaign[1] <= timedelta(1), "a visit may go on after midnight"

    weeks = Counter[int]()
    cohort = {ip for ip, days in ips.items() if min(days) < FIRST + timedelta(7)}
    for ip in cohort:
        weeks.update({(day - FIRST).days // 7 for day in ips[ip] if day <= STORY.last})
    assert weeks[0] > 3 * weeks[1] > 3.5 * weeks[2] > 0, "fewer come back each week, and not all of them stay away"


def test_visits_with_a_source_that_is_dear_buy_more() -> None:
    visits: dict[str, list[dict[str, object]]] = defaultdict(list)
    for _, event in of_clickstream.events(made("clickstream", rows=4_000)[1])[0]:
        if event.get("session_id"):
            visits[event["session_id"]].append(event)
    bought: dict[str, list[bool]] = defaultdict(list)
    for visit in visits.values():
        urls = " ".join(str(event["page_url"]) for event in visit)
        source = re.search(r"utm_medium=(\w+)", urls)
        bought[source[1] if source else ""].append(any(event["event_type"] == "purchase" for event in visit))
    rates = {source: sum(some) / len(some) for source, some in bought.items()}
    assert rates["email"] > 1.5 * rates[""] and rates[""] > 1.5 * rates["display"]


def test_ga4_tells_it() -> None:
    pulls = of_ga4.pulls_of(on_their_days(made("ga4")[1]))
    sessions, told, new, thanks = Counter[date](), Counter[date](), Counter[date](), Counter[date]()
    for (report, text), of_day in pulls.items():
        day = date.fromisoformat(text)
        for values in of_day[-1].rows:
            if report == "ga_daily":
                sessions[day] += int(values[1])
            elif report == "ga_sources":
                told[day] += int(values[3]) if values[1:3] == ["instagram", "paid_social"] else 0
            elif report == "ga_pages":
                new[day] += int(values[-2]) if values[1] == PAGE else 0
                thanks[day] += int(values[-2]) if values[1] == "/checkout/thanks" else 0
    _low_on_the_outage(sessions, 0.5)
    _launched(new)
    assert _share(told, sessions, campaign=True) > 4 * _share(told, sessions, campaign=False) > 0
    assert _share(thanks, sessions, campaign=True) > _share(thanks, sessions, campaign=False)
    pages = Counter[str]()
    for (report, _), of_day in pulls.items():
        if report == "ga_pages":
            pages.update({values[1]: int(values[-2]) for values in of_day[-1].rows})
    views = [count for _, count in pages.most_common()]
    assert views[0] > 0.15 * sum(views) and sum(views[:10]) > 0.55 * sum(views)


def test_final_pulls_are_as_old_as_they_say() -> None:
    told = datetime(2024, 4, 23, 9, 30, tzinfo=UTC)
    for as_of in (None, told):
        story = Story(FIRST, STORY.last, as_of)
        stamps = defaultdict(list)
        for path in made("ga4", True, story=story, rows=10)[1]:
            if match := re.search(r"date=([\d-]+)/ga4_events_([\d-]+_\d{6})", path):
                stamp = datetime.strptime(match[2], "%Y-%m-%d_%H%M%S").replace(tzinfo=UTC)
                stamps[date.fromisoformat(match[1])].append(stamp)
        assert sorted(stamps) == DAYS
        for day, of_day in stamps.items():
            last = datetime(day.year, day.month, day.day, 23, 59, 59, tzinfo=UTC) + timedelta(20)
            assert max(of_day) == (min(last, told) if as_of else last)


def test_sales_tell_it() -> None:
    good, _ = of_sales.records(made("sales")[1])
    sold, new, discounted = Counter[date](), Counter[date](), Counter[date]()
    for _, row in good["sales"]:
        day = date.fromisoformat(row["sale_date"])
        sold[day] += 1
        new[day] += row["product_id"] == SOLD
        discounted[day] += bool(row["discount"])
    assert sorted(sold) == DAYS, "nothing is of the day before the first"
    _low_on_the_outage(sold, 0.8)
    _launched(new)
    assert _share(discounted, sold, campaign=True) > 1.3 * _share(discounted, sold, campaign=False)
    assert STORY.launch and STORY.outage
    names = {row["product_name"]: day for day, row in reversed(good["products"])}
    assert names["Aurora Trail Tent"] == STORY.launch
    best = Counter[str]()
    for day, row in good["sales"]:
        if day >= STORY.launch:
            best[row["product_id"]] += int(row["quantity"])
    assert SOLD in dict(best.most_common(3))

    online = {row["location_id"] for _, row in good["locations"] if row["store_name"].endswith(" Online")}
    shops: dict[bool, Counter[date]] = {True: Counter(), False: Counter()}
    for _, row in good["sales"]:
        shops[row["location_id"] in online][date.fromisoformat(row["sale_date"])] += 1
    _low_on_the_outage(shops[True], 0.5)
    assert shops[False][STORY.outage] > 0.7 * shops[False][STORY.outage - timedelta(7)]


def test_sales_are_of_all_sizes() -> None:
    good, _ = of_sales.records(made("sales")[1])
    category = {row["product_id"]: row["category"] for _, row in good["products"]}
    brand = {row["product_id"]: row["brand"] for _, row in good["products"]}
    region = {row["location_id"]: row["region"] for _, row in good["locations"]}
    orders = Counter(row["customer_id"] for _, row in good["sales"])
    for of_what in (
        Counter(category[row["product_id"]] for _, row in good["sales"]),
        Counter(brand[row["product_id"]] for _, row in good["sales"]),
        Counter(region[row["location_id"]] for _, row in good["sales"]),
    ):
        assert len(of_what) >= 4
        assert max(of_what.values()) > 1.7 * min(of_what.values())
    once = sum(count == 1 for count in orders.values())
    assert 0.2 < once / len(orders) < 0.6 and max(orders.values()) > 20
    customers = {row["customer_id"] for day, row in good["customers"] if day == STORY.last}
    at_first = {row["customer_id"] for day, row in good["customers"] if day == FIRST}
    assert len(at_first) < 0.8 * len(customers) and at_first < customers


@pytest.mark.parametrize("wrong", [{"first": FIRST - timedelta(1)}, {"last": STORY.last + timedelta(1)}], ids=str)
def test_clickstream_of_other_days_than_the_storys_is_refused(wrong: dict[str, date]) -> None:
    arguments = {"first": FIRST, "last": STORY.last} | wrong
    with pytest.raises(ValueError, match="is not part of it"):
        generator("clickstream")(dict[str, bytes]().__setitem__, **arguments, rows_per_day=5, story=STORY)


def test_the_story_is_no_domain() -> None:
    with pytest.raises(ValueError, match="there is one for: cdc, clickstream, ecommerce, ga4, sales"):
        generator("story")


def _low_on_the_outage(count: Counter[date], most: float) -> None:
    """Against the same weekday of the week before, and no other day is as low."""
    assert STORY.outage
    assert 0 < count[STORY.outage] < most * count[STORY.outage - timedelta(7)]
    assert count[STORY.outage] == min(count[day] for day in DAYS)


def _launched(count: Counter[date]) -> None:
    assert STORY.launch
    assert not any(count[day] for day in count if day < STORY.launch)
    assert all(count[day] for day in DAYS if STORY.launch <= day)


def _share(some: Counter[date], of_all: Counter[date], *, campaign: bool) -> float:
    days = [day for day in DAYS if STORY.on(day).campaign == campaign]
    return sum(some[day] for day in days) / sum(of_all[day] for day in days)
