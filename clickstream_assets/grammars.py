"""Grammars of values that more than one engine reads; regular expressions that Java, Rust, RE2 and Python agree on."""

from __future__ import annotations

#: what Unicode calls White_Space; Java's \s is ASCII, Rust's is not, so the characters are spelled out
BLANKS = "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"

#: [0-9] and not \d, which in Sail's regular expressions takes the digits of all scripts
TIMESTAMP = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]+)?"
    r"(Z|[+-](0[0-9]|1[0-3]):[0-5][0-9]|[+-]14:00)?$"
)

#: milliseconds since 1970, UTC; what is shorter, 2024 or 20260302, is meant for something else
EPOCH_MILLISECONDS = "^-?[0-9]{9,15}$"

#: the shape of an e-mail address: one @, no blanks, and a dot within the host, which has 127 labels at most; Java takes
#: a stack frame or two for each of a group without end, and fails a whole step on a host of 20,000
EMAIL = f"^[^@{BLANKS}]+@[^@.{BLANKS}]+([.][^@.{BLANKS}]+){{1,126}}$"

#: a day as files write it
DAY = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
