"""The way to AWS: its commands exist, its settings suffice, its policies allow what is used and no more."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore import xform_name

from clickstream_assets import reference, settings
from clickstream_assets.errors import SettingsError
from clickstream_assets.schemas import TABLES
from clickstream_assets.settings import Settings
from clickstream_assets.storage.orphans import DECLARED

ROOT = Path(settings.__file__).parent.parent
#: the way to AWS, and the one to jobs there
AWS, JOBS = ((ROOT / "docs" / "how-to" / name).read_text() for name in ("aws.md", "glue-emr.md"))
PAGE = AWS + JOBS


def blocks(page: str) -> list[str]:
    return re.findall(r"```sh\n(.*?)```", page, re.DOTALL)


def commands(page: str) -> str:
    """A command a line."""
    return "".join(blocks(page)).replace("\\\n", " ").replace("\n  ", " ")


BLOCKS, COMMANDS = blocks(PAGE), commands(PAGE)
POLICIES = {path.stem: json.loads(path.read_text()) for path in sorted((ROOT / "docs" / "aws").glob("*.json"))}

ACCOUNT, BUCKET = "123456789012", "amzn-s3-demo-bucket"

#: options of the command line itself, and those that it makes of other members of a request
OPTIONS = {"query", "output", "cidr", "port", "protocol"}


def listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def allowed(name: str) -> set[tuple[str, str]]:
    """Each action of a policy with each resource that it is allowed on."""
    return {
        (action, resource)
        for statement in POLICIES[name]["Statement"]
        for action in listed(statement["Action"])
        for resource in listed(statement["Resource"])
    }


def resources(name: str, service: str, kind: str = "") -> set[str]:
    """What a policy says of a service's resources, less the beginning that all of them share."""
    start = {"s3": f"arn:aws:s3:::{BUCKET}", "glue": f"arn:aws:glue:eu-central-1:{ACCOUNT}:"}[service] + kind
    return {resource.removeprefix(start) for _, resource in allowed(name) if resource.startswith(start)}


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_names_actions_and_resources_and_nobody_s_account(name: str) -> None:
    policy = POLICIES[name]
    assert policy["Version"] == "2012-10-17"
    text = json.dumps(policy)
    assert set(re.findall(r"\d{12}", text)) <= {ACCOUNT}
    assert set(re.findall(r"arn:aws:s3:::([^/\"]+)", text)) <= {BUCKET}
    for statement in policy["Statement"]:
        assert statement["Effect"] == "Allow"
        assert not [action for action in listed(statement["Action"]) if "*" in action]
        if name.endswith("-trust"):
            assert "*" not in json.dumps(statement["Principal"])
            continue
        # All below a folder, or all tables of a database; of nothing else all.
        assert not [r for r in listed(statement["Resource"]) if "*" in re.sub(r"(?<=[a-z])/\*$", "", r)]


def test_the_page_links_each_policy_and_puts_those_of_the_roles() -> None:
    roles = {name.removesuffix("-trust") for name in POLICIES if name.endswith("-trust")}
    assert set(re.findall(r"\]\(\.\./aws/([a-z-]+)\.json\)", PAGE)) == {n for n in POLICIES if "-trust" not in n}
    assert {part for parts in re.findall(r"for part in ([a-z ]+);", COMMANDS) for part in parts.split()} == roles
    for role in roles:
        assert f"role `clickstream-{role}`" in PAGE


def test_the_pipeline_may_touch_the_registered_tables_and_the_two_prefixes() -> None:
    lake = [table.lake.split(".") for table in TABLES]
    assert resources("pipeline", "glue", "database/") == {database for database, _ in lake} | {DECLARED}
    assert resources("pipeline", "glue", "table/") == {"/".join(names) for names in lake} | {f"{DECLARED}/*"}
    assert resources("pipeline", "s3") == {"", "/landing/*", "/lake/*"}
    on_landing = {action for action, resource in allowed("pipeline") if resource.endswith("/landing/*")}
    assert on_landing == {"s3:GetObject"}


def test_redshift_may_read_the_lake_and_what_it_shows_of_the_catalog() -> None:
    shown = {table.lake.partition(".")[0] for table in TABLES if table.external} | {DECLARED}
    assert resources("redshift", "glue", "database/") == shown
    assert resources("redshift", "glue", "table/") == {f"{database}/*" for database in shown}
    assert resources("redshift", "s3") == {"", "/lake/*"}
    assert not [action for action, _ in allowed("redshift") if not re.match(r"\w+:(Batch)?(Get|List)", action)]


def test_who_delivers_may_not_see_the_lake() -> None:
    assert resources("deliver", "s3") == {"/landing/*"}


def exported(text: str = commands(AWS)) -> dict[str, str]:
    """The settings that commands export, with something in place of what the shell would fill in."""
    found = dict(re.findall(r"^export ((?:CLICKSTREAM|REDSHIFT)_[A-Z_]+)=(.*)$", text, re.MULTILINE))
    known = {"account": ACCOUNT, "bucket": BUCKET, "HOME": str(Path.home()), "application": "00f1"}
    return {
        name: re.sub(r"\$\{?(\w+)\}?", lambda match: known[match[1]], re.sub(r"\$\(.*\)", "filled-in" * 4, value))
        for name, value in found.items()
    }


def test_the_exported_settings_suffice_and_each_is_needed() -> None:
    environ = exported()
    found = Settings.from_environment(environ)
    assert found.catalog.kind == "glue"
    assert found.landing_uri == f"s3://{BUCKET}/landing"
    assert found.redshift
    assert found.redshift.copy_role_arn.endswith(":role/clickstream-redshift")
    for name in environ.keys() - {"CLICKSTREAM_HOME", "CLICKSTREAM_ENVIRONMENT"}:
        with pytest.raises(SettingsError, match=f"{name} is not set"):
            Settings.from_environment({k: v for k, v in environ.items() if k != name})


@pytest.mark.parametrize("service", ["glue", "emr-serverless"])
def test_the_settings_of_jobs_suffice_and_each_is_needed(service: str) -> None:
    (block,) = (block for block in blocks(JOBS) if f"CLICKSTREAM_SPARK_JOBS={service}" in block)
    environ = exported(block.replace("\\\n", " "))
    jobs = Settings.from_environment(exported() | environ).spark_jobs
    assert jobs and jobs.service == service
    for name in environ.keys() - {"CLICKSTREAM_SPARK_JOBS"}:
        with pytest.raises(SettingsError, match=f"{name} is not set"):
            Settings.from_environment(exported() | {k: v for k, v in environ.items() if k != name})


def test_jobs_may_touch_the_lake_and_the_package_alone() -> None:
    assert resources("job", "s3") == {"", "/jobs/*", "/lake/*"}
    assert {action for action, resource in allowed("job") if resource.endswith("/jobs/*")} == {
        "s3:GetObject", "logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"
    }  # fmt: skip
    assert resources("launch", "s3") == set()


def test_the_page_names_settings_that_exist() -> None:
    named = set(re.findall(r"(?:CLICKSTREAM|REDSHIFT)_[A-Z_]+", PAGE))
    assert named <= set(re.findall(r"`([A-Z_]+)`", reference.PATH.read_text()))


@pytest.mark.parametrize("block", BLOCKS)
def test_the_shell_can_read_a_block(block: str) -> None:
    checked = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert not re.search(r"^\s*#", block, re.MULTILINE), "zsh takes a comment for a command"
    assert not re.search(r"\$\w+:\w", block), "zsh takes $a:b for a modification of a: write ${a}:b"


def test_aws_knows_the_commands_and_their_options() -> None:
    session = botocore.session.get_session()
    called: set[str] = set()
    unknown: list[Any] = []
    for service, operation, arguments in re.findall(r"\baws ([a-z0-9-]+) ([a-z-]+)((?:(?!\baws )[^|;)\n])*)", COMMANDS):
        if service in ("s3", "configure"):
            continue
        called.add(service)
        model = session.get_service_model({"s3api": "s3"}.get(service, service))
        operations = {xform_name(name, "-"): name for name in model.operation_names}
        if operation not in operations:
            unknown.append((service, operation))
            continue
        shape = model.operation_model(operations[operation]).input_shape
        given = set(re.findall(r"(?<=\s)--([a-z-]+)", arguments))
        members = {xform_name(name, "-"): name for name in shape.members}
        unknown += [(service, operation, option) for option in given - members.keys() - OPTIONS]
        # A token by which a request is told from its repetition, the command line makes.
        needed = {n for n in shape.required_members if not shape.members[n].metadata.get("idempotencyToken")}
        missing = needed - {members[option] for option in given & members.keys()}
        unknown += [(service, operation, "lacks", name) for name in missing]
    assert not unknown
    assert called >= {"iam", "ec2", "s3api", "redshift-serverless", "redshift-data", "sts", "glue"}
