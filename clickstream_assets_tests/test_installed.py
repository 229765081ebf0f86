"""Once installed: ``make demo`` and ``make test`` a second time, with nothing to install from and no network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

#: loaded by every Python process below: only this machine can be talked to
NO_NETWORK = """
import os, socket

connect, look_up = socket.socket.connect, socket.getaddrinfo

def only_here(host):
    if host not in (None, "", "localhost", "127.0.0.1", "::1", socket.gethostname()):
        with open(os.environ["TRIED"], "a") as file:
            file.write(f"{host}\\n")
        raise OSError(f"no network: {host}")

def connect_here(self, address):
    if isinstance(address, tuple):
        only_here(address[0])
    return connect(self, address)

def look_up_here(host, *rest, **named):
    only_here(host.decode() if isinstance(host, bytes) else host)
    return look_up(host, *rest, **named)

socket.socket.connect, socket.getaddrinfo = connect_here, look_up_here
"""


@pytest.fixture
def make(tmp_path: Path):
    """Runs make where everything is installed, with no pip, no other Python and no network."""
    venv = Path(sys.prefix)
    if not (venv / ".installed-test").exists():  # installed by hand: as if make had done it
        installed, venv = venv, tmp_path / "venv"
        venv.mkdir()
        for part in ("bin", "lib", "pyvenv.cfg"):
            (venv / part).symlink_to(installed / part)
        for stamp in (".installed", ".installed-test"):
            (venv / stamp).touch()
    (tmp_path / "sitecustomize.py").write_text(NO_NETWORK)
    closed = "http://127.0.0.1:9"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PYTHONPATH": str(tmp_path),
        "TRIED": str(tmp_path / "tried"),
        "CLICKSTREAM_HOME": str(tmp_path / "home"),
        **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), closed),
    }

    def run(*arguments: str) -> str:
        command = ["make", *arguments, f"VENV={venv}", "PYTHON=false", "PIP=false"]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        assert not (tmp_path / "tried").exists(), (tmp_path / "tried").read_text()
        return done.stdout

    return run


def test_the_demo_runs_again_with_no_network(make) -> None:
    shown = make("demo", "DEMO=--from 2024-03-01 --to 2024-03-02 --rows-per-day 200")
    assert "ecommerce.top_products" in shown
    assert "unaccounted" in shown
    ledger = shown.partition("What arrived")[2].partition("Why rows")[0]
    raw = (
        "ecommerce_raw.events_raw",
        "clickstream_raw.events_raw",
        "analytics_raw.ga_daily_raw",
        "sales_raw.sales_raw",
    )
    for table in raw:
        assert table in ledger
    # A week more of GA4, so that with the demo's own days some are final; the table has the ends of it.
    assert "\nga4: 2024-02-23 to 2024-03-02, 200 good records a day" in shown
    kpis = shown.partition("(analytics.ga4_events_kpis)")[2].partition("\nRevenue")[0]
    assert "made up" in shown
    days = [line.split() for line in kpis.splitlines() if line.startswith("  2024-")]
    ends = ["03-02", "03-01", "02-29", "02-28", "02-25", "02-24", "02-23"]
    assert [day[0] for day in days] == [f"2024-{end}" for end in ends]
    assert {tuple(day[-2:]) for day in days} == {("True", "True")}  # final, and made up

    sold = shown.partition("(sales.mv_daily_sales)")[2].partition("\nNewest")[0]
    sales = {line.split()[0]: line.split() for line in sold.splitlines() if line.startswith("  2024-")}
    assert list(sales) == ["2024-03-02", "2024-03-01"]
    for _, orders, _, gross, discount, tax, net in sales.values():
        assert int(orders) > 0 and Decimal(net) == Decimal(gross) - Decimal(discount) + Decimal(tax)

    changed = shown.partition("(cdc.orders_history)")[2].partition("\nRevenue")[0]
    versions = [re.split(r"\s{2,}", line.strip()) for line in changed.splitlines() if re.match(r"\s+\d", line)]
    assert len(versions) >= 2, "an order that changed"
    assert len({order for order, *_ in versions}) == 1
    for (*_, until), (_, op, _, _, since, *_) in pairwise(versions):
        assert until == since and op in ("U", "D")
    assert len({(status, amount) for _, _, status, amount, *_ in versions}) > 1, "what is shown of it changed"


def test_the_demo_does_not_mix_its_numbers_with_those_of_a_property(tmp_path: Path) -> None:
    home = tmp_path / "home"
    environment = {
        "PATH": os.environ["PATH"],
        "CLICKSTREAM_HOME": str(home),
        "GA4_PROPERTY_ID": "1",
        "GA4_API_ENDPOINT": "http://127.0.0.1:9",
    }
    command = [sys.executable, "-c", "from clickstream_assets.cli import main; main()", "demo"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "clickstream: GA4_PROPERTY_ID is set, and the demo's numbers are made up: unset it for the demo.\n"
    )
    assert not home.exists()


def test_the_tests_run_again_with_no_network(make) -> None:
    shown = make(
        "test",
        "WORKERS=1",
        "TESTS=clickstream_assets_tests/test_settings.py clickstream_assets_tests/test_reference.py",
    )
    assert " passed" in shown
    assert "failed" not in shown


def test_what_cuts_the_network_cuts_it(make, tmp_path: Path) -> None:
    environment = {"PYTHONPATH": str(tmp_path), "TRIED": str(tmp_path / "tried"), "PATH": os.environ["PATH"]}
    program = "import urllib.request; urllib.request.urlopen('http://example.com', timeout=5)"
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert "no network: example.com" in done.stderr
