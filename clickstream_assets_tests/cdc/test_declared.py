"""The file that declares the tables: what it may say, and the sentence for each mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from clickstream_assets.cdc import declared
from clickstream_assets.errors import ClickstreamError

ORDERS = {"source": "dms", "schema": "shop", "table": "orders", "primary_key": ["order_id"]}
CARTS = {"source": "dynamodb", "table": "carts", "primary_key": ["cart_id"]}


def written(path: Path, content: Any) -> Path:
    file = path / "tables.yml"
    file.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return file


def test_the_shipped_file_declares_the_tables_of_the_demo() -> None:
    carts, orders, customers = declared.load()
    assert (carts.folder, carts.name, carts.primary_key) == ("cdc/dynamodb/carts", "cdc.carts", ("cart_id",))
    assert (orders.folder, orders.primary_key) == ("cdc/dms/shop/orders", ("order_id",))
    assert customers.columns[0] == "customer_id"
    assert customers.personal == ("email", "full_name")


def test_an_entry_says_all_that_can_be_said(tmp_path: Path) -> None:
    full = ORDERS | {
        "target": "shop_orders",
        "columns": ["Order ID", "Region", "Amount", "BI_Order ID", "TS", "Seq", "op"],
        "types": {"Amount": "DECIMAL(10, 2)", "op": "integer"},
        "personal": ["Region"],
        "timestamp": "TS",
        "sequence": "Seq",
        "partition_by": "Region",
        "complete_loads": True,
        "renames": {"Zone": "Region"},
        "primary_key": ["ORDER ID"],
    }
    (one,) = declared.load(written(tmp_path, {"tables": [full]}))
    assert one.name == "cdc.shop_orders" and one.complete_loads
    assert one.primary_key == ("order_id",)
    assert one.columns == ("order_id", "region", "amount", "bi_order_id", "ts", "seq", "op_")
    assert one.types == {"amount": "decimal(10,2)", "op_": "integer"}
    assert (one.timestamp, one.sequence, one.partition_by) == ("ts", "seq", "region")
    assert one.renames == {"zone": "region"}


def test_a_file_may_declare_nothing(tmp_path: Path) -> None:
    assert declared.load(written(tmp_path, "# nothing yet\n")) == ()
    assert declared.load(written(tmp_path, {"tables": []})) == ()


@pytest.mark.parametrize(
    ("name", "here"),
    [
        ("Order ID", "order_id"),
        ("größe", "gr__e"),
        ("2nd", "_2nd_"),
        ("OP", "op_"),
        ("valid_to", "valid_to_"),
        ("_id", "_id_"),
        ("", "__"),
        ("plain_1", "plain_1"),
    ],
)
def test_columns_get_names_that_every_warehouse_takes(name: str, here: str) -> None:
    assert declared.column(name) == here
    assert declared.column(here) == here  # so a declaration may have either


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("a: [", "is not YAML"),
        ({"table": []}, "must be a list of tables"),
        (["orders"], "entry 1 is not a mapping"),
        ([CARTS, {"source": "dms"}], "entry 2 lacks table"),
        ([CARTS | {"table": 7}], "needs a text as its table"),
        ([CARTS | {"complete_loads": True}], "has complete_loads, which only tables of dms have"),
        ([ORDERS | {"complete_loads": "yes"}], "has a complete_loads that is neither true nor false"),
        ([CARTS | {"primarykey": ["x"]}], "entry 1 (carts) has primarykey"),
        ([CARTS | {"source": "kafka"}], "needs dynamodb or dms as its source"),
        ([{k: v for k, v in ORDERS.items() if k != "schema"}], "lacks schema"),
        ([CARTS | {"schema": "shop"}], "has schema, which only tables of dms have"),
        ([CARTS | {"columns": ["cart_id"]}], "has columns, which only tables of dms have"),
        ([ORDERS | {"schema": "../x"}], "cannot be a folder"),
        ([ORDERS | {"table": "a/b", "target": "ab"}], "cannot be a folder"),
        ([ORDERS | {"primary_key": []}], "empty primary_key"),
        ([{k: v for k, v in CARTS.items() if k != "primary_key"}], "empty primary_key"),
        ([ORDERS | {"primary_key": "order_id"}], "list of columns as its primary_key"),
        ([ORDERS | {"primary_key": ["id", "ID"]}], "has id twice in primary_key"),
        ([ORDERS | {"table": "Orders"}], "'Orders' is none"),
        ([ORDERS | {"target": "1st"}], "'1st' is none"),
        ([ORDERS | {"target": "orders_history"}], "names that end in _history"),
        ([ORDERS | {"target": "o" * 60}], "target of 60 characters"),
        ([ORDERS | {"columns": ["order_id", "c" * 64]}], f"has the column {'c' * 64}, and 63 characters are the most"),
        ([ORDERS | {"types": {"c" * 64: "date"}}], f"has the column {'c' * 64} in types"),
        ([ORDERS | {"renames": {"c": "d" * 64}}], f"has the column {'d' * 64} in renames"),
        ([ORDERS | {"partition_by": "c" * 64}], f"has the column {'c' * 64} in partition_by"),
        ([ORDERS | {"columns": ["amount"]}], "has no order_id among its columns"),
        ([ORDERS | {"columns": ["order_id"], "personal": ["name"]}], "has no name among its columns"),
        ([ORDERS | {"columns": ["order_id"], "timestamp": "ts"}], "has no ts among its columns"),
        ([ORDERS | {"timestamp": "order_id"}], "uses order_id as timestamp or sequence"),
        ([ORDERS | {"sequence": "n", "partition_by": "n"}], "uses n as timestamp or sequence"),
        ([ORDERS | {"types": {"amount": "money"}}], "gives amount the type money"),
        ([ORDERS | {"types": {"amount": "decimal(40,2)"}}], "gives amount the type decimal(40,2)"),
        ([ORDERS | {"types": ["amount"]}], "mapping of texts to texts as its types"),
        ([ORDERS | {"renames": {"a": "x", "b": "X"}}], "renames two columns to one"),
        ([ORDERS | {"renames": {"a": "b", "b": "c"}}], "give each column its last name"),
        ([ORDERS | {"renames": {"order_id": "id"}}], "renames a column of its primary key"),
        ([ORDERS, CARTS | {"target": "orders"}], "two entries have the target orders"),
        ([CARTS, CARTS | {"target": "baskets"}], "two entries have the folder cdc/dynamodb/carts"),
    ],
)
def test_each_mistake_is_one_sentence_with_the_file(tmp_path: Path, content: Any, says: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(ClickstreamError) as raised:
        declared.load(path)
    said = str(raised.value)
    assert said.startswith(str(path))
    assert says in said
    assert said.endswith(".")
    assert "\n" not in said


def test_a_missing_file_is_named_with_its_setting(tmp_path: Path) -> None:
    with pytest.raises(ClickstreamError, match=r"nowhere\.yml cannot be read .* CLICKSTREAM_CDC_TABLES"):
        declared.load(tmp_path / "nowhere.yml")
