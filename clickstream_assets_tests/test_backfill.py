"""``clickstream backfill``: what it says before it begins, when it refuses, and what a failure costs."""

from __future__ import annotations

import json
import os
import signal
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from clickstream_assets import cli
from clickstream_assets.generate import generator
from clickstream_assets_tests import forked
from clickstream_assets_tests.conftest import Home, use_home

DAYS = ("--from", "2024-03-01", "--to", "2024-03-02")


def backfill(*arguments: str, days: tuple[str, ...] = DAYS) -> Result:
    return CliRunner().invoke(cli.main, ["backfill", *arguments, *days], catch_exceptions=False)


def generate(home: Home, domain: str, rows: int = 100, days: int = 2) -> None:
    first = date(2024, 3, 1)
    generator(domain)(home.platform.landing.write, first=first, last=first + timedelta(days - 1), rows_per_day=rows)


def files(folder: Path) -> dict[str, bytes]:
    """All files and folders below a folder, and what is in them."""
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


def priced(done: Result) -> dict[str, Any]:
    return {one["domain"]: one for one in json.loads(done.stdout)["price"]["domains"]}


def test_a_dry_run_says_what_lies_in_landing_and_writes_nothing(home: Home) -> None:
    nothing = backfill("--dry-run", "--format", "json")
    assert nothing.exit_code == 0 and list(priced(nothing)) == ["ecommerce", "clickstream", "ga4", "sales"]
    assert not home.path.exists()

    generate(home, "ecommerce")
    generate(home, "sales")
    home.run("2024-03-01")
    before = files(home.path)
    dry = backfill("--dry-run", "--format", "json")
    assert (dry.exit_code, files(home.path)) == (0, before)
    found = priced(dry)
    sizes = {
        name: {path: path.stat().st_size for path in (home.path / "landing" / name).rglob("*.csv*")}
        for name in ("ecommerce", "sales")
    }
    for name, of_name in sizes.items():
        assert (found[name]["files"], found[name]["bytes"]) == (len(of_name), sum(of_name.values()))
    (new,) = (size for path, size in sizes["ecommerce"].items() if "2024-03-02" in str(path))
    assert (found["ecommerce"]["bytes_to_read"], found["ecommerce"]["runs"]) == (new, 1)
    assert found["sales"]["bytes_to_read"] == found["sales"]["bytes"] and found["sales"]["runs"] == 0
    # Nothing of GA4 has landed: a made-up property would be asked.
    assert (found["ga4"]["days_to_collect"], found["ga4"]["files"]) == (2, 0)
    account = json.loads(dry.stdout)
    assert (account["first"], account["last"], account["done"]) == ("2024-03-01", "2024-03-02", [])

    told = backfill("ecommerce", "--dry-run")
    assert (told.exit_code, files(home.path)) == (0, before)
    assert "1 recorded run(s)" in told.stdout and "In all" in told.stdout and "dollars" not in told.stdout


def test_above_the_budget_nothing_is_run(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    generate(home, "ecommerce")
    before = files(home.path)
    monkeypatch.setenv("CLICKSTREAM_BACKFILL_DOLLARS", "0")  # nothing here is on AWS
    monkeypatch.setenv("CLICKSTREAM_BACKFILL_MINUTES", "0.01")
    for arguments in ([], ["--dry-run"], ["--dry-run", "--over-budget"]):
        refused = backfill("ecommerce", *arguments, "--format", "json")
        assert (refused.exit_code, files(home.path)) == (1, before)
        assert "above the 0.01 of CLICKSTREAM_BACKFILL_MINUTES" in refused.stderr.splitlines()[-1]
        assert json.loads(refused.stdout)["price"]["above"] and json.loads(refused.stdout)["done"] == []
    monkeypatch.setenv("CLICKSTREAM_BACKFILL_MINUTES", "60")
    assert backfill("ecommerce", "--dry-run").exit_code == 0


def test_dollars_have_a_budget_of_their_own(tmp_path: Path, s3_root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use_home(
        tmp_path / "home", monkeypatch, CLICKSTREAM_LANDING_URI=f"{s3_root}/in", CLICKSTREAM_BACKFILL_DOLLARS="0.00001"
    )
    assert backfill("ecommerce", "--dry-run").exit_code == 0  # two listings are a thousandth of a cent
    own = tmp_path / "prices.yml"
    own.write_text("s3: {thousand_puts: 500}")
    monkeypatch.setenv("CLICKSTREAM_PRICES", str(own))
    refused = backfill("ecommerce")
    assert refused.exit_code == 1 and "1.00 dollars, above the 1e-05" in refused.stderr
    assert "give --over-budget" in refused.stderr and not (tmp_path / "home").exists()


def test_a_domain_that_fails_costs_itself_alone(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.land("2024-03-01", "bad.csv", *["u1,s1,never,product_view,p1,,"] * 1000)
    generate(home, "sales", 20)
    monkeypatch.setenv("CLICKSTREAM_BACKFILL_MINUTES", "0.01")
    ran = backfill("ecommerce", "sales", "ecommerce", "--over-budget", "--format", "json")
    assert ran.exit_code == 1
    bad, good = json.loads(ran.stdout)["done"]
    assert (bad["domain"], bad["days"]) == ("ecommerce", []) and "rejected_share" in bad["error"]
    assert (good["domain"], good["error"]) == ("sales", None)
    assert good["days"] == ["2024-03-01", "2024-03-02"] and len(good["run_ids"]) == 2
    assert "1 of 2 domains not done: ecommerce" in ran.stderr.splitlines()[-1]
    assert home.one("select count(*) > 0 from sales.sales_fact") == (True,)
    (order,) = ({line.split(":")[1].split(",")[0].strip(): n for n, line in enumerate(ran.stderr.splitlines())
                 if " of 2: " in line},)  # fmt: skip
    assert list(order) == ["ecommerce", "sales"]


@pytest.mark.parametrize(
    ("arguments", "days", "says"),
    [
        ((), ("--from", "2024-03-02", "--to", "2024-03-01"), "is after --to 2024-03-01: swap them"),
        ((), ("--from", "2023-12-31", "--to", "2024-03-01"), "2023-12-31 is not a partition"),
        (("shop",), DAYS, "There is no domain 'shop'"),
        (("sales", "cdc"), DAYS, "cdc has no days"),
    ],
)
def test_a_mistake_is_one_sentence(home: Home, arguments: tuple[str, ...], days: tuple[str, ...], says: str) -> None:
    refused = backfill(*arguments, "--dry-run", days=days)
    assert refused.exit_code == 1 and says in refused.stderr and refused.stderr.count("\n") == 1
    assert not home.path.exists()


def test_ctrl_c_says_what_is_done_and_how_to_do_the_rest(home: Home) -> None:
    generate(home, "ecommerce", 10)
    generate(home, "clickstream", 10)
    generate(home, "sales", 10)
    command = forked.start(home, "backfill", "ecommerce", "clickstream", "sales", *DAYS)
    deadline = time.monotonic() + 60
    while "clickstream.events_cleaned" not in command.printed() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.5)  # in the models then; between steps Dagster puts an interrupt off
    assert command.process.pid is not None
    os.kill(command.process.pid, signal.SIGINT)
    assert command.join() == 1, command.printed()
    said = command.printed().splitlines()[-1]
    assert said.startswith("clickstream: Interrupted: done is ecommerce;"), command.printed()
    assert said.endswith("clickstream backfill clickstream sales --from 2024-03-01 --to 2024-03-02.")
    assert "3 of 3" not in command.printed()
    assert home.one("select count(*) from ops.row_ledger where asset = 'ecommerce.events'") == (2,)
