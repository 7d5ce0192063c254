"""Frames a whole file in one call and gives its records as plain Python values."""

from __future__ import annotations

import io
from dataclasses import dataclass

from estuaire.kernel.framing import BLOCK_BYTES, REASONS, frames


@dataclass(frozen=True)
class Sound:
    """A record that a parser may see; ``text`` is UTF-8 without its line end."""

    number: int
    line: int
    offset: int
    length: int
    text: str


@dataclass(frozen=True)
class Hurt:
    """A record set apart, and why."""

    number: int
    line: int
    offset: int
    length: int
    reason: str


@dataclass(frozen=True)
class Framed:
    sound: list[Sound]
    hurt: list[Hurt]
    clean: bytes
    doubtful: int = 0

    @property
    def texts(self) -> list[str]:
        return [r.text for r in self.sound]

    @property
    def reasons(self) -> list[tuple[int, str]]:
        """(physical line, reason) of each damaged record."""
        return [(r.line, r.reason) for r in self.hurt]


def frame(
    body: bytes,
    *,
    fields: int = 2,
    delimiter: str = ";",
    encoding: str = "utf-8",
    block_bytes: int = BLOCK_BYTES,
    header: bytes = b"a;b\n",
    returns: bool = False,
) -> Framed:
    """Frame ``body``, the bytes after the header line."""
    sound: list[Sound] = []
    hurt: list[Hurt] = []
    clean = b""
    doubtful = 0
    original = header + body
    for part in frames(
        io.BytesIO(body),
        delimiter=delimiter,
        fields=fields,
        encoding=encoding,
        first_offset=len(header),
        block_bytes=block_bytes,
        returns=returns,
    ):
        doubtful += part.doubtful
        clean += part.clean
        places = zip(part.record_number, part.line_number, part.offset, part.length, strict=True)
        for number, line, offset, length in places:
            text = original[offset : offset + length].rstrip(b"\r\n").decode(encoding)
            sound.append(Sound(int(number), int(line), int(offset), int(length), text))
        d = part.damaged
        for number, line, offset, length, reason in zip(
            d.record_number, d.line_number, d.offset, d.length, d.reason, strict=True
        ):
            hurt.append(Hurt(int(number), int(line), int(offset), int(length), REASONS[reason]))
    return Framed(sound, hurt, clean, doubtful)
