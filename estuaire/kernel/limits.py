"""Bounds on what one delivered file may cost, in one place. What lies beyond is refused with a typed error, that file alone."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of one file. Memory stays within a few times ``line_bytes`` and ``block_lines``, time is linear in ``decompressed_bytes``.

    Attributes:
        header_bytes: bytes of the header line; the widest table of the contract has 20 names.
        line_bytes: bytes of one physical line. The longest text of a hospital (a report) has 100 kB; 256 MB took 3.1 GB of memory.
        record_bytes: bytes of a record over several lines; one that spans more is a stray quote.
        block_lines: lines framed at once: a block of two-byte lines holds four million, whose arrays took 900 MB.
        decompressed_bytes: bytes of one file, decompressed: a hospital's largest table of five years has 1 GiB.
        ratio, ratio_from: how many times a file may grow when it is decompressed, looked at from so many bytes on. Extracts grow 5 to
            30 times, one of equal records 200 times; gzip's most is 1,030.
        rejected: records set apart whose places are kept for one file. A delivery is refused above 1 % of its records: a file that is not
            refused and passes this bound has 25 million records.
        seconds: time that one file may take.
    """

    header_bytes: int = 64 << 10
    line_bytes: int = 16 << 20
    record_bytes: int = 1 << 20
    block_lines: int = 1 << 19
    decompressed_bytes: int = 64 << 30
    ratio: int = 400
    ratio_from: int = 64 << 20
    rejected: int = 250_000
    seconds: float = 4 * 3600.0


LIMITS = Limits()
