"""Notifications of S3 in a queue: what a tick requests, and when a message is deleted.

S3, SQS, SNS and EventBridge are MiniStack's, and so is what they send.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import boto3
import dagster as dg
import pytest
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.scheduler.instigation import SensorInstigatorData
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._daemon.sensor import execute_sensor_iteration

from clickstream_assets import arrivals, domains, notifications
from clickstream_assets.days import last_day
from clickstream_assets.definitions import defs
from clickstream_assets.defs import arrivals as sensors
from clickstream_assets.errors import ClickstreamError
from clickstream_assets.notifications import Queue, UnreadableMessage, created
from clickstream_assets.platform import Platform
from clickstream_assets.settings import Settings
from clickstream_assets.storage import files, s3
from clickstream_assets_tests import servers
from clickstream_assets_tests.conftest import Home
from clickstream_assets_tests.servers import free_ports

REGION = "eu-central-1"
PREFIX = "delivered/by+the%20shop"
MONDAY, TUESDAY = "2024-03-04", "2024-03-05"
FIRST, LAST = date(2024, 1, 1), date(2024, 12, 31)

#: what is left of a name when it is decoded once too often, or not at all, is another one of these
ODD_NAMES = (
    *("a b.csv", "a+b.csv", "a%20b.csv", "a%2Bb.csv", "a%252Bb.csv", "a  b.csv", "50%.csv", "%.csv"),
    *("ä ö.csv", "a\u0308 o\u0308.csv", "%C3%A4.csv", "日本.csv", "🛒.csv", "a&b=c;d?e#f.csv", "a'\"<>\\b.csv"),
)


@dataclass(frozen=True)
class Bucket:
    """A bucket, and the queue that its notifications are for. ``url``, ``arn``: the queue's."""

    endpoint: str
    name: str
    url: str
    arn: str

    def client(self, service: str) -> Any:
        return boto3.client(service, endpoint_url=self.endpoint, region_name=REGION)

    def notify(self, kind: str = "Queue", arn: str | None = None) -> None:
        """Have every write and removal below the landing prefix told of; S3 tries it out with a message of its own."""
        prefix = {"Key": {"FilterRules": [{"Name": "prefix", "Value": f"{PREFIX}/"}]}}
        target = {f"{kind}Arn": arn or self.arn, "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]}
        self.client("s3").put_bucket_notification_configuration(
            Bucket=self.name, NotificationConfiguration={f"{kind}Configurations": [target | {"Filter": prefix}]}
        )

    def put(self, day: str, name: str = "a.csv", content: bytes = b"") -> str:
        return self.put_key(f"{PREFIX}/ecommerce/ingestion_date={day}/{name}", content)

    def put_key(self, key: str, content: bytes = b"") -> str:
        self.client("s3").put_object(Bucket=self.name, Key=key, Body=content)
        return key

    def send(self, *bodies: str) -> list[str]:
        """Put messages into the queue; their ids."""
        sqs = self.client("sqs")
        return [sqs.send_message(QueueUrl=self.url, MessageBody=body)["MessageId"] for body in bodies]

    def tell_of(self, day: str, *names: str, **written: str) -> list[str]:
        """The same as S3 would send for files of a day."""
        keys = (f"{PREFIX}/ecommerce/ingestion_date={day}/{name}" for name in names)
        return self.send(*(json.dumps({"Records": [record(self.name, key, **written)]}) for key in keys))

    def copied(self) -> list[str]:
        """The bodies in the queue, which stay there."""
        sqs = self.client("sqs")
        bodies: list[str] = []
        while found := sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10, VisibilityTimeout=99).get(
            "Messages"
        ):
            bodies += [message["Body"] for message in found]
        self.client("sqs").purge_queue(QueueUrl=self.url)
        self.send(*bodies)
        return bodies

    def left(self, url: str | None = None) -> int:
        """Messages in the queue, hidden ones included."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = self.client("sqs").get_queue_attributes(QueueUrl=url or self.url, AttributeNames=names)
        return sum(int(answer["Attributes"][name]) for name in names)


def record(bucket: str, key: str, name: str = "ObjectCreated:Put", **written: str) -> dict[str, Any]:
    """One of S3's."""
    item = {"key": quote_plus(key, safe="/"), "size": 0} | ({"eTag": "0", "sequencer": "0"} | written)
    event = {"eventSource": "aws:s3", "eventTime": "2024-03-04T10:00:00.000Z", "eventName": name}
    return event | {"s3": {"bucket": {"name": bucket}, "object": item}}


@pytest.fixture
def bucket(home: Home, aws_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A bucket and a queue, and settings for it. No S3 is to be found: a sensor that takes messages lists nothing."""
    environment = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_ports(1)[0]}",
        "AWS_ENDPOINT_URL_SQS": aws_endpoint,
        "AWS_ACCESS_KEY_ID": secrets.token_hex(8),
        "AWS_SECRET_ACCESS_KEY": secrets.token_hex(16),
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(notifications, "WAIT_SECONDS", 0)
    name = f"b{secrets.token_hex(8)}"
    sqs = boto3.client("sqs")
    # Ours, and not the queue's own, is the time for which messages are hidden.
    url = sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "0"})["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    made = Bucket(aws_endpoint, name, url, arn)
    made.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    monkeypatch.setenv("CLICKSTREAM_LANDING_URI", f"s3://{name}/{PREFIX}")
    monkeypatch.setenv("CLICKSTREAM_ARRIVALS_QUEUE_URL", url)
    return made


@pytest.fixture
def reappear(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Ends the time for which received messages are hidden."""
    received: list[notifications.Message] = []
    receive = Queue.receive

    def noted(queue: Queue) -> list[notifications.Message]:
        messages = receive(queue)
        received.extend(messages)
        return messages

    def end() -> None:
        for start in range(0, len(received), 10):
            entries = [
                {"Id": str(number), "ReceiptHandle": message.receipt, "VisibilityTimeout": 0}
                for number, message in enumerate(received[start : start + 10])
            ]
            bucket.client("sqs").change_message_visibility_batch(QueueUrl=bucket.url, Entries=entries)
        received.clear()

    monkeypatch.setattr(Queue, "receive", noted)
    return end


def look(bucket: Bucket) -> notifications.Found:
    return notifications.look(Queue(bucket.url), f"s3://{bucket.name}/{PREFIX}", first=FIRST, last=LAST)


def days(found: notifications.Found) -> list[str]:
    return [str(arrival.day) for arrival in sorted(found.arrivals)]


@pytest.fixture
def tick(bucket: Bucket) -> Callable[[], list[dg.RunRequest]]:
    """The sensor, evaluated where no run exists; what it requests is lost."""
    sensor = sensors._queue_sensor(30)

    def evaluate() -> list[dg.RunRequest]:
        resources = {"platform": Platform(Settings.from_environment())}
        with (
            dg.DagsterInstance.ephemeral() as instance,
            dg.build_sensor_context(instance=instance, resources=resources) as context,
        ):
            return list(sensor(context).run_requests)

    return evaluate


def test_with_a_queue_there_is_one_sensor_for_all_domains(bucket) -> None:
    repository = defs().get_repository_def()
    names = {sensor.name for sensor in repository.sensor_defs if sensor.name.endswith("arrivals")}
    assert names == {"arrivals"}
    sensor = repository.get_sensor_def("arrivals")
    assert [target.job_name for target in sensor.targets] == [*domains.DOMAINS, "cdc"]
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
    assert sensor.minimum_interval_seconds == 30


# What messages say


@pytest.fixture
def by_way(bucket: Bucket) -> Callable[[str], list[str]]:
    """Files with odd names are written; what the queue gets of it on three ways."""

    def arrive(way: str) -> list[str]:
        if way == "S3":
            bucket.notify()
        elif way == "SNS":
            sns = bucket.client("sns")
            topic = sns.create_topic(Name=bucket.name)["TopicArn"]
            sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=bucket.arn)
            bucket.notify("Topic", topic)
        else:
            events = bucket.client("events")
            pattern = json.dumps({"source": ["aws.s3"], "detail": {"bucket": {"name": [bucket.name]}}})
            events.put_rule(Name=bucket.name, EventPattern=pattern)
            events.put_targets(Rule=bucket.name, Targets=[{"Id": "queue", "Arn": bucket.arn}])
            bucket.client("s3").put_bucket_notification_configuration(
                Bucket=bucket.name, NotificationConfiguration={"EventBridgeConfiguration": {}}
            )
        for name in ODD_NAMES:
            bucket.put(MONDAY, name)
        bucket.client("s3").delete_object(Bucket=bucket.name, Key=bucket.put(MONDAY, "gone.csv"))
        return bucket.copied()

    return arrive


@pytest.mark.parametrize("way", ["S3", "SNS", "EventBridge"])
def test_files_are_known_by_the_keys_that_they_have(bucket, by_way, way) -> None:
    bodies = by_way(way)
    extra = 1 if way == "EventBridge" else 2  # the removal, and S3's trial
    assert len(bodies) == len(ODD_NAMES) + 1 + extra
    told = [event for body in bodies for event in created(body)]
    assert len({event.digest for event in told}) == len(told) == len(ODD_NAMES) + 1
    assert {event.bucket for event in told} == {bucket.name}
    assert {event.key.rpartition("/")[2] for event in told} == {*ODD_NAMES, "gone.csv"}
    listed = bucket.client("s3").list_objects_v2(Bucket=bucket.name)["Contents"]
    assert {entry["Key"] for entry in listed} < {event.key for event in told}

    found = look(bucket)
    assert days(found) == [MONDAY] * len(told)
    assert len(found.settled(set())) == extra, "the removal and S3's trial have nothing to load"
    assert found.unreadable == {}


def test_names_that_differ_by_signs_only_are_different_reasons(bucket, tick) -> None:
    keys = set()
    for name in ODD_NAMES:
        bucket.tell_of(MONDAY, name)
        (request,) = tick()
        keys.add(request.run_key)
    assert len(keys) == len(ODD_NAMES)


@pytest.mark.parametrize("written", [{"eTag": "1"}, {"sequencer": "1"}, {"versionId": "1"}])
def test_another_write_is_another_reason_and_another_message_about_it_is_not(bucket, tick, written) -> None:
    bucket.tell_of(MONDAY, "a.csv")
    bucket.tell_of(MONDAY, "a.csv")
    (first,) = tick()
    bucket.tell_of(MONDAY, "a.csv")
    (same,) = tick()
    bucket.tell_of(MONDAY, "a.csv", **written)
    (other,) = tick()
    assert first.run_key == same.run_key != other.run_key


def test_the_time_tells_writes_apart_where_there_is_no_sequencer() -> None:
    one, other = (record("b", "k", sequencer="") | {"eventTime": f"2024-03-04T10:00:0{n}Z"} for n in range(2))
    digests = {created(json.dumps({"Records": [r]}))[0].digest for r in (one, other, one)}
    assert len(digests) == 2


# What is requested


def test_the_messages_of_a_day_are_one_request_for_its_partition_and_job(bucket, tick) -> None:
    bucket.notify()
    for day, name in ((TUESDAY, "a.csv"), (MONDAY, "a.csv"), (MONDAY, "b.csv.gz")):
        bucket.put(day, name)
    requests = tick()
    assert [(request.job_name, request.partition_key) for request in requests] == [
        ("ecommerce", MONDAY),
        ("ecommerce", TUESDAY),
    ]
    assert bucket.left() == 3, "S3's trial alone is deleted, as nothing has its run yet"


def test_one_queue_serves_all_domains(bucket, monkeypatch) -> None:
    (shop,) = domains.domain("ecommerce").feeds
    toys = replace(domains.domain("ecommerce"), name="toys", feeds=(replace(shop, landing="toys/{day}"),))
    monkeypatch.setitem(domains.DOMAINS, "toys", toys)
    bucket.notify()
    bucket.put(MONDAY)
    bucket.put_key(f"{PREFIX}/toys/{MONDAY}/a.csv")
    found = look(bucket)
    assert sorted((arrival.domain, str(arrival.day)) for arrival in found.arrivals) == [
        ("ecommerce", MONDAY),
        ("toys", MONDAY),
    ]
    sensor = sensors._queue_sensor(30)
    assert [target.job_name for target in sensor.targets] == [*domains.DOMAINS, "cdc"]


def test_change_files_belong_to_no_day(bucket, tick) -> None:
    """One whose name starts with . or _ is none, nor is one of a folder that is called alike."""
    bucket.notify()
    bucket.put_key(f"{PREFIX}/cdc/dms/shop/orders/LOAD00000001.csv")
    bucket.put_key(f"{PREFIX}/cdc/dms/shop/orders/_part.csv")
    bucket.put_key(f"{PREFIX}/cdcx/orders/a.csv")
    (request,) = tick()
    assert (request.job_name, request.partition_key) == ("cdc", None)
    assert len([name for name in request.tags if name.startswith(sensors._REASONS)]) == 1
    with dg.instance_for_test() as instance:
        assert sensors._requested(instance, "cdc", None) == set()
        job = defs().resolve_job_def("cdc")
        instance.create_run_for_job(job, tags=request.tags)
        assert len(sensors._requested(instance, "cdc", None)) == 1


#: keys below the landing prefix that are told of; what each is taken for is what a listing of them says
KEYS = (
    *(
        "ingestion_date=2024-03-01/a.csv",
        "ingestion_date=2024-03-02/hour=10/A.CSV",
        "ingestion_date=2024-03-03/b.csv.gz",
    ),
    *("ingestion_date=2024-03-04/_a.csv", "ingestion_date=2024-03-05/.a.csv", "ingestion_date=2024-03-06/_tmp/a.csv"),
    *("ingestion_date=2024-03-07/a.json", "ingestion_date=2024-03-08/", "ingestion_date=2024-03-09", "a.csv"),
    *("ingestion_date=2024-03-10//a.csv", "ingestion_date=2024-03-11/./a.csv", "ingestion_date=2024-03-12/../a.csv"),
    *("/ingestion_date=2024-03-13/a.csv", "../ingestion_date=2024-03-14/a.csv", "ingestion_date=2024-03-15/a\nb.csv"),
    *("ingestion_date=2023-12-31/a.csv", "ingestion_date=2025-01-01/a.csv", "ingestion_date=2024-02-30/a.csv"),
    *("ingestion_date=2024-03-16x/a.csv", "_ingestion_date=2024-03-17/a.csv", "other/ingestion_date=2024-03-18/a.csv"),
)


def test_a_key_is_taken_for_what_a_listing_takes_it_for(bucket, monkeypatch) -> None:
    bucket.notify()
    for key in KEYS:
        bucket.put_key(f"{PREFIX}/ecommerce/{key}", b"x")
    monkeypatch.setenv("AWS_ENDPOINT_URL", bucket.endpoint)
    landing = files.at(f"s3://{bucket.name}/{PREFIX}")
    (place,) = domains.domain("ecommerce").landings
    listed = arrivals.Arrivals(landing, place, first=FIRST, last=LAST).since(None, now_ns=time.time_ns())
    assert len(listed.days) == 7 and len(listed.elsewhere) == 8
    found = look(bucket)
    assert days(found) == [str(day) for day in listed.days]
    assert sorted(found.elsewhere) == listed.elsewhere
    assert found.foreign == []
    assert len(found.settled(set())) == 1 + len(KEYS) - len(listed.days), "the rest is for nobody"


def test_what_is_not_loaded_is_taken_and_told_without_its_name(bucket, tick, capsys) -> None:
    secret = "ann@example.org"
    bucket.send(*(json.dumps({"Records": [record(*where)]}) for where in (
        ("another-bucket", f"{PREFIX}/ecommerce/ingestion_date={MONDAY}/{secret}.csv"),
        (bucket.name, f"ecommerce/ingestion_date={MONDAY}/{secret}.csv"),
        (bucket.name, f"{PREFIX}x/ecommerce/ingestion_date={MONDAY}/{secret}.csv"),
        (bucket.name, f"{PREFIX}/ecommerce2/ingestion_date={MONDAY}/{secret}.csv"),
        (bucket.name, f"{PREFIX}/ecommerce/ingestion_date={MONDAY}/{secret}.csv", "ObjectRemoved:Delete"),
        (bucket.name, f"{PREFIX}/ecommerce/ingestion_date={MONDAY}/{secret}.csv", "LifecycleExpiration:Delete"),
    )))  # fmt: skip
    bucket.send(*(['{"Records": []}'] * 15))
    bucket.tell_of("2019-01-01", "a.csv")
    bucket.tell_of(MONDAY, "a.csv")
    assert [request.partition_key for request in tick()] == [MONDAY]
    assert bucket.left() == 1
    log = capsys.readouterr().err
    assert "4 files that are not in a landing folder below" in log
    assert "ecommerce/ingestion_date=2019-01-01 has new files and is no partition" in log
    assert secret not in log


def test_every_day_asked_for_is_a_partition(bucket, tick) -> None:
    first, last = Settings.from_environment().start_date, last_day()
    for day in (first - timedelta(days=1), first, last, last + timedelta(days=1)):
        bucket.tell_of(day.isoformat(), "a.csv")
    assert [request.partition_key for request in tick()] == [first.isoformat(), last.isoformat()]


# Messages that nobody can read


_GOOD = record("b", f"{PREFIX}/ecommerce/ingestion_date={MONDAY}/a.csv")
_EVENT = {"detail": {"bucket": {"name": "b"}, "object": {"key": "k"}}, "time": "2024-03-04T10:00:00Z"}
UNREADABLE = (
    *("ann@example.org", "{", "null", "5", '"text"', "[]", "{}", "[" * 50_000, "1" * 5000),
    *('{"Type": "Notification"}', '{"Type": "Notification", "Message": "ann@example.org"}', '{"Message": "{}"}'),
    *(
        '{"Records": {}}',
        '{"Records": "text"}',
        '{"Records": [1]}',
        '{"Records": [{"eventName": "ObjectCreated:Put"}]}',
    ),
    json.dumps({"Records": [_GOOD, {"eventSource": "aws:ses"}]}),
    json.dumps({"Records": [_GOOD | {"s3": {"bucket": {"name": "b"}, "object": {"key": 5}}}]}),
    json.dumps({"Records": [_GOOD | {"s3": {"bucket": {"name": "b"}, "object": {"key": "\ud800"}}}]}),
    json.dumps(_EVENT | {"detail-type": "Object Created", "source": "shop"}),
    json.dumps({"detail-type": "Object Created", "source": "aws.s3", "detail": "ann@example.org"}),
    json.dumps(_EVENT | {"detail-type": "Object Created", "source": "aws.s3", "detail": {"object": {"key": "k"}}}),
)


@pytest.mark.parametrize("body", UNREADABLE, ids=range(len(UNREADABLE)))
def test_a_message_of_another_shape_is_unreadable_and_nothing_else(body) -> None:
    with pytest.raises(UnreadableMessage, match=r"^it is not (JSON|an event of S3)$"):
        created(body)


def test_messages_that_nobody_can_read_cost_themselves_alone(bucket, tick, capsys, monkeypatch) -> None:
    """However many there are: more than a look's messages, in this case."""
    monkeypatch.setattr(notifications, "CAP", 3)
    ids = bucket.send(*UNREADABLE)
    bucket.tell_of(MONDAY, "a.csv")
    assert [request.partition_key for request in tick()] == [MONDAY]
    assert bucket.left() == len(UNREADABLE) + 1
    log = capsys.readouterr().err
    assert sum(f"The message {name} is left in the queue, as it is not" in log for name in ids) == 10
    assert f"{len(UNREADABLE) - 10} more messages are left" in log
    assert "ann@example.org" not in log


def test_a_message_that_nobody_can_read_goes_where_the_queue_sends_it(bucket, tick, monkeypatch) -> None:
    monkeypatch.setattr(notifications, "HIDDEN_SECONDS", 1)
    sqs = bucket.client("sqs")
    url = sqs.create_queue(QueueName=f"{bucket.name}-dead")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": "2"})
    sqs.set_queue_attributes(QueueUrl=bucket.url, Attributes={"RedrivePolicy": policy})
    bucket.send("{")
    for left in (1, 1, 0):
        tick()
        assert bucket.left() == left
        time.sleep(1.1)
    assert bucket.left(url) == 1


# How much a look does


def test_45_files_are_requested_in_looks_of_20_each_file_once(bucket, tick, monkeypatch) -> None:
    monkeypatch.setattr(notifications, "CAP", 20)
    bucket.tell_of(MONDAY, *(f"{number}.csv" for number in range(45)))
    reasons: list[str] = []
    for count in (20, 20, 5):
        (request,) = tick()
        asked = request.tags["clickstream/arrivals_1"].split(",")
        assert len(asked) == count
        reasons += asked
    assert tick() == []
    assert len(set(reasons)) == 45


def test_a_look_ends_with_its_time(bucket, tick, monkeypatch) -> None:
    bucket.tell_of(MONDAY, "a.csv")
    monkeypatch.setattr(notifications, "RECEIVE_SECONDS", 0)
    assert tick() == []
    monkeypatch.setattr(notifications, "RECEIVE_SECONDS", 20)
    assert len(tick()) == 1, "it was not even received"


def test_the_reasons_of_a_large_run_fit_into_the_index_of_tags() -> None:
    digests = [f"{number:016x}" for number in range(notifications.CAP + 1)]
    tags = sensors._reasons(digests)
    assert ",".join(tags.values()).split(",") == digests
    assert max(len(value) for value in tags.values()) < 2600


# Runs, and what becomes of messages


class Daemon:
    """Dagster's storage and the code location, for the daemon's own loop; runs are queued, and stay there."""

    def __init__(self, context: WorkspaceProcessContext):
        self._context = context
        self.instance = context.instance

    def round(self) -> list[tuple[str, str]]:
        """One round, whatever the time since the last one; jobs and partitions of all runs so far."""
        for state in self.instance.all_instigator_state():
            data = state.instigator_data
            self.instance.update_instigator_state(state.with_data(SensorInstigatorData(cursor=data.cursor)))
        errors = list(execute_sensor_iteration(self._context, logging.getLogger("daemon"), None, None))
        assert [error for error in errors if error] == []
        return [(run.job_name, run.tags["dagster/partition"]) for run in reversed(self.instance.get_runs())]


@pytest.fixture
def daemon(bucket: Bucket, tmp_path: Path) -> Iterator[Daemon]:
    storage = tmp_path / "dagster"
    storage.mkdir()
    (storage / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    origin = InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name="clickstream_assets.definitions"))
    with (
        dg.DagsterInstance.from_config(str(storage)) as instance,
        WorkspaceProcessContext(instance, InProcessWorkspaceLoadTarget(origin)) as context,
    ):
        (location,) = context.create_request_context().code_locations
        (repository,) = location.get_repositories().values()
        for sensor in repository.get_sensors():
            if sensor.name != "arrivals":  # a round of all of them takes seconds
                instance.stop_sensor(sensor.get_remote_origin_id(), sensor.selector_id, sensor)
        yield Daemon(context)


RUN = ("ecommerce", MONDAY)


def test_a_message_is_deleted_when_its_run_exists_and_not_before(bucket, daemon, tick, reappear) -> None:
    bucket.notify()
    bucket.put(MONDAY)
    lost = tick()
    assert [request.partition_key for request in lost] == [MONDAY]
    assert daemon.round() == [], "the message is hidden"
    reappear()
    assert daemon.round() == [RUN], "what was lost is requested again"
    (run,) = daemon.instance.get_runs()
    assert run.tags["dagster/run_key"] == lost[0].run_key
    assert bucket.left() == 1, "the tick before did not know that there would be a run"
    reappear()
    assert daemon.round() == [RUN]
    assert bucket.left() == 0


def test_copies_of_a_message_start_no_second_run_whatever_comes_with_them(bucket, daemon, reappear) -> None:
    bucket.tell_of(MONDAY, "a.csv", "b.csv", "a.csv")
    assert daemon.round() == [RUN]
    # S3 may put several events into one message: the new one is a reason, and the message stays for it.
    new, old = (f"{PREFIX}/ecommerce/ingestion_date={MONDAY}/{name}.csv" for name in "ca")
    bucket.tell_of(MONDAY, "b.csv")
    bucket.send(json.dumps({"Records": [record(bucket.name, old), record(bucket.name, new)]}))
    assert daemon.round() == [RUN, RUN]
    assert bucket.left() == 4, "of those that came last, the one without a new file is deleted"
    run = daemon.instance.get_runs()[0]
    assert len(run.tags["clickstream/arrivals_1"].split(",")) == 1
    reappear()
    assert daemon.round() == [RUN, RUN]
    assert bucket.left() == 0


def test_a_file_that_is_written_again_after_its_run_failed_is_run_again(bucket, daemon, reappear) -> None:
    bucket.notify()
    bucket.put(MONDAY, "a.csv", b"content")
    assert daemon.round() == [RUN]
    (run,) = daemon.instance.get_runs()
    daemon.instance.report_run_failed(run)
    reappear()
    assert daemon.round() == [RUN]
    assert bucket.left() == 0
    bucket.put(MONDAY, "a.csv", b"content")
    assert daemon.round() == [RUN, RUN]


# What may be wrong with the queue


def test_an_unusable_queue_is_told_in_one_sentence(bucket, tick, monkeypatch) -> None:
    monkeypatch.setattr(s3, "ATTEMPTS", 1)
    named = r"^The queue \S+ \(CLICKSTREAM_ARRIVALS_QUEUE_URL\) cannot be used: "
    monkeypatch.setenv("CLICKSTREAM_ARRIVALS_QUEUE_URL", bucket.url + "x")
    with pytest.raises(ClickstreamError, match=named + r".*: mend the URL, or AWS_REGION[^\n]*\.$"):
        tick()
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", f"http://127.0.0.1:{free_ports(1)[0]}")
    with pytest.raises(ClickstreamError, match=named + r".*: check the URL, AWS_REGION, the credentials[^\n]*\.$"):
        tick()
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(ClickstreamError, match=r"^SQS cannot be used: "):
        tick()


@pytest.mark.parametrize("action", ["sqs:ReceiveMessage", "sqs:DeleteMessage"])
def test_a_missing_permission_is_told(bucket, guarded, tick, action) -> None:
    statement = {"Effect": "Deny", "Principal": "*", "Action": action, "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    sqs = boto3.Session().client("sqs")  # the default session keeps the credentials that it found first
    url = sqs.create_queue(QueueName=secrets.token_hex(8))["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody='{"Records": []}')
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    guarded.setenv("CLICKSTREAM_ARRIVALS_QUEUE_URL", url)
    with pytest.raises(ClickstreamError, match=r"denied\.: allow sqs:ReceiveMessage and sqs:DeleteMessage on it"):
        tick()


@pytest.fixture(scope="module")
def guarded_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that asks for permissions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTH", "true")
        with servers.aws(tmp_path_factory.mktemp("guarded")) as endpoint:
            yield endpoint


@pytest.fixture
def guarded(bucket: Bucket, guarded_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment in which its queues are found, by the only user that it has from the beginning."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", guarded_endpoint)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    return monkeypatch
