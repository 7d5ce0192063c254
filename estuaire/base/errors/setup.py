"""The machine or the configuration is not right: somebody sets it up, no run mends it."""

from __future__ import annotations

from estuaire.base.errors.root import EstuaireError


class SetupError(EstuaireError):
    """The machine or the configuration cannot run the platform."""

    code = "E_SETUP"


class LibraryMissing(SetupError):
    """A command needs a library that this installation does not hold."""

    code = "E_LIBRARY_MISSING"


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
