"""What a backfill is said to take: bytes as they lie in landing, times as runs were, dollars as prices are."""

from __future__ import annotations

import time
from datetime import date, timedelta
from pathlib import Path

import pytest

from clickstream_assets import price
from clickstream_assets.days import day_range
from clickstream_assets.domains import DOMAINS
from clickstream_assets.errors import ClickstreamError
from clickstream_assets.generate import generator
from clickstream_assets.layers import CLEANED, ENHANCED, RAW
from clickstream_assets.price import Pace, fit
from clickstream_assets_tests.conftest import Home, use_home
from clickstream_assets_tests.redshift import Twin

FIRST = date(2024, 3, 1)


def generate(home: Home, domain: str, first: date, last: date, rows: int) -> int:
    """Land sample files; their bytes."""
    landing = home.platform.landing
    made = generator(domain)(landing.write, first=first, last=last, rows_per_day=rows)
    return sum(file.size for file in landing.files("") if file.path in set(made.paths))


def estimated(home: Home, domain: str, first: date, last: date) -> price.DomainPrice:
    (only,) = price.estimate(home.platform, [DOMAINS[domain]], day_range(first, last)).domains
    return only


def test_without_runs_the_pace_is_the_usual_one_and_with_one_it_is_this_machines() -> None:
    usual = Pace(2, 0.1, 5)
    assert fit(usual, []) == usual
    slow = fit(usual, [(10, 1e6, 2 * usual.seconds(10, 1e6))])
    assert (slow.fixed, slow.piece, slow.million) == pytest.approx((4, 0.2, 10))


@pytest.mark.parametrize("true", [Pace(1, 0.02, 20), Pace(6, 0, 1), Pace(0.2, 0.5, 0)])
def test_runs_of_several_sizes_tell_the_pace_whatever_was_thought_before(true: Pace) -> None:
    sizes = [(1, 100), (1, 3e6), (60, 6e4), (365, 4e5), (30, 9e6)]
    found = fit(Pace(2, 0.1, 5), [(days, rows, true.seconds(days, rows)) for days, rows in sizes])
    assert min(found.fixed, found.piece, found.million) >= 0
    for days, rows in [*sizes, (730, 7e5), (10, 2e7)]:
        assert found.seconds(days, rows) == pytest.approx(true.seconds(days, rows), rel=0.25)


def test_no_part_of_a_pace_is_below_zero() -> None:
    found = fit(Pace(2, 0.1, 5), [(1, 100, 9.0), (100, 1e6, 3.0), (300, 3e6, 1.0)])
    assert min(found.fixed, found.piece, found.million) >= 0


def test_before_the_first_run_the_tag_says_that_it_comes_from_another_machine(home: Home) -> None:
    last = FIRST + timedelta(2)
    size = generate(home, "clickstream", FIRST, last, 2000)
    tag = estimated(home, "clickstream", FIRST, last)
    assert (tag.days, tag.bytes, tag.bytes_to_read, tag.files_to_read) == (3, size, size, tag.files)
    assert tag.rows == pytest.approx(6000, rel=0.4) and tag.rows_to_read == tag.rows
    assert (tag.runs, tag.dollars) == (0, None) and "benchmark" in tag.source
    assert tag.seconds.high == pytest.approx(9 * tag.seconds.low, rel=0.01)
    other = estimated(home, "clickstream", last + timedelta(1), last + timedelta(1))
    assert (other.days, other.files, other.bytes, other.rows) == (1, 0, 0, 0)


def test_what_was_loaded_as_it_is_is_not_read_again(home: Home) -> None:
    days = [FIRST + timedelta(n) for n in range(3)]
    generate(home, "ecommerce", days[0], days[1], 300)
    home.run(str(days[0]), str(days[1]))
    loaded = estimated(home, "ecommerce", days[0], days[1])
    assert (loaded.files_to_read, loaded.bytes_to_read, loaded.rows_to_read) == (0, 0, 0)
    assert (loaded.rows, loaded.runs, loaded.files) == (600, 1, 2)

    (changed,) = home.landing(str(days[0])).iterdir()
    changed.write_bytes(changed.read_bytes().replace(b"user", b"USER"))  # as long as it was
    (gone,) = home.landing(str(days[1])).iterdir()
    gone.unlink()
    new = home.land(str(days[2]), "new.csv", *["u1,s1,2024-03-03 10:00:00,product_view,p1,,"] * 100)
    home.land(str(days[2]), "_unfinished.csv", "half")
    home.land(str(days[2]), "notes.txt", "no events")
    tag = estimated(home, "ecommerce", days[0], days[2])
    assert (tag.files, tag.files_to_read) == (2, 2)
    assert tag.bytes_to_read == tag.bytes == changed.stat().st_size + new.stat().st_size
    # What raw has of a file that is gone counts below raw; that of the others is estimated by their bytes.
    assert tag.rows == pytest.approx(300 + 300 + 100, rel=0.35) and tag.rows - tag.rows_to_read == 300


def test_runs_whose_days_were_run_again_since_do_not_count(home: Home) -> None:
    generate(home, "ecommerce", FIRST, FIRST, 50)
    home.run(str(FIRST))
    home.run(str(FIRST))
    from clickstream_assets import records

    domain = DOMAINS["ecommerce"]
    known, accounts = price._books(home.platform, domain)
    with records.opened(home.settings) as recorded:
        points = price._points(domain, recorded.of(domain), known, accounts)
    # Raw was read by the first run; what lies below it is the second one's.
    assert sorted(rows for _, rows, _ in points[RAW]) == [0, 50]
    assert [(days, rows) for days, rows, _ in points[CLEANED]] == [(1, 50)]
    assert [(days, rows) for days, rows, _ in points[ENHANCED]] == [(1, 50)]


def test_a_larger_backfill_takes_what_some_recorded_runs_say(home: Home) -> None:
    """Within a factor of 3: the other half of the suite runs on the same cores."""
    later = FIRST + timedelta(10)
    generate(home, "ecommerce", FIRST, FIRST, 200)
    generate(home, "ecommerce", FIRST + timedelta(1), FIRST + timedelta(1), 20_000)
    generate(home, "ecommerce", FIRST + timedelta(2), FIRST + timedelta(6), 200)
    generate(home, "ecommerce", later, later + timedelta(39), 2_000)
    home.run(str(FIRST))
    home.run(str(FIRST + timedelta(1)))
    home.run(str(FIRST + timedelta(2)), str(FIRST + timedelta(6)))
    tag = estimated(home, "ecommerce", later, later + timedelta(39))
    assert tag.rows == pytest.approx(80_000, rel=0.2) and tag.runs == 3
    before = _lake(home)
    begun = _now()
    home.run(str(later), str(later + timedelta(39)))
    took = _now() - begun
    assert took / 3 <= tag.seconds.estimate <= took * 3
    assert tag.lake_bytes == pytest.approx(_lake(home) - before, rel=0.5)


def _now() -> float:
    return time.monotonic()


def _lake(home: Home) -> int:
    return sum(path.stat().st_size for path in (home.path / "lake").rglob("ecommerce_*/**/*.parquet"))


def test_on_aws_it_costs_requests_storage_and_the_time_of_redshift(
    tmp_path: Path, s3_root: str, twin: Twin, on_redshift: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "prices.yml"
    settings = {
        "CLICKSTREAM_WAREHOUSE": "redshift",
        "CLICKSTREAM_LANDING_URI": f"{s3_root}/landing",
        "CLICKSTREAM_LAKE_URI": f"{s3_root}/lake",
    }
    home = use_home(tmp_path / "aws", monkeypatch, **on_redshift, **settings)
    size = generate(home, "sales", FIRST, FIRST + timedelta(1), 100)
    tag = estimated(home, "sales", FIRST, FIRST + timedelta(2))
    assert (tag.bytes, tag.files, tag.files_to_read, tag.days) == (size, 8, 8, 3)
    assert tag.dollars is not None and tag.dollars_month is not None
    # A minute at least of 8 RPUs; what lists, reads and writes costs is below a cent.
    assert 60 / 3600 * 8 * 0.375 < tag.dollars.estimate < 60 / 3600 * 8 * 0.375 + 0.01
    assert tag.dollars_month == pytest.approx(tag.lake_bytes / 1e9 * (0.023 + 0.024), abs=0.0001)

    own.write_text("redshift: {rpus: 80}\nmachine:\n  hour: 3600\n")
    dear = Home(home.path, {**home.further, "CLICKSTREAM_PRICES": str(own)})
    found = estimated(dear, "sales", FIRST, FIRST + timedelta(2)).dollars
    assert found is not None
    extra = 60 / 3600 * 72 * 0.375 + sum(tag.hops.values())
    assert found.estimate == pytest.approx(tag.dollars.estimate + extra, abs=0.02)
    assert not home.path.exists(), "an estimate leaves nothing behind"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("s3: [1]", "s3 may have the keys gb_month, thousand_gets, thousand_puts alone"),
        ("redshift: {rpu: 8}", "redshift may have the keys"),
        ("glue: {}", "the file may have the keys as_of, machine, redshift, region, s3, source alone"),
        ("machine: {hour: -1}", "machine.hour is -1: give a number from 0 up"),
        ("machine: {hour: .nan}", "machine.hour is nan: give a number from 0 up"),
        ("s3: {gb_month: cheap}", "s3.gb_month is 'cheap': give a number"),
        ("s3: {", "is no YAML"),
    ],
)
def test_a_mistake_in_a_file_of_prices_is_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    own = tmp_path / "prices.yml"
    own.write_text(text)
    with pytest.raises(ClickstreamError) as caught:
        price.prices(own)
    assert says in str(caught.value) and str(own) in str(caught.value) and "\n" not in str(caught.value)


def test_prices_say_where_they_are_from() -> None:
    usual = price.prices()
    assert usual["region"] == "us-east-1" and usual["as_of"] and "AWS" in usual["source"]
