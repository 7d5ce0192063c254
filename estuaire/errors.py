"""Typed errors. Each says what is wrong, where, and what to do next; none carries a patient's value.

A *permanent* error is never retried by Airflow (``retryable`` is false); a *retryable* one (a lost connection, a
server that restarts) is.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from estuaire.shown import shown


@dataclass(frozen=True)
class Explained:
    """What a refusal means to the hospital that delivers, and what it does next, in the guides' two languages."""

    what_fr: str
    remedy_fr: str
    what_en: str
    remedy_en: str


class EstuaireError(Exception):
    """Base of every error that Estuaire raises on purpose.

    ``code`` is stable and is what the ledger, the logs and the hospital's report show; ``explained`` is for the guides.
    """

    code = "E_ESTUAIRE"
    retryable = False
    exit_code = 1  # of the command that ends with it
    explained: Explained | None = None  # set where a hospital's delivery can meet the error

    def __init__(
        self,
        what: str,
        *,
        remedy: str,
        hospital: str | None = None,
        delivery: str | None = None,
        file: str | None = None,
        table: str | None = None,
    ) -> None:
        self.what = what
        self.remedy = remedy
        self.hospital = hospital
        self.delivery = delivery
        self.file = file
        self.table = table
        super().__init__(self.sentence())

    def sentence(self) -> str:
        """One line: code, place, what, remedy."""
        place = "/".join(p for p in (self.hospital, self.delivery) if p)
        parts = [f"[{self.code}]"]
        if place:
            parts.append(f"delivery {place}:")
        if self.file:
            parts.append(f"file {self.file}:")
        if self.table and not self.file:
            parts.append(f"table {self.table}:")
        parts.append(self.what.rstrip(".") + ".")
        parts.append("What to do: " + self.remedy.rstrip(".") + ".")
        # a folder's or file's name comes from outside: no control character reaches a terminal or a log
        return shown(" ".join(parts))

    def at(self, hospital: str | None = None, delivery: str | None = None, file: str | None = None) -> EstuaireError:
        """This error, with the place where it was met filled in where it names none."""
        self.hospital = self.hospital or hospital
        self.delivery = self.delivery or delivery
        self.file = self.file or file
        self.args = (self.sentence(),)
        return self

    def __reduce__(self) -> tuple[object, ...]:
        # Spark pickles a task's exception: keyword-only arguments need this.
        return (_rebuild, (type(self), self.__dict__.copy()))


def explained_errors() -> list[tuple[str, Explained]]:
    """(code, explanation) of each error that a delivery can meet, in the order in which the platform looks."""
    return [(kind.code, kind.explained) for kind in EstuaireError.__subclasses__() if kind.explained]


def typed(text: str) -> EstuaireError | None:
    """The error of ours whose sentence stands in another one's text: what Spark makes of an exception in a task; None if there is none."""
    found = re.search(r"\[(E_\w+)\] ([^\n]*?)\. What to do: ([^\n]*)", text)
    kinds = {kind.code: kind for kind in _kinds(EstuaireError)}
    if found is None or found[1] not in kinds:
        return None
    return kinds[found[1]](found[2], remedy=found[3])


def _kinds(kind: type[EstuaireError]) -> Iterator[type[EstuaireError]]:
    for below in kind.__subclasses__():
        yield below
        yield from _kinds(below)


def _rebuild(kind: type[EstuaireError], state: dict[str, object]) -> EstuaireError:
    error = kind.__new__(kind)
    Exception.__init__(error, "")
    error.__dict__.update(state)
    error.args = (error.sentence(),)
    return error


PASSING = (KeyboardInterrupt, SystemExit, GeneratorExit)  # no error of the work: they end the process


class TaskFailed(EstuaireError):
    """Something unforeseen stopped a piece of work. Its own message may hold a patient's value and is not repeated."""

    code = "E_TASK"
    retryable = True


class TaskKilled(TaskFailed):
    """The process that did a piece of work was killed outright, each time that it was tried."""

    code = "E_TASK_KILLED"
    retryable = False  # it was tried again, alone; within the run nothing else would change


def unforeseen(
    error: BaseException, *, hospital: str | None = None, delivery: str | None = None, file: str | None = None
) -> EstuaireError:
    """An error of ours with its place filled in; any other by its type and place in the code, never its message."""
    if isinstance(error, EstuaireError):
        return error.at(hospital, delivery, file)
    where = next(iter(traceback.extract_tb(error.__traceback__)[-1:]), None)
    at = f" at {Path(where.filename).name}:{where.lineno}" if where else ""
    return TaskFailed(
        f"{type(error).__name__}{at}, which nobody foresaw",
        remedy="it is tried again by the next run; if it fails again, report it as a defect with this line",
        hospital=hospital,
        delivery=delivery,
        file=file,
    )


class SetupError(EstuaireError):
    """The machine or the configuration cannot run the platform."""

    code = "E_SETUP"


class SecretUnusable(SetupError):
    """A file of secrets is missing, empty, damaged, or open to other accounts."""

    code = "E_SECRET"


class NotConfirmed(SetupError):
    """What cannot be undone was not confirmed."""

    code = "E_NOT_CONFIRMED"


class PseudonymKeyRefused(SetupError):
    """The pseudonym key is lost, or is not the one that the ledger knows."""

    code = "E_PSEUDONYM_KEY"


class ContractError(EstuaireError):
    """A contract or registry file of this project is not valid."""

    code = "E_CONTRACT"


class ManifestMissing(EstuaireError):
    """A delivery folder has no manifest.json."""

    code = "E_MANIFEST_MISSING"
    explained = Explained(
        "Le dossier de la livraison n'a pas de `manifest.json`.",
        "Déposez `manifest.json` en dernier ; `estuaire deliver` l'écrit.",
        "The delivery folder has no `manifest.json`.",
        "Upload `manifest.json` last; `estuaire deliver` writes it.",
    )


class ManifestInvalid(EstuaireError):
    """manifest.json is not JSON or does not follow its schema."""

    code = "E_MANIFEST_INVALID"
    explained = Explained(
        "`manifest.json` est illisible, incomplet, contredit le dossier ou reprend un numéro d'ordre déjà utilisé.",
        "Refaites-le avec `estuaire deliver`, ou corrigez le champ que le message désigne.",
        "`manifest.json` cannot be read, is not complete, contradicts its folder, or takes a sequence number used before.",
        "Write it again with `estuaire deliver`, or correct the field that the message names.",
    )


class EntryRefused(EstuaireError):
    """A delivery's folder holds what is no plain file: a link, a pipe, a name that is not UTF-8, folders too deep, or no right to read."""

    code = "E_ENTRY"
    explained = Explained(
        "Le dossier de la livraison contient autre chose que des fichiers ordinaires et lisibles : lien, tube, nom qui n'est pas en "
        "UTF-8, dossiers trop profonds, droits refusés.",
        "Déposez des fichiers ordinaires, lisibles par la plateforme, aux noms simples (lettres sans accent, chiffres, `.`, `_`, `-`).",
        "The delivery's folder holds something else than plain files that can be read: a link, a pipe, a name that is not UTF-8, folders "
        "too deep, rights that are refused.",
        "Upload plain files that the platform may read, with simple names (letters without accents, digits, `.`, `_`, `-`).",
    )


class UnknownHospital(EstuaireError):
    """The folder or the FINESS of a delivery names a hospital that the registry does not hold."""

    code = "E_UNKNOWN_HOSPITAL"
    explained = Explained(
        "Le dossier ou le numéro FINESS n'est pas celui d'un hôpital du registre.",
        "Déposez dans le dossier de votre hôpital, avec son numéro FINESS.",
        "The folder or the FINESS number is not that of a registered hospital.",
        "Deliver into your hospital's folder, with its FINESS number.",
    )


class ContractVersionUnknown(EstuaireError):
    """The delivery follows a contract version that the platform does not serve."""

    code = "E_CONTRACT_VERSION"
    explained = Explained(
        "La livraison suit une version du contrat qui n'est pas prise en charge.",
        "Livrez selon la version indiquée en tête de ce guide.",
        "The delivery follows a contract version that is not served.",
        "Deliver in the version named at the top of this guide.",
    )


class PathOutsideDelivery(EstuaireError):
    """A manifest names a file outside its delivery folder."""

    code = "E_PATH_OUTSIDE"
    explained = Explained(
        "Un chemin du manifeste sort du dossier de la livraison.",
        "Donnez des chemins relatifs au manifeste, sans lien symbolique.",
        "A path of the manifest leaves the delivery folder.",
        "Give paths relative to the manifest, and no symbolic links.",
    )


class FileMissing(EstuaireError):
    """A file that the manifest names is not there."""

    code = "E_FILE_MISSING"
    explained = Explained(
        "Un fichier annoncé par le manifeste n'a pas été déposé.",
        "Déposez le fichier manquant.",
        "A file that the manifest names was not delivered.",
        "Upload the missing file.",
    )


class ChecksumMismatch(EstuaireError):
    """A file's bytes are not the ones that the manifest declares."""

    code = "E_CHECKSUM"
    explained = Explained(
        "Les octets reçus ne sont pas ceux que le manifeste annonce (taille ou SHA-256).",
        "Déposez le fichier de nouveau, ou refaites le manifeste.",
        "The bytes received are not those that the manifest declares (size or SHA-256).",
        "Upload the file again, or write the manifest again.",
    )


class DeliveryChanged(EstuaireError):
    """A delivery id that was received before comes again with other bytes."""

    code = "E_DELIVERY_CHANGED"
    explained = Explained(
        "Un identifiant de livraison déjà reçu revient avec un autre contenu ; le premier reste en place.",
        "Livrez la correction sous un nouvel identifiant, avec le numéro d'ordre suivant.",
        "A delivery id that was received before comes again with other bytes; the first ones stay.",
        "Deliver the correction under a new id, with the next sequence number.",
    )


class FileTruncated(EstuaireError):
    """A compressed file ends before its end mark, or is not what its dialect says."""

    code = "E_FILE_TRUNCATED"
    explained = Explained(
        "Un fichier compressé est coupé, ou sa compression n'est pas celle de votre dialecte.",
        "Refaites l'export et la compression, puis le manifeste.",
        "A compressed file is cut short, or its compression is not that of your dialect.",
        "Export and compress it again, then write the manifest again.",
    )


class FileNotReadable(EstuaireError):
    """A file is no delimited text or Parquet file of its dialect: empty, UTF-16, compressed twice, a spreadsheet, no plain file."""

    code = "E_FILE_FORM"
    explained = Explained(
        "Un fichier n'est ni du texte délimité de votre dialecte ni du Parquet : vide, en UTF-16, compressé deux fois, classeur, lien, tube.",
        "Exportez-le dans l'encodage et la compression de votre dialecte, ou en Parquet, comme fichier ordinaire.",
        "A file is neither delimited text of your dialect nor Parquet: empty, UTF-16, compressed twice, a workbook, a link, a pipe.",
        "Export it in the encoding and compression of your dialect, or as Parquet, as a plain file.",
    )


class BeyondLimit(EstuaireError):
    """A file passes a bound on lines, decompressed size, growth, rejected records or time (``spark_jobs.kernel.limits``)."""

    code = "E_LIMIT"
    explained = Explained(
        "Un fichier dépasse une limite de la plateforme : longueur d'une ligne, taille décompressée, nombre d'enregistrements rejetés, durée.",
        "Cherchez une fin de ligne perdue ou un export emballé ; répartissez une très grande table sur plusieurs fichiers.",
        "A file passes a limit of the platform: length of a line, decompressed size, number of rejected records, time.",
        "Look for a lost line end or a runaway export; split a very large table over several files.",
    )


class ColumnMissing(EstuaireError):
    """A required column is not in the file's header."""

    code = "E_COLUMN_MISSING"
    explained = Explained(
        "Une colonne obligatoire manque dans l'en-tête ; souvent, le séparateur ou l'encodage a changé.",
        "Ajoutez la colonne, ou faites corriger vos noms de colonnes dans le registre.",
        "A required column is not in the header; often the separator or the encoding has changed.",
        "Add the column, or have your column names corrected in the registry.",
    )


class ColumnRetyped(EstuaireError):
    """A required column holds, in most of its records, values of another type than the contract's."""

    code = "E_COLUMN_RETYPED"
    explained = Explained(
        "La plupart des valeurs d'une colonne obligatoire ne sont pas du type attendu ; souvent, un format de date a changé.",
        "Livrez la colonne au format indiqué plus haut, ou signalez le nouveau format.",
        "Most values of a required column are not of the expected type; often a date format has changed.",
        "Deliver the column in the format shown above, or tell us the new format.",
    )


class EncodingMismatch(EstuaireError):
    """A file is written in another encoding than its dialect declares."""

    code = "E_ENCODING"
    explained = Explained(
        "Le fichier est écrit dans un autre encodage que celui de votre dialecte ; ses accents seraient lus de travers.",
        "Refaites l'export dans l'encodage indiqué plus haut, ou faites corriger l'encodage du dialecte dans le registre.",
        "The file is written in another encoding than your dialect declares; its accents would be read wrong.",
        "Export it again in the encoding shown above, or have the encoding of the dialect corrected in the registry.",
    )


class RowCountMismatch(EstuaireError):
    """The manifest declares another number of records than the file holds."""

    code = "E_ROW_COUNT"
    explained = Explained(
        "Le manifeste annonce un autre nombre d'enregistrements que le fichier n'en contient.",
        "Refaites l'export, puis le manifeste ; l'en-tête ne compte pas.",
        "The manifest declares another number of records than the file holds.",
        "Export again and write the manifest again; the header does not count.",
    )


class FileNotExpected(EstuaireError):
    """A file or folder handed in whose name is that of no table of the hospital."""

    code = "E_FILE_NOT_EXPECTED"
    explained = Explained(
        "Un fichier du dossier ne porte le nom d'aucune table.",
        "Renommez-le `<table>.csv` ou `<table>_<suite>.csv`, ou retirez-le du dossier.",
        "A file of the folder has the name of no table.",
        "Rename it `<table>.csv` or `<table>_<anything>.csv`, or take it out of the folder.",
    )


class TooManyRejected(EstuaireError):
    """More records were rejected than the gate accepts."""

    code = "E_REJECTED_RATE"
    explained = Explained(
        "Trop d'enregistrements sont rejetés ; la livraison est refusée en entier.",
        "Corrigez l'export d'après les règles et les lignes citées dans le compte rendu, puis livrez de nouveau.",
        "Too many records are rejected; the whole delivery is refused.",
        "Correct the export by the rules and lines that the report cites, then deliver again.",
    )


class GateBlocked(EstuaireError):
    """A gate's verdict for a delivery is block."""

    code = "E_GATE_BLOCKED"
    explained = Explained(
        "Un contrôle de qualité a bloqué la livraison ; les autres livraisons continuent.",
        "Lisez les règles citées, corrigez l'export et livrez sous un nouvel identifiant.",
        "A quality gate blocked the delivery; the other deliveries go on.",
        "Read the rules cited, correct the export and deliver under a new id.",
    )


class AccountingImbalance(EstuaireError):
    """Records or hash sums that came in are not those that went out: nothing is committed."""

    code = "E_ACCOUNTING"


class RowUidCollision(EstuaireError):
    """Two records got the same identity."""

    code = "E_ROW_UID"


class Fenced(EstuaireError):
    """A newer attempt of the same stage holds the fencing token: this one may not commit."""

    code = "E_FENCED"

    @classmethod
    def of(cls, stage: str) -> Fenced:
        """The error of an attempt of this stage."""
        return cls(
            f"a newer attempt of stage {stage} has begun; this one may not commit",
            remedy="nothing to do: the newer attempt goes on",
        )


class LedgerRefused(EstuaireError):
    """The ledger cannot take the rows of what a hospital would commit, or has committed, to the lake."""

    code = "E_LEDGER_REFUSED"


class LakeFileUnreadable(EstuaireError):
    """A Parquet file of the lake is lost or damaged."""

    code = "E_LAKE_FILE"


class FullHeld(EstuaireError):
    """A full delivery would end more of the records that stand than may go without a word."""

    code = "E_FULL_HELD"
    explained = Explained(
        "Une livraison complète mettrait fin à une grande part des enregistrements en place : un export coupé ressemble à cela. "
        "Elle attend une confirmation ; rien n'en est pris en compte.",
        "Si l'export est complet, demandez la confirmation (`estuaire confirm`) ; sinon, livrez-le de nouveau, entier, sous un nouvel "
        "identifiant.",
        "A full delivery would end a large share of the records that stand: an export cut short looks like this. "
        "It waits for a confirmation; nothing of it counts.",
        "If the export is whole, ask for its confirmation (`estuaire confirm`); else deliver it again, whole, under a new id.",
    )


class LakeInlined(EstuaireError):
    """The lake's catalog holds inlined rows: readers that list files would miss or resurrect rows."""

    code = "E_LAKE_INLINED"


class StoreUnavailable(EstuaireError):
    """The object store did not answer."""

    code = "E_STORE"
    retryable = True


class StoreRefused(EstuaireError):
    """The object store answered, and refused: its address, keys, bucket or policy are not right."""

    code = "E_STORE_REFUSED"


class DatabaseUnavailable(EstuaireError):
    """PostgreSQL did not answer."""

    code = "E_DATABASE"
    retryable = True


class PublishFailed(EstuaireError):
    """The marts could not be built or did not pass: the last release stays served."""

    code = "E_PUBLISH"


class QueryRefused(EstuaireError):
    """A query that the analyst role may not run."""

    code = "E_QUERY"


class RunFailed(EstuaireError):
    """A pipeline run ended in failure."""

    code = "E_RUN"


class FollowingStopped(EstuaireError):
    """Ctrl-C: the display has stopped; a chain that was started goes on in Airflow."""

    code = "E_INTERRUPTED"
    exit_code = 130


class UnknownName(EstuaireError):
    """No run and no delivery has this name."""

    code = "E_UNKNOWN_NAME"


class NothingToRetry(EstuaireError):
    """Nothing of a run or delivery failed, or what failed cannot pass as it stands."""

    code = "E_NOTHING_TO_RETRY"


class DiskFull(EstuaireError):
    """There is no space left for a file of the store or of a task."""

    code = "E_DISK_FULL"
    retryable = True


class DatabaseFull(EstuaireError):
    """PostgreSQL has no space left."""

    code = "E_DATABASE_FULL"
    retryable = True


class StoreNotWritable(EstuaireError):
    """A folder of the platform is read-only, or not this account's."""

    code = "E_NOT_WRITABLE"


class BackupUnusable(EstuaireError):
    """A backup is incomplete or damaged, of a newer version, or what is to be backed up is."""

    code = "E_BACKUP"


class RestoreRefused(EstuaireError):
    """The platform to restore into is not empty, or still runs."""

    code = "E_RESTORE"


class UpkeepBusy(EstuaireError):
    """An upkeep or a backup is under way; two would be in each other's way."""

    code = "E_UPKEEP_BUSY"
    retryable = True


class UpkeepFailed(EstuaireError):
    """Parts of an upkeep did not end well; the others are done."""

    code = "E_UPKEEP"
