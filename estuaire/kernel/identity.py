"""Identities: the 128-bit ``row_uid`` of a record and the pseudonyms of direct identifiers."""

from __future__ import annotations

import hashlib
import hmac
import re

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from estuaire.contract.tables import Column, Pseudonym
from estuaire.kernel import texts

Unsigned = npt.NDArray[np.uint64]
_PSEUDONYM_HEX_DIGITS = 32  # 128 bits of HMAC-SHA-256: two of 1e9 patients collide with p < 1e-20


def _mix(x: Unsigned) -> Unsigned:
    """splitmix64's finaliser: a bijection on 64 bits (Steele, Lea, Flood 2014, "Fast splittable PRNGs")."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def row_uids(
    hospital: str, delivery: str, file: str, record_number: npt.NDArray[np.int64], line_number: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The two halves of ``row_uid``, from (delivery, file, record number, first physical line).

    Within a file the high half is a bijection of the record number, so that two records of one file never share it; across files
    128 bits keep a collision improbable at 1e9 rows (p < 1e-20), and the landing stage still looks for one.
    """
    seed = hashlib.blake2b(f"{hospital}\x1f{delivery}\x1f{file}".encode(), digest_size=16).digest()
    high, low = np.frombuffer(seed, dtype=np.uint64)
    record = record_number.astype(np.uint64)
    line = line_number.astype(np.uint64)
    with np.errstate(over="ignore"):
        hi = _mix(record + high)
        lo = _mix(_mix(record + low) + line * np.uint64(0x9E3779B97F4A7C15))
    return hi.view(np.int64), lo.view(np.int64)


def hash_sum(hi: npt.NDArray[np.int64], lo: npt.NDArray[np.int64]) -> int:
    """Exact sum of both halves over the records, for the accounting identity (a Python integer, no overflow)."""
    return _exact(hi) + _exact(lo)


def _exact(values: npt.NDArray[np.int64]) -> int:
    return (int((values >> 32).sum()) << 32) + int((values & 0xFFFFFFFF).sum())


def nir_is_valid(value: str) -> bool:
    """A 15-digit NIR/INS whose key is 97 - (number mod 97); Corsica's 2A and 2B count as 19 and 18 (INSEE)."""
    if len(value) != 15:
        return False
    body = value[:13].replace("2A", "19", 1) if value[5:7] == "2A" else value[:13]
    body = body.replace("2B", "18", 1) if value[5:7] == "2B" else body
    if not (body.isascii() and body.isdigit() and value[13:].isascii() and value[13:].isdigit()):
        return False
    return int(value[13:]) == 97 - int(body) % 97


def _written(value: str) -> str:
    """An identifier as it is compared: without white space, in upper case."""
    return "".join(value.split()).upper()


def _hmac_states(key: bytes, message: bytes) -> tuple[hashlib._Hash, hashlib._Hash]:
    """HMAC-SHA-256 (RFC 2104) in the middle of a message: the inner hash, to which the rest is added, and the outer one, to which its digest is. Of
    many messages that begin alike each costs a third of the library's call, which begins anew."""
    block = hashlib.sha256().block_size
    padded = (key if len(key) <= block else hashlib.sha256(key).digest()).ljust(block, b"\0")
    inner, outer = (hashlib.sha256(bytes(byte ^ pad for byte in padded)) for pad in (0x36, 0x5C))
    inner.update(message)
    return inner, outer


def _is_written(text: str) -> bool:
    """Whether that changes nothing, told of all identifiers of a block at once."""
    return text.isascii() and text == text.upper() and " " not in text and text.isprintable()


# what extracts write where a specimen or a stay has no patient (docs/domain/isolates.md); a hospital's own such words are in its registry
_NOBODY = re.compile(
    r"(PATIENT)?(ANONYM(E|ES|OUS|ISE|ISÉ)?|INCONNUE?S?|UNKNOWN)(PATIENTE?)?|SANS(IPP|NOM|IDENTITE|IDENTITÉ)"
    r"|NON(RENSEIGN|IDENTIFI|CONNU|COMMUNIQU)(E|É)?E?|NEANT|NÉANT|AUCUN|NULL|NONE|N/A|0+|9{6,}|X{2,}|\?+|-+|\.+"
)


class Pseudonymiser:
    """Replaces direct identifiers by 32 hex digits of HMAC-SHA-256 under one key.

    Property: no identifier leaves this class; what it returns cannot be turned back without the key.
    The message is ``domain | hospital (hospital scope only) | value [| the column's "with" values]``.
    """

    def __init__(self, key: bytes, hospital: str, unknown_patients: tuple[str, ...] = ()) -> None:
        self._key = key
        self._hospital = hospital
        self._seen: dict[str, dict[str, str | None]] = {}  # domain -> identifier -> pseudonym
        self._unknown = frozenset(map(_written, unknown_patients))
        self._nobody: set[str] = set()  # pseudonyms of what names nobody in particular

    def one(self, column: Column, value: str, extra: tuple[str, ...] = ()) -> str | None:
        """Pseudonym of one value; None if the identifier's own key is wrong (``check: nir``)."""
        rule = column.pseudonym
        assert rule is not None  # noqa: S101 - the contract's schema says so
        text = _written(value)
        if rule.check == "nir" and not nir_is_valid(text):
            return None
        return hmac.digest(self._key, self._message(rule, text, *extra), hashlib.sha256).hex()[:_PSEUDONYM_HEX_DIGITS]

    def array(self, column: Column, values: pa.Array, extras: list[pa.Array]) -> pa.Array:
        """Pseudonyms of a column of texts, plain or a dictionary (nulls stay null); ``extras`` are the columns named by the contract's
        ``with``."""
        rule = column.pseudonym
        assert rule is not None  # noqa: S101
        if extras:
            beside = [
                [e or "" for e in extra.to_pylist()] for extra in extras
            ]  # of the few who have such an identifier
            pseudonyms = [
                None if v is None else self.one(column, v, tuple(t[i].strip() for t in beside))
                for i, v in enumerate(values.to_pylist())
            ]
            return pa.array(pseudonyms, pa.string())
        encoded = values if pa.types.is_dictionary(values.type) else pc.dictionary_encode(values)
        identifiers: list[str] = encoded.dictionary.to_pylist()
        seen = self._seen.setdefault(rule.domain, {})
        self._learn(column, [v for v in identifiers if v not in seen] if seen else identifiers, seen)
        mapped = [seen[v] for v in identifiers]
        pseudonyms_of = pa.array(mapped, pa.string())
        if pa.types.is_dictionary(values.type):
            return texts.renamed(encoded.indices, pseudonyms_of)
        return pseudonyms_of.take(encoded.indices)

    def _learn(self, column: Column, identifiers: list[str], seen: dict[str, str | None]) -> None:
        """Pseudonyms of identifiers that were not met yet: as ``one`` makes them, of many at once."""
        rule = column.pseudonym
        assert rule is not None  # noqa: S101
        if rule.check is not None:
            seen |= {value: self.one(column, value) for value in identifiers}
            return
        begun, ending = _hmac_states(self._key, self._message(rule, ""))
        written = identifiers if _is_written("".join(identifiers)) else map(_written, identifiers)
        for value, text in zip(identifiers, written, strict=True):
            inner, outer = begun.copy(), ending.copy()
            inner.update(text.encode())
            outer.update(inner.digest())
            pseudonym = seen[value] = outer.hexdigest()[:_PSEUDONYM_HEX_DIGITS]
            if rule.domain == "patient" and self._is_nobody(text):
                self._nobody.add(pseudonym)

    def _message(self, rule: Pseudonym, *parts: str) -> bytes:
        return "\x1f".join((rule.domain, self._hospital if rule.scope == "hospital" else "", *parts)).encode()

    def unknown(self, pseudonyms: pa.Array) -> pa.Array:
        """Of a column of patients that ``array`` replaced: which name nobody in particular."""
        if not self._nobody:
            return pa.array(np.zeros(len(pseudonyms), bool))
        nobody = pa.array(sorted(self._nobody), pa.string())
        if pa.types.is_dictionary(pseudonyms.type):
            return pc.fill_null(pc.is_in(pseudonyms.dictionary, value_set=nobody).take(pseudonyms.indices), False)
        return pc.is_in(pseudonyms, value_set=nobody)

    def _is_nobody(self, text: str) -> bool:
        return text in self._unknown or _NOBODY.fullmatch(text) is not None
