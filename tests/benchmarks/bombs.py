"""Framing of texts that are made to cost much: CPU seconds per megabyte, next to a sound one. It once took 217 s for a megabyte of quotes."""

from __future__ import annotations

import io
import time

from estuaire.kernel import framing

MEGABYTE = 1 << 20
BOMBS = {
    "sound records": b"1;a label;2\n",
    "a quote and a line end": b'"\n',
    "a stray quote in each record": b'1;said "no" twice;2\n',
    "a field that opens in each line": b'1;"a;2\n',
    "bytes that are no text": b"\xff\n",
    "lines of two bytes": b"x\n",
    "lone carriage returns": b"a;b\r",
}


def seconds(body: bytes, megabytes: int = 1) -> float:
    """CPU seconds to frame ``megabytes`` of ``body``, one after the other."""
    whole = body * (megabytes * MEGABYTE // len(body))
    began = time.process_time()
    for _ in framing.frames(io.BytesIO(whole), delimiter=";", fields=3, encoding="utf-8", first_offset=0):
        pass
    return time.process_time() - began


def main() -> None:
    print("| a megabyte of | CPU seconds | four megabytes |")
    print("|---|---|---|")
    for name, body in BOMBS.items():
        print(f"| {name} | {seconds(body):.2f} | {seconds(body, 4):.2f} |", flush=True)


if __name__ == "__main__":
    main()
