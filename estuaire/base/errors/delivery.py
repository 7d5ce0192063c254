"""What a hospital's delivery can meet, in the order in which the platform looks; the guides tell each in two languages."""

from __future__ import annotations

from estuaire.base.errors.root import EstuaireError, Explained


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
    """A file passes a bound on lines, decompressed size, growth, rejected records or time (``estuaire.kernel.limits``)."""

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
