"""How long landing files with personal data are kept: what is deleted, what never is, and what the command says."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from clickstream_assets import cli
from clickstream_assets.errors import SettingsError
from clickstream_assets.platform import Platform
from clickstream_assets.retention import Expired, expire
from clickstream_assets.settings import Settings
from clickstream_assets.storage.staged import LandingFile
from clickstream_assets_tests import forked
from clickstream_assets_tests.conftest import Home
from clickstream_assets_tests.servers import S3Server

TODAY = date(2024, 5, 1)
KEPT, GONE = date(2024, 4, 1), date(2024, 3, 31)  # 30 and 31 days ago
CONTENT = b"0123456789"


def path(day: date, name: str, root: str = "clickstream") -> str:
    return f"{root}/year={day:%Y}/month={day:%m}/day={day:%d}/{name}"


def land(platform: Platform, day: date, name: str, status: str | None = "loaded", *, size: int = 10) -> str:
    """Write a file into landing, and into what is known of landing unless the status is None."""
    where = path(day, name)
    platform.landing.write(where, CONTENT)
    if status:
        file = LandingFile(where, size, "ab" * 32, day, 3, status, "run")
        before = [one for one in platform.warehouse.landing_files("clickstream") if one.partition_date == day]
        platform.warehouse.transact(
            "test",
            lambda transaction: platform.warehouse.replace_landing_files(
                transaction, root="clickstream", days=[day], files=[*before, file]
            ),
        )
    return where


def left(platform: Platform) -> set[str]:
    return {file.path for file in platform.landing.files("", hidden=True)}


def names(files: dict[date, list]) -> dict[date, list[str]]:
    return {day: [file.path.rpartition("/")[2] for file in some] for day, some in files.items()}


def at_work(platform: Platform) -> Expired:
    return expire(platform, "clickstream", today=TODAY, days=30)


@pytest.fixture(params=["folder", "bucket"])
def platform(request: pytest.FixtureRequest, home: Home, monkeypatch: pytest.MonkeyPatch) -> Platform:
    if request.param == "bucket":
        monkeypatch.setenv("CLICKSTREAM_LANDING_URI", request.getfixturevalue("s3_root"))
    return Platform(Settings.from_environment())


def test_what_was_loaded_is_deleted_after_its_days_and_nothing_else(platform: Platform) -> None:
    for day in (GONE, date(2023, 12, 31)):
        land(platform, day, "a.gz")
        land(platform, day, "b.gz", "duplicate_file")
        land(platform, day, "c.gz", "rejected_file")
    stays = {
        land(platform, KEPT, "a.gz"),
        land(platform, TODAY, "a.gz"),
        land(platform, GONE, "new.gz", None),
        land(platform, GONE, "replaced.gz", size=11),
        land(platform, GONE, "_half.gz", None),
        path(GONE, "a.gz", "ecommerce"),
        path(GONE, "a.gz", "clickstream_archive"),
        "ecommerce/ingestion_date=2020-01-01/a.csv",
        "clickstream/readme.txt",
        "clickstream/year=2023/month=13/day=40/a.gz",
    }
    for where in stays - left(platform):
        platform.landing.write(where, CONTENT)
    known = platform.warehouse.landing_files("clickstream")

    found = at_work(platform)
    assert left(platform) == stays
    assert names(found.loaded) == {day: ["a.gz", "b.gz", "c.gz"] for day in (date(2023, 12, 31), GONE)}
    assert names(found.waiting) == {GONE: ["new.gz", "replaced.gz"]}
    assert found.unfinished == [path(GONE, "_half.gz")]
    assert platform.warehouse.landing_files("clickstream") == known, "their rows stay"
    again = at_work(platform)
    assert again.loaded == {} and again.waiting == found.waiting


def test_a_dry_run_finds_the_same_and_deletes_nothing(platform: Platform) -> None:
    for name, status in (("a.gz", "loaded"), ("b.gz", None)):
        land(platform, GONE, name, status)
    before = left(platform)
    dry = expire(platform, "clickstream", today=TODAY, days=30, dry_run=True)
    assert left(platform) == before
    assert at_work(platform) == dry and names(dry.loaded) == {GONE: ["a.gz"]}


def test_empty_folders_go_with_the_files(home: Home) -> None:
    platform = home.platform
    land(platform, date(2023, 12, 30), "a.gz")
    land(platform, date(2023, 12, 31), "a.gz")
    land(platform, date(2024, 3, 30), "a.gz")
    land(platform, GONE, "hour=10/a.gz")
    land(platform, GONE, "b.gz", None)
    other = home.path / "landing" / "clickstream" / "year=2022"
    other.mkdir()
    at_work(platform)
    root = home.path / "landing"
    folders = {folder.relative_to(root).as_posix() for folder in root.rglob("*") if folder.is_dir()}
    month = "clickstream/year=2024/month=03"
    assert folders == {"clickstream", "clickstream/year=2022", "clickstream/year=2024", month, f"{month}/day=31"}
    (home.path / "landing" / path(GONE, "b.gz")).unlink()
    land(platform, GONE, "a.gz")
    at_work(platform)
    assert [folder.name for folder in (root / "clickstream").iterdir()] == ["year=2022"]
    other.rmdir()
    land(platform, GONE, "c.gz")
    at_work(platform)
    assert list((root / "clickstream").iterdir()) == [], "the domain's own stays"


def test_nothing_with_content_is_left_in_a_bucket(
    home: Home, s3_root: str, on_s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLICKSTREAM_LANDING_URI", s3_root)
    platform = Platform(Settings.from_environment())
    for name in ("a.gz", "b.gz", "hour=10/a b+c%20ü.gz"):
        land(platform, GONE, name)
    at_work(platform)
    prefix = s3_root.removeprefix(f"s3://{on_s3.bucket}/")
    found = on_s3.client.list_objects_v2(Bucket=on_s3.bucket, Prefix=f"{prefix}/").get("Contents", [])
    assert sum(entry["Size"] for entry in found) == 0, "Arrow keeps emptied folders as empty objects"


def test_the_command_says_what_it_did(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    today = datetime.now(UTC).date()
    days = [today - timedelta(n) for n in (9, 20, 40, 41)]
    for day in days:
        land(home.platform, day, "a.gz")
    new = land(home.platform, days[2], "new.gz", None)
    half = land(home.platform, days[2], ".half.gz", None)
    named = [
        f"{new}: not loaded: run its day first, clickstream run clickstream --date {days[2]}",
        f"{half}: not loaded, as its name starts with . or _: rename or remove it",
    ]

    def said(*arguments: str) -> list[str]:
        cli.main(["retention", *arguments], standalone_mode=False)
        return capsys.readouterr().out.splitlines()

    def lines(*deleted: date, how: str = "deleted") -> list[str]:
        return [f"clickstream {day}: 1 file(s), 10 bytes {how}" for day in deleted]

    assert said("--dry-run") == [*lines(days[3], days[2], how="to be deleted"), *named]
    assert said() == [*lines(days[3], days[2]), *named]
    assert said("--days", "19") == [*lines(days[1]), *named]
    monkeypatch.setenv("CLICKSTREAM_LANDING_RETENTION_DAYS", "8")
    assert said() == [*lines(days[0]), *named]
    assert said() == [*named, "clickstream: no loaded file arrived more than 8 days ago"]


def test_it_waits_for_a_run(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    land(home.platform, GONE, "a.gz")
    monkeypatch.setenv("CLICKSTREAM_LOCK_TIMEOUT_SECONDS", "0.1")
    with home.platform.exclusive("clickstream", "a run"):
        command = forked.start(home, "retention")
        assert command.join() == 1
    assert command.printed().startswith("clickstream: ") and "a run" in command.printed()
    assert left(home.platform) == {path(GONE, "a.gz")}


def test_the_setting_is_a_number_of_days() -> None:
    name = "CLICKSTREAM_LANDING_RETENTION_DAYS"
    assert Settings.from_environment({}).landing_retention_days == 30
    assert Settings.from_environment({name: "7"}).landing_retention_days == 7
    for wrong in ("0", "-1", "a month"):
        with pytest.raises(SettingsError, match=name):
            Settings.from_environment({name: wrong})
