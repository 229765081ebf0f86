"""Raw rows of any table that a strict parser lets through and that engines could read differently."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from random import Random
from typing import Any

import pyarrow as pa

from clickstream_assets.domains import Feed

DAY = date(2026, 3, 2)
_LOADED = datetime(2026, 3, 2, 12, tzinfo=UTC)

#: ends of lines and blanks, of which each engine has its own idea; escapes; digits and letters of all scripts
_PIECES = (
    *"\t\n\v\f\r \x1c\x1d\x1e\x1f\x85\xa0\u1680\u180e\u2028\u2029\u200b\ufeff\0\1\x7f",
    *("\r\n", "\\", "\\u001F", "\\\\u001f", '"', "'", "<", "/", "🛒", "\U0010ffff"),
    *"0123456789+-.,:;?#&=%@$^*()[]{}|_~`! eETZaz",
    *"éßİıſKΣςǅﬁØÅÿ٣５𝟘",
    *("%20", "%C3%A9", "%FF", "%C3", "%ED%A0%80", "%F4%90%80%80", "%C0%AF", "%zz", "%", "+", "%2B", "%00", "%-1"),
    *("%+1", "%EF%BF%BD", "utm_source=", "gclid=", "https://", "www.", "null", "NaN", "1e3", "e-5"),
)

_BLANK = (None, "", " ", "\n", "\xa0", "\x00")

_NUMBERS = (
    "9.99", "0", "1", "2", "007", "2.675", "0.005", "1e3", "125e-3", "1e99", "-0", "-1", "+5", "5.", ".5", "3.0",
    "9999999999.99", "9999999999.995", "10000000000", "2147483648", "2147483649", "999999999", "1000000", "0.00",
    "5\n", "5\r", "5\x85", "5\u2028", "5\r\n", "٣", "123456789012345678", "1234567890123456789", "NaN",
)  # fmt: skip

_TIMES = (
    "2026-03-01T10:00:00.123456789Z", "2026-03-01 10:00:00", "2026-02-30T00:00:00", "0000-12-31T23:59:59-14:00",
    "9999-12-31T23:59:59.999999-14:00", "1582-10-10T00:00:00", "0001-01-01T00:00:00", "2026-03-01T10:00:00+14:00",
    "1900-01-01T00:00:00.5", "2026-03-29T02:30:00", "1969-12-31T23:59:59.9999999", "18:00:26", "2024",
)  # fmt: skip

_URLS = (
    "https://shop.example/p/1?utm_source=a%20b&utm_campaign=c+d#utm_term=e", "/p/1?x=1&gclid=1", "//host",
    "http://u:p@WWW.Example.com:80/x?y", "?utm_source=%E4%B8&utm_medium=%C3%28&utm_term=%2520", "mailto:x@y",
    "https://a/?utm_source=%", "https://www./a", "HTTP://ÄÖ.İexample/σΣ?utm_content=%ED%A0%80", "/a\rb?c\rd#e\u2028f",
    "/?utm_source=%20&utm_medium=+&utm_term=%u0041&utm_content=%00", "/?utm_source=%F0%9F%9B%92&utm_term=%EF%BF%BD",
    "/?utm_source=%-1&utm_medium=%+1&utm_term=% 1&utm_content=%1", "?a\nb?c", "/?utm_source=a\nb&utm_medium=c\r",
)  # fmt: skip

_AGENTS = ("Mozilla/5.0", "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "curl/8", "")

#: what else a column can hold, by the end of its name in lower case; anything else is a short text
_KNOWN: dict[str, Sequence[str | None]] = {
    "timestamp": _TIMES,
    "date": ("2026-03-02", "20260302", "2024-02-29", "2026-02-30", "1999-12-31", "2026-03-04", "2026-03-02\n"),
    "eventtype": ("purchase", "product_view", "page_view", " purchase\t"),
    "url": _URLS,
    "referrer": _URLS,
    "agent": _AGENTS,
    "email": (
        "bado@example.com",
        "a@b.c\n",
        "a@b",
        "ä@münchen.example",
        "a\x85@b.c",
        "a@b\u2028.c",
        "a@b" + ".c" * 30_000,
    ),
    "currency": ("EUR", "eur", "ß", "ǆ", "İ", "ﬁ", "ŉ"),
    **dict.fromkeys(("amount", "price", "quantity", "discount"), _NUMBERS),
    **dict.fromkeys(("sessions", "total_users", "page_views", "event_count"), (*_NUMBERS, *"123456789" * 4)),
}

#: a value of each that breaks no rule, so that rows come through at all
_GOOD: dict[str, str | None] = {
    "timestamp": _TIMES[1], "date": "2026-03-02", "eventtype": "purchase", "url": _URLS[0], "referrer": _URLS[3],
    "agent": _AGENTS[0], "email": "bado@example.com", "currency": "eur", "amount": "9.99", "price": "9.99",
    "quantity": "2", "discount": "0.5", "sessions": "5", "total_users": "4", "page_views": "7", "event_count": "9",
}  # fmt: skip


def rows(feed: Feed, count: int, seed: int) -> pa.Table:
    """As many raw rows of a feed: mostly good ones with some columns that are not, one in five another one's copy."""
    draw = Random(seed)
    schema, unique = feed.raw.arrow, feed.load_transform().unique
    found: list[dict[str, Any]] = []
    for number in range(count):
        if found and draw.random() < 0.2:  # equal in its key, and perhaps in all
            row = dict(draw.choice(found))
            if draw.random() < 0.7:
                name = draw.choice(feed.raw.record)
                if name != unique:
                    row[name] = _value(draw, name, 0.9, schema.field(name).type)
        else:
            row = {field.name: _value(draw, field.name, 0.15, field.type) for field in schema}
        found.append({**row, "source_file": "a.csv", "source_line": number + 2, "record_number": number + 1})
    return pa.Table.from_pylist(found, schema)


def _value(draw: Random, name: str, hostile: float, kind: pa.DataType) -> Any:
    """A value of a column, with this chance one that is not good."""
    if pa.types.is_boolean(kind):
        return False
    if pa.types.is_date(kind):
        return DAY
    if name == "event_ts":
        return draw.choice((None, *(datetime(2026, 3, 2, 10, 0, 0, micro, UTC) for micro in (0, 1, 123_000, 999_999))))
    if name == "event_hour":
        return draw.choice((9, 10))
    if pa.types.is_timestamp(kind):
        return _LOADED
    if pa.types.is_integer(kind):
        return draw.randrange(100)
    known = next((end for end in _KNOWN if name.lower().endswith(end)), None)
    good = _GOOD[known] if known else f"{name[:1]}{draw.randrange(300)}"
    if draw.random() >= hostile:
        return good
    way = draw.random()
    if way < 0.15:
        return draw.choice(_BLANK)
    if way < 0.5 and known:
        return draw.choice(_KNOWN[known])
    if way < 0.75 and good:
        at = draw.randrange(len(good) + 1)
        return good[:at] + draw.choice(_PIECES) + good[at + draw.randrange(2) :]
    return "".join(draw.choice(_PIECES) for _ in range(draw.randrange(1, 12)))
