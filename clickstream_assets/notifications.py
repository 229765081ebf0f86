"""Which landing files a queue of S3 event notifications tells of. No Dagster here.

A message is deleted when nothing is left to do for it: it tells of no file that is loaded, or a run exists for each of
its files. Until then it is only hidden, and comes again. Runs carry the digests of the events that they were requested
for: a run and its tags are written in one transaction, so that a process killed at any point leaves a run that knows
its events, or messages that come again. Receipt handles in the cursor would save the second receipt, for 200 kB per
tick, and are worth nothing after an outage.

The order of messages means nothing here. An event names a day, and the run of a day reads landing as it is by then.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

from clickstream_assets.domains import DOMAINS, Landing
from clickstream_assets.errors import ClickstreamError
from clickstream_assets.storage import s3

#: messages of a look; those that cannot be read are not counted, or they would keep the others waiting
CAP = 500

#: seconds for which a look receives: the sensor has 60 for all it does
RECEIVE_SECONDS = 20

#: seconds until a received message can be received again: longer than a look, so that none sees a message twice, and no
#: longer than needed, since a file waits so long for its run when a tick is lost
HIDDEN_SECONDS = 60

#: seconds to wait for messages; without it SQS asks a few of its servers and may answer that there are none
WAIT_SECONDS = 1

#: SQS's most, to receive and to delete
_BATCH = 10


@dataclass(frozen=True)
class Message:
    """A message as it was received; ``receipt`` deletes it."""

    id: str
    receipt: str
    body: str = field(repr=False)


class Queue:
    """An SQS queue, where boto3 finds SQS."""

    def __init__(self, url: str):
        self._url = url

    @cached_property
    def _client(self) -> Any:
        return s3.client("sqs")

    def receive(self) -> list[Message]:
        """Up to ten messages, hidden from now on for ``HIDDEN_SECONDS``; none when there are none.

        Raises:
            ClickstreamError: the queue cannot be used.
        """
        with self._told():
            answer = self._client.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=_BATCH,
                VisibilityTimeout=HIDDEN_SECONDS,
                WaitTimeSeconds=WAIT_SECONDS,
            )
        return [Message(m["MessageId"], m["ReceiptHandle"], m["Body"]) for m in answer.get("Messages", ())]

    def delete(self, messages: Sequence[Message]) -> None:
        """Remove messages. One that SQS fails to remove comes again, and is removed then.

        Raises:
            ClickstreamError: the queue cannot be used.
        """
        for start in range(0, len(messages), _BATCH):
            entries = [
                {"Id": str(number), "ReceiptHandle": message.receipt}
                for number, message in enumerate(messages[start : start + _BATCH])
            ]
            with self._told():
                self._client.delete_message_batch(QueueUrl=self._url, Entries=entries)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (BotoCoreError, ClientError) as error:
            raise ClickstreamError(
                f"The queue {self._url} (CLICKSTREAM_ARRIVALS_QUEUE_URL) cannot be used: {error}: {_remedy(error)}."
            ) from error


def _remedy(error: Exception) -> str:
    code = str(getattr(error, "response", {}).get("Error", {}).get("Code", ""))
    if "NonExistentQueue" in code or "DoesNotExist" in code:
        return "mend the URL, or AWS_REGION if the queue is in another region"
    if "denied" in code.lower() or "kms" in code.lower():
        return (
            "allow sqs:ReceiveMessage and sqs:DeleteMessage on it, and kms:Decrypt on the key that encrypts it, if any"
        )
    return "check the URL, AWS_REGION, the credentials and the network"


#: the folder of landing with change files, and the domain that takes them
CHANGES = "cdc"


class Event(NamedTuple):
    """An object that was written. ``digest``: the same for each message about this one write, and for no other."""

    bucket: str
    key: str
    digest: str


class UnreadableMessage(ValueError):
    """A message is none of S3's; says why without its content, which is anybody's."""


def created(body: str) -> list[Event]:
    """The objects that a message says were written: S3's own message, EventBridge's, or either one inside of SNS's.

    Raises:
        UnreadableMessage: it is something else.
    """
    try:
        content = json.loads(body)
        if content.get("Type") == "Notification":
            content = json.loads(content["Message"])
        if "detail-type" in content:
            return _of_eventbridge(content)
        if content.get("Event") == "s3:TestEvent":  # sent when the notifications are set up
            return []
        if not isinstance(content["Records"], list):
            raise TypeError("Records")
        return [_of_s3(record["s3"], record["eventTime"]) for record in content["Records"] if _writes(record)]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = "it is not JSON" if isinstance(error, json.JSONDecodeError) else "it is not an event of S3"
        raise UnreadableMessage(reason) from error


def _writes(record: Any) -> bool:
    return bool(record["eventName"].removeprefix("s3:").startswith("ObjectCreated:"))


def _of_s3(content: Any, when: Any) -> Event:
    item = content["object"]
    written = (item.get("eTag"), item.get("versionId"), item.get("sequencer") or when)
    return _event(content["bucket"]["name"], unquote_plus(item["key"]), *written)


def _of_eventbridge(content: Any) -> list[Event]:
    if content["source"] != "aws.s3":
        raise ValueError("source")
    if content["detail-type"] != "Object Created":
        return []
    item = content["detail"]["object"]
    written = (item.get("etag"), item.get("version-id"), item.get("sequencer") or content["time"])
    return [_event(content["detail"]["bucket"]["name"], item["key"], *written)]  # this key is as it is


def _event(bucket: str, key: str, *written: Any) -> Event:
    # The sequencer, or the time: a content that is written again has to be loaded again where its run failed.
    reason = "\0".join((bucket, key, *map(str, written)))
    return Event(bucket, key, hashlib.blake2b(reason.encode(), digest_size=8).hexdigest())


class Arrival(NamedTuple):
    """A file of a domain's day that has arrived; ``digest``: its event's. Change files belong to no day."""

    domain: str
    day: date | None
    digest: str


@dataclass
class Found:
    """What a look found.

    ``messages``: each with its arrivals; one without any has nothing to load. ``unreadable``: ids of messages that are
    left in the queue, and why. ``elsewhere``: folders with new files that are no partitions, and the layout of the
    feed. ``foreign``: ids of messages about files outside of all feeds.
    """

    messages: list[tuple[Message, frozenset[Arrival]]] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    elsewhere: dict[str, str] = field(default_factory=dict)
    foreign: list[str] = field(default_factory=list)

    @property
    def arrivals(self) -> set[Arrival]:
        """Those of all messages, each once."""
        return {arrival for _, arrivals in self.messages for arrival in arrivals}

    def settled(self, requested: set[str]) -> list[Message]:
        """The messages that are left with nothing to do, when events with these digests have their runs."""
        return [message for message, arrivals in self.messages if {a.digest for a in arrivals} <= requested]


def look(queue: Queue, landing_uri: str, *, first: date, last: date) -> Found:
    """Receive what is in the queue, up to ``CAP`` messages. ``first``, ``last``: the days that are partitions.

    Raises:
        ClickstreamError: the queue cannot be used.
    """
    found = Found()
    end = time.monotonic() + RECEIVE_SECONDS
    while len(found.messages) < CAP and time.monotonic() < end and (messages := queue.receive()):
        for message in messages:
            try:
                events = created(message.body)
            except UnreadableMessage as error:
                found.unreadable[message.id] = str(error)
                continue
            placed = [_place(event, message, landing_uri, found, first, last) for event in events]
            found.messages.append((message, frozenset(arrival for arrival in placed if arrival)))
    return found


def _place(event: Event, message: Message, landing_uri: str, found: Found, first: date, last: date) -> Arrival | None:
    from clickstream_assets.storage.files import is_hidden  # with PyArrow, which the graph is loaded without

    for domain in DOMAINS.values():
        for landing in domain.landings:
            path = _below(landing, event, landing_uri)
            if path is None:
                continue
            if is_hidden(path, landing.root) or not landing.format.has(path):
                return None
            folder = path.rpartition("/")[0]
            day = landing.day_of(folder)
            if day is not None and first <= day <= last:
                return Arrival(domain.name, day, event.digest)
            found.elsewhere[folder] = landing.layout
            return None
    changes = f"s3://{event.bucket}/{event.key}".removeprefix(f"{landing_uri}/")
    if changes.startswith(f"{CHANGES}/"):
        return None if is_hidden(changes, CHANGES) else Arrival(CHANGES, None, event.digest)
    found.foreign.append(message.id)
    return None


def _below(landing: Landing, event: Event, landing_uri: str) -> str | None:
    """The path of a file below the landing root; None when it did not arrive at this place."""
    uri = f"s3://{event.bucket}/{event.key}"
    folder = f"{landing_uri}/{landing.root}/" if landing.root else f"{landing_uri}/"
    return uri.removeprefix(f"{landing_uri}/") if uri.startswith(folder) else None
