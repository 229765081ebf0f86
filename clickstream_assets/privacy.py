"""Personal data out of clickstream events: pseudonyms, redaction, and the search for what is left.

An address is found by one set of regular expressions, written in what RE2 and Python agree on. RE2, within Arrow, says
which values have one; these few are rewritten by Python, over and over until RE2 would find nothing.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import socket
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import date
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from clickstream_assets.errors import ClickstreamError
from clickstream_assets.grammars import BLANKS, EPOCH_MILLISECONDS, TIMESTAMP
from clickstream_assets.parsing.formats import Batch
from clickstream_assets.parsing.json_objects import connect, query, quoted
from clickstream_assets.schemas import CLICKSTREAM_RAW

KEY_BYTES = 32

EMAIL, IP = "[email]", "[ip]"

#: bytes of texts that are looked at together; an array of Arrow ends at 2 GiB
_TOGETHER = 1024**3

#: columns whose texts hardly come again
_DISTINCT = {column.name for column in CLICKSTREAM_RAW.columns if not column.repeats}

_IDS = ("event_id", "user_id", "session_id", "product_id")

# --- the patterns ---

# A character as itself, percent-encoded once or more, escaped as JSON does, or as HTML does.
_HEX = "[0-9A-Fa-f]"
_PERCENT = "%(?:25)*"
_WIDE_AT, _WIDE_DOTS = "\uff20", "\u3002\uff0e\uff61"
_AT = rf"(?:@|{_WIDE_AT}|{_PERCENT}40|\\u0040|&#0*64;|&#[xX]0*40;|&commat;)"
_DOT = rf"(?:[.{_WIDE_DOTS}]|{_PERCENT}2[Ee]|\\u002[Ee]|&#0*46;|&#[xX]0*2[Ee];|&period;)"
_COLON = rf"(?::|{_PERCENT}3[Aa]|\\u003[Aa]|&#0*58;|&#[xX]0*3[Aa];|&colon;)"
# What may stand right before an address although it ends in a letter or digit: %20, \u003d.
_ENCODED = rf"{_PERCENT}{_HEX}{{2}}|\\u{_HEX}{{4}}"

# Parts of names in a domain, none of which is a dot or an @ in any form.
_FOREIGN_ESCAPE = r"\\u(?:[1-9A-Fa-f][0-9A-Fa-f]{3}|0[1-9A-Fa-f][0-9A-Fa-f]{2}|00[89A-Fa-f][0-9A-Fa-f])"
_FOREIGN = rf"(?:[^\x00-\x7f{_WIDE_DOTS}{_WIDE_AT}]|{_PERCENT}[89A-Fa-f]{_HEX}|{_FOREIGN_ESCAPE})"
_PLAIN_HEX = r"(?:2[Dd]|3[0-9]|[46][1-9A-Fa-f]|[57][0-9Aa]|5[Ff])"
_PLAIN = rf"(?:[0-9A-Za-z_-]|{_PERCENT}{_PLAIN_HEX}|\\u00{_PLAIN_HEX}|&#0*45;|&#[xX]0*2[Dd];)"
_LETTER_HEX = r"(?:[46][1-9A-Fa-f]|[57][0-9Aa])"
_LETTER = rf"(?:[A-Za-z]|{_PERCENT}{_LETTER_HEX}|\\u00{_LETTER_HEX})"
_LABEL = rf"(?:{_PLAIN}|{_FOREIGN})"
# The last character before the @ alone: how far a local part reaches to the left is found where one is taken out.
_EMAIL = rf"[^\x00-\x20\x22(),/:;<=>?@&\[\\\]\x7f{_WIDE_AT}]{_AT}(?:{_LABEL}+{_DOT})+(?:{_LETTER}{_LABEL}|{_FOREIGN})"

_OCTET = "(?:25[0-5]|2[0-4][0-9]|[01]?[0-9]?[0-9])"
_SOME = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|0?[1-9][0-9]|0?0?[1-9])"
_ZERO = "0{1,3}"
_HALF = f"{_OCTET}{_DOT}{_OCTET}{_DOT}"
# Not within a longer run of digits and dots; a dot that ends a sentence may follow.
_AFTER_V4 = r"(?:$|[^0-9.]|\.(?:$|[^0-9]))"
# Chrome/120.0.0.0 is a version of a program: what ends in .0.0 must not stand behind a letter or ) and a slash.
_V4 = (
    rf"({_ENCODED}|^|[^0-9.])({_HALF}(?:{_SOME}{_DOT}{_OCTET}|{_ZERO}{_DOT}{_SOME})){_AFTER_V4}"
    rf"|({_ENCODED}|^/?|[^0-9./]|[^A-Za-z)]/)({_HALF}{_ZERO}{_DOT}{_ZERO}){_AFTER_V4}"
)

_GROUP = f"{_HEX}{{1,4}}"
_AFTER_V6 = r"(?:$|[^0-9A-Za-z])"
# All eight groups, or some and :: , or some and an IPv4 address; not the d:: of std::vector, nor a time, nor a MAC.
_V6 = (
    rf"({_ENCODED}|\\[bfnrt]|^|[^0-9A-Za-z])"
    rf"((?:(?:{_GROUP}{_COLON}){{7}}{_GROUP}"
    rf"|(?:(?:{_GROUP})?{_COLON}){{2,7}}{_HALF}{_OCTET}{_DOT}{_OCTET}"
    rf"|(?:{_GROUP}{_COLON}){{1,7}}(?:{_COLON}{_GROUP}){{1,7}}"
    rf"|(?:{_GROUP}{_COLON}){{1,7}}{_COLON}"
    rf"|{_COLON}(?:{_COLON}{_GROUP}){{1,7}}"
    rf")(?:{_PERCENT}[a-z]{{2,8}}[0-9]{{1,3}})?){_AFTER_V6}"
)

#: what no value may hold past landing; for RE2 and for Python
ADDRESS = f"{_EMAIL}|{_V6}|{_V4}"

_ADDRESS_RE, _EMAIL_RE, _AT_RE = map(re.compile, (ADDRESS, _EMAIL, _AT))
# Only looked at here, which RE2 cannot: what stands behind an address may be what the next one needs before it.
_V6_RE = re.compile(_V6.replace(_AFTER_V6, f"(?={_AFTER_V6})"))
_V4_RE = re.compile(_V4.replace(_AFTER_V4, f"(?={_AFTER_V4})"))
_DOMAIN_RE = re.compile(f"{_LABEL}+(?:{_DOT}{_LABEL}+)*")
# Left of an @: what ends a local part. An escape of what may stand in one does not, nor does its backslash.
_LOCAL_HEX = r"(?:2[13-7ABDEabde]|5[EFef]|60|7[B-Eb-e]|[46][1-9A-Fa-f]|[57][0-9Aa]|3[0-9])"
_BOUNDARY_RE = re.compile(
    rf"{_FOREIGN_ESCAPE}|\\u00{_LOCAL_HEX}|&#[xX]0*{_LOCAL_HEX};|&(?:period|plus|lowbar|hyphen|apos);"
    r"|&#0*(?:3[3567]|39|4[2356]|9[4-6]|12[3-6]);"
    rf"|(?P<end>\\u{_HEX}{{4}}|\\[^u]|{_PERCENT}(?:[01]{_HEX}|2[023689CFcf]|3[A-Fa-f]|40|5[B-Db-d]|7[Ff])"
    rf"|&\#?[0-9A-Za-z]+;|[\x00-\x20\x22(),/:;<=>?@&\[\\\]\x7f{_WIDE_AT}])"
)


def redact_text(text: str) -> str:
    """The text with ``[email]`` and ``[ip]`` in the place of addresses; JSON stays JSON."""
    while _ADDRESS_RE.search(text):
        text = _without_emails(text)
        text = _V6_RE.sub(_without_ip, text)
        text = _V4_RE.sub(_without_ip, text)
    return text


def _without_emails(text: str) -> str:
    parts: list[str] = []
    done = 0
    while match := _EMAIL_RE.search(text, done):
        at = match.start() + 1
        start = done
        for boundary in _BOUNDARY_RE.finditer(text, done, at):
            if boundary.group("end"):
                start = boundary.end()
        behind = cast("re.Match[str]", _AT_RE.match(text, at)).end()
        parts += (text[done:start], EMAIL)
        done = cast("re.Match[str]", _DOMAIN_RE.match(text, behind)).end()
    return "".join((*parts, text[done:]))


def _without_ip(match: re.Match[str]) -> str:
    group = next(n for n in (2, 4) if match.group(n) is not None)
    text, start = match.string, match.start(group)
    # What seems to begin an address may belong to an escape of JSON: \u00e1.2.3.4 and \b:1::2.
    for back in range(1, 6):
        slash = start - back
        if slash < 0 or text[slash] != "\\":
            continue
        run = slash - len(text[: slash + 1].rstrip("\\")) + 1
        if run % 2:
            length = 6 if text[slash + 1 : slash + 2] == "u" else 2
            start = min(max(start, slash + length), match.end(group))
        break
    return text[match.start() : start] + IP + text[match.end(group) : match.end()]


def _flags(values: Sequence[pa.Array]) -> list[pa.Array]:
    """Which values have an address; null for null. All at once: the expression takes RE2 1 ms before it looks."""
    if not values:
        return []
    if len(values) > 1 and sum(array.nbytes for array in values) > _TOGETHER:
        return [_flags([array])[0] for array in values]
    flags = pc.match_substring_regex(pa.concat_arrays(values), ADDRESS)
    ends = list(accumulate(map(len, values), initial=0))
    return [flags.slice(start, end - start) for start, end in pairwise(ends)]


def redact(texts: Mapping[str, pa.Array], of_id: Callable[[str], str]) -> dict[str, pa.Array]:
    """Columns with ``[email]`` and ``[ip]`` in the place of addresses; an id that has one is replaced whole."""
    # What comes again is looked at once.
    encoded = {name: column.dictionary_encode() for name, column in texts.items() if name not in _DISTINCT}
    different = [encoded[name].dictionary if name in encoded else column for name, column in texts.items()]
    values = {}
    for name, found, flags in zip(texts, different, _flags(different), strict=True):
        clean = _rewritten(found, flags, of_id if name in _IDS else redact_text)
        as_it_was = clean is found or name not in encoded
        values[name] = (texts[name] if clean is found else clean) if as_it_was else clean.take(encoded[name].indices)
    return values


def _rewritten(values: pa.Array, flags: pa.Array, rewrite: Callable[[str], str]) -> pa.Array:
    flags = pc.fill_null(flags, False)
    if not pc.any(flags).as_py():
        return values
    texts = values.filter(flags).to_pylist()
    clean = {text: rewrite(text) for text in set(texts)}
    return pc.replace_with_mask(values, flags, pa.array([clean[text] for text in texts], values.type))


#: the one column that may have a network's address, and how it is written
_PREFIX_COLUMN, _PREFIX = "ip_prefix", r"^(?:[0-9.]+\.0/24|[0-9a-f:]+::/48)$"


def scan(rows: pa.Table | pq.ParquetFile, columns: Collection[str] | None = None) -> dict[str, int]:
    """How many values of each text column have an address; columns without any are left out. No value is told."""
    counts: Counter[str] = Counter()
    schema = rows.schema_arrow if isinstance(rows, pq.ParquetFile) else rows.schema
    asked = [f.name for f in schema if _is_text(f.type) and (columns is None or f.name in columns)]
    pieces = rows.iter_batches(columns=asked) if isinstance(rows, pq.ParquetFile) else rows.select(asked).to_batches()
    for piece in pieces:
        given = dict(zip(asked, piece.columns, strict=True))
        if (networks := given.pop(_PREFIX_COLUMN, None)) is not None:
            right = _of_each(networks, pc.match_substring_regex(_different(networks), _PREFIX))
            counts[_PREFIX_COLUMN] += len(networks) - networks.null_count - right
        for (name, values), flags in zip(given.items(), _flags([_different(v) for v in given.values()]), strict=True):
            if pc.any(flags).as_py():
                counts[name] += _of_each(values, flags)
    return {name: count for name, count in counts.items() if count}


def _different(values: pa.Array) -> pa.Array:
    return values.dictionary if pa.types.is_dictionary(values.type) else values


def _of_each(values: pa.Array, flags: pa.Array) -> int:
    """How many of the values have the flag that their dictionary has for them."""
    count: int | None = pc.sum(flags.take(values.indices) if pa.types.is_dictionary(values.type) else flags).as_py()
    return count or 0


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


# --- pseudonyms ---

#: addresses whose pseudonyms are remembered, 0.4 kB each; 1,000,000 events have 130,000 IP addresses
_REMEMBERED = 200_000

_EMAIL_SHAPE = re.compile(r"[^\s@]+@[^\s@]+\.[^\s@.]{2,}")


class Pseudonyms:
    """Keyed hashes of addresses: the same for the same address, not to be undone without the key.

    Without a key the four thousand million IPv4 addresses are hashed in an hour, and every hash is known.
    """

    def __init__(self, key: bytes):
        if len(key) < KEY_BYTES:
            raise ClickstreamError(f"CLICKSTREAM_PII_KEY has {len(key)} bytes; it needs at least {KEY_BYTES}.")
        self._keyed = hmac.new(key, digestmod="sha256")
        self.key_id = self._of(b"key-id")[:16]
        #: ``of_ip`` and ``of_email``, remembering: most addresses come again, in another file too
        self.known_ip = lru_cache(_REMEMBERED)(self.of_ip)
        self.known_email = lru_cache(_REMEMBERED)(self.of_email)

    def _of(self, message: bytes) -> str:
        digest = self._keyed.copy()  # 2 µs; hmac.digest, which begins with the key each time, takes 3.4
        digest.update(message)
        return digest.hexdigest()

    def of_ip(self, text: str) -> tuple[str, str] | tuple[None, None]:
        """Key of an IP address and its network, /24 or /48; of the first address where a proxy lists several."""
        packed = _packed(text)
        if packed is None:
            return None, None
        if len(packed) == _V4_BYTES:
            return self._of(b"ip|" + socket.inet_ntop(socket.AF_INET, packed).encode()), _network(packed[:3])
        return self._of(b"ip|" + socket.inet_ntop(socket.AF_INET6, packed).encode()), _network(packed[:6])

    def of_email(self, text: str) -> str | None:
        """Key of an e-mail address, None if the text is none."""
        address = unicodedata.normalize("NFKC", text).strip().lower()
        return self._of(b"email|" + address.encode()) if _EMAIL_SHAPE.fullmatch(address) else None

    def of_id(self, value: str) -> str:
        """What stands for an id that has an address in it."""
        return "pseudonym-" + self._of(b"id|" + value.encode())[:32]


#: before an IPv4 address that is written as an IPv6 one
_MAPPED = bytes(10) + b"\xff\xff"
_V4_BYTES = 4


def _packed(text: str) -> bytes | None:
    """The bytes of an address, None if the text is none."""
    try:
        packed = socket.inet_pton(socket.AF_INET6 if text.count(":") > 1 else socket.AF_INET, text)
    except (OSError, ValueError):
        address = _unusual(text)
        if address is None:
            return None
        packed = address.packed
    return packed.removeprefix(_MAPPED)


def _unusual(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address with others behind it, or with its port, zone or brackets."""
    first = text.split(",", 1)[0].strip()
    if first.startswith("["):
        first = first[1:].partition("]")[0]
    elif first.count(":") == 1:
        first = first.partition(":")[0]
    try:
        return ipaddress.ip_address(first.partition("%")[0])
    except ValueError:
        return None


@lru_cache(maxsize=10_000)
def _network(prefix: bytes) -> str:
    v4 = len(prefix) < _V4_BYTES
    first = ipaddress.ip_address(prefix.ljust(_V4_BYTES if v4 else 16, b"\0"))
    return f"{first}/{24 if v4 else 48}"


# --- events ---

_RAW = CLICKSTREAM_RAW.record
_AS_ARRIVED = _RAW[: _RAW.index("visitor_key")]

#: the keys of an event, which the reader is asked for
EVENT = (*_AS_ARRIVED, "ip", "email")


class _Shaper:
    def __init__(self, pseudonyms: Pseudonyms, start_date: date):
        self._pseudonyms = pseudonyms
        self._start = start_date
        self._connection = connect()

    def __call__(self, batch: Batch, arrival: date) -> Batch:
        broken = [replace(record, text=redact_text(record.text)) for record in batch.broken]
        return replace(batch, rows=self._rows(batch.rows, arrival), broken=broken)

    def _rows(self, given: pa.Table, arrival: date) -> pa.Table:
        given = given.combine_chunks()
        source = {name: _only(given.column(name)) for name in given.column_names}
        values = redact({name: source[name] for name in (*_AS_ARRIVED, "extra")}, self._pseudonyms.of_id)
        ips, emails = source["ip"].dictionary_encode(), source["email"].dictionary_encode()
        visitors = list(map(self._pseudonyms.known_ip, ips.dictionary.to_pylist()))
        values["visitor_key"] = pa.array([key for key, _ in visitors], pa.string()).take(ips.indices)
        values["ip_prefix"] = pa.array([prefix for _, prefix in visitors], pa.string()).take(ips.indices)
        keys = list(map(self._pseudonyms.known_email, emails.dictionary.to_pylist()))
        values["email_key"] = pa.array(keys, pa.string()).take(emails.indices)
        values["pii_key_id"] = pa.repeat(pa.scalar(self._pseudonyms.key_id), given.num_rows)
        timed = self._timed(values["timestamp"], arrival)
        values |= {name: timed.column(name) for name in timed.column_names}
        return pa.table([values[name] for name in (*_RAW, "extra", "event_date")], [*_RAW, "extra", "event_date"])

    def _timed(self, texts: pa.Array, arrival: date) -> pa.Table:
        """The time of events and the hour and day that they are filed under.

        An offset makes DuckDB ask ICU, ten times the time of a cast without one.
        """
        sql = f"""
            with trimmed as (
                select case when regexp_matches(given, '^[0-9-].*[0-9Z]$') then given
                    else trim(given, {quoted(BLANKS)}) end as text
                from t
            ),
            parsed as (
                select case
                    when regexp_matches(text, {quoted(TIMESTAMP)}) then
                        case when substr(text, -6, 1) in ('+', '-')
                        then make_timestamp(epoch_us(
                            try_cast(regexp_replace(text, '(\\.[0-9]{{6}})[0-9]+', '\\1') as timestamptz)))
                        else try_cast(text as timestamp) end
                    when regexp_matches(text, {quoted(EPOCH_MILLISECONDS)})
                    then make_timestamp(try_cast(text as bigint) * 1000)
                end as moment from trimmed
            ),
            timed as (select case when year(moment) between 1 and 9999 then moment end as ts from parsed),
            filed as (
                select *, coalesce(ts::date between date '{self._start}' and date '{arrival}' + 1, false) as own
                from timed
            )
            select ts as event_ts, case when own then hour(ts) else 0 end as event_hour,
                case when own then ts::date else date '{arrival}' end as event_date
            from filed
        """  # noqa: S608
        timed = query(self._connection, sql, pa.table({"given": texts}))
        return timed.cast(pa.schema([CLICKSTREAM_RAW.arrow.field(name) for name in timed.column_names]))


def _only(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks else pa.array([], column.type)


def shaper(pseudonyms: Pseudonyms, start_date: date) -> Callable[[Batch, date], Batch]:
    """What makes raw rows of the reader's: for a batch and the day on which its file arrived. For one thread."""
    return _Shaper(pseudonyms, start_date)
