"""However a customers file is damaged: no name and no address gets into the quarantine, the logs or the ledger."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable

import pytest

from clickstream_assets_tests.conftest import Home
from clickstream_assets_tests.sales.landed import DAY, FEEDS, put, stage_cleaned, stage_raw

HEADER = "customer_id,first_name,last_name,email,city,state"
GOOD = "c7,Zuvito,Pelomi,zuvito.pelomi@example.com,Boise,Idaho"
NAMES = ("Zuvito", "Pelomi", "zuvito", "pelomi", "example.com")


def lines(*records: str, header: str = HEADER) -> bytes:
    return "".join(f"{line}\n" for line in (header, *records)).encode()


def changed(**values: str) -> bytes:
    record = dict(zip(HEADER.split(","), GOOD.split(","), strict=True))
    return lines(",".join((record | values).values()))


#: what a file may be like: its content, and the name of the file
DAMAGED: dict[str, Callable[[], bytes]] = {
    "no id": lambda: changed(customer_id=""),
    "a name for an id, and no good address": lambda: changed(customer_id="Zuvito", email="none"),
    "an address for an id": lambda: changed(customer_id="zuvito@example.com", email="none"),
    "a whole name for an id": lambda: changed(customer_id="Zuvito Pelomi 7", email="none"),
    "an address without a dot": lambda: changed(email="zuvito@example"),
    "two addresses": lambda: changed(email="zuvito@example.com pelomi@example.com"),
    "a name with an address": lambda: changed(email="Zuvito <zuvito@example.com>"),
    "a long name": lambda: changed(first_name="Zuvito " * 10_000),
    "a long id": lambda: changed(customer_id="Zuvito" * 12_000),
    "too few fields": lambda: lines(GOOD.rpartition(",")[0]),
    "too many fields": lambda: lines(f"{GOOD},more"),
    "a semicolon": lambda: lines(GOOD.replace(",", ";")),
    "columns moved": lambda: lines("Zuvito,Pelomi,zuvito.pelomi@example.com,Boise,Idaho,c7"),
    "a quote that does not close": lambda: lines(GOOD.replace("Zuvito", '"Zuvito')),
    "a quote within": lambda: lines(GOOD.replace("Zuvito", 'Zu"vito"')),
    "not UTF-8": lambda: lines(GOOD).replace(b"Boise", b"Bois\xe9"),
    "a NUL far in": lambda: lines(*[GOOD] * 40_000) + GOOD.replace("Boise", "Boi\0se").encode(),
    "a NUL": lambda: lines(GOOD.replace("Boise", "Boi\0se")),
    "no header": lambda: lines(GOOD, header=GOOD),
    "no header and not UTF-8": lambda: GOOD.encode().replace(b"Zuvito", b"Zuvit\xf3") + b"\n",
    "a column missing": lambda: lines(GOOD.rpartition(",")[0], header=HEADER.rpartition(",")[0]),
    "a column twice": lambda: lines(f"{GOOD},Zuvito", header=f"{HEADER},first_name"),
    "names in the header": lambda: changed(customer_id="").replace(b"state", b"state,zuvito.pelomi@example.com"),
    "a column that no table knows": lambda: lines(f",{GOOD.partition(',')[2]},Zuvito", header=f"{HEADER},nickname"),
    "a header that does not close": lambda: b'"Zuvito,Pelomi,' + lines(GOOD),
    "cut short": lambda: gzip.compress(lines(*[GOOD] * 500), mtime=0)[:-9],
    "damaged": lambda: bytes(gzip.compress(lines(GOOD), mtime=0)).replace(b"\x1f\x8b", b"\x1f\x8c", 1),
    "lone carriage returns": lambda: lines(GOOD, f"{GOOD},more").replace(b"\n", b"\r"),
    "one line for all": lambda: lines(GOOD + "," + GOOD),
    "longer than a record may be": lambda: lines(GOOD.replace("Boise", "Zuvito" * 1_500_000)),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGED)
def test_no_name_and_no_address_is_in_the_quarantine(home: Home, case: str, caplog: pytest.LogCaptureFixture) -> None:
    name = "a.csv.gz" if case in ("cut short", "damaged") else "a.csv"
    put(home, "customers", name, DAMAGED[case]())
    feed, told = FEEDS["customers"], []
    staged = feed.load_loader(home.platform).stage([DAY], [], run_id="r", progress=told.append)
    told += [str(staged), caplog.text]
    stage_raw(home, feed, [DAY])
    told.append(str(stage_cleaned(home, feed, [DAY])))
    rejects = home.query("select * exclude (source_file) from ops.quarantine")
    assert rejects, "nothing was rejected: the case shows nothing"
    tables = [home.table(name) for name in ("ops.quarantine", "ops.landing_files", "ops.row_ledger")]
    for word in NAMES:
        assert word not in str(tables) and word not in str(told), word


def test_an_id_that_looks_like_one_is_kept_so_that_the_record_can_be_found(home: Home) -> None:
    put(
        home,
        "customers",
        "a.csv",
        changed(customer_id=" c7 ", email="none") + b"00012,A,B,x,,\n9f8b3c1e-0000-4a4a-8b8b-0123456789ab,A,B,x,,\n",
    )
    stage_raw(home, FEEDS["customers"], [DAY])
    stage_cleaned(home, FEEDS["customers"], [DAY])
    found = home.query("select payload, source_line from ops.quarantine order by source_line")
    assert [(json.loads(payload), line) for payload, line in found] == [
        ({"customer_id": "c7"}, 2),
        ({"customer_id": "00012"}, 3),
        ({"customer_id": "9f8b3c1e-0000-4a4a-8b8b-0123456789ab"}, 4),
    ]
