"""What a hospital's delivery can meet, in the order in which the platform looks; the guides tell each in two languages, by the messages
``refusal.<code>`` of ``estuaire.base.texts``."""

from __future__ import annotations

from estuaire.base.errors.root import EstuaireError


class ManifestMissing(EstuaireError):
    """A delivery folder has no manifest.json."""

    code = "E_MANIFEST_MISSING"
    explained = True


class ManifestInvalid(EstuaireError):
    """manifest.json is not JSON or does not follow its schema."""

    code = "E_MANIFEST_INVALID"
    explained = True


class EntryRefused(EstuaireError):
    """A delivery's folder holds what is no plain file: a link, a pipe, a name that is not UTF-8, folders too deep, or no right to read."""

    code = "E_ENTRY"
    explained = True


class UnknownHospital(EstuaireError):
    """The folder or the FINESS of a delivery names a hospital that the registry does not hold."""

    code = "E_UNKNOWN_HOSPITAL"
    explained = True


class ContractVersionUnknown(EstuaireError):
    """The delivery follows a contract version that the platform does not serve."""

    code = "E_CONTRACT_VERSION"
    explained = True


class PathOutsideDelivery(EstuaireError):
    """A manifest names a file outside its delivery folder."""

    code = "E_PATH_OUTSIDE"
    explained = True


class FileMissing(EstuaireError):
    """A file that the manifest names is not there."""

    code = "E_FILE_MISSING"
    explained = True


class ChecksumMismatch(EstuaireError):
    """A file's bytes are not the ones that the manifest declares."""

    code = "E_CHECKSUM"
    explained = True


class DeliveryChanged(EstuaireError):
    """A delivery id that was received before comes again with other bytes."""

    code = "E_DELIVERY_CHANGED"
    explained = True


class FileTruncated(EstuaireError):
    """A compressed file ends before its end mark, or is not what its dialect says."""

    code = "E_FILE_TRUNCATED"
    explained = True


class FileNotReadable(EstuaireError):
    """A file is no delimited text or Parquet file of its dialect: empty, UTF-16, compressed twice, a spreadsheet, no plain file."""

    code = "E_FILE_FORM"
    explained = True


class BeyondLimit(EstuaireError):
    """A file passes a bound on lines, decompressed size, growth, rejected records or time (``estuaire.kernel.limits``)."""

    code = "E_LIMIT"
    explained = True


class ColumnMissing(EstuaireError):
    """A required column is not in the file's header."""

    code = "E_COLUMN_MISSING"
    explained = True


class ColumnRetyped(EstuaireError):
    """A required column holds, in most of its records, values of another type than the contract's."""

    code = "E_COLUMN_RETYPED"
    explained = True


class EncodingMismatch(EstuaireError):
    """A file is written in another encoding than its dialect declares."""

    code = "E_ENCODING"
    explained = True


class RowCountMismatch(EstuaireError):
    """The manifest declares another number of records than the file holds."""

    code = "E_ROW_COUNT"
    explained = True


class FileNotExpected(EstuaireError):
    """A file or folder handed in whose name is that of no table of the hospital."""

    code = "E_FILE_NOT_EXPECTED"
    explained = True


class TooManyRejected(EstuaireError):
    """More records were rejected than the gate accepts."""

    code = "E_REJECTED_RATE"
    explained = True


class GateBlocked(EstuaireError):
    """A gate's verdict for a delivery is block."""

    code = "E_GATE_BLOCKED"
    explained = True


class FullHeld(EstuaireError):
    """A full delivery would end more of the records that stand than may go without a word."""

    code = "E_FULL_HELD"
    explained = True
