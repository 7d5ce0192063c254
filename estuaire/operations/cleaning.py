"""`estuaire clean`: what of an installation goes, what stays. Landing always stays; the secrets do unless they are named.

Without its pseudonym key an installation that delivers again makes two of every patient, and no backup of the database fits any more.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from estuaire.base.errors import SetupError
from estuaire.base.settings import PROJECT_ROOT, Settings
from estuaire.storage.object_store import ObjectStore

_IN_STORE = ("lake", "work")


@dataclass
class Plan:
    """Paths that go, prefixes of the bucket that go, and what stays."""

    paths: list[Path] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)
    kept: list[Path] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.paths or self.prefixes)

    def lines(self) -> list[str]:
        """For people: one line a path."""
        gone = [f"goes   {path}" for path in self.paths] + [f"goes   {name} in the bucket" for name in self.prefixes]
        return gone + [f"stays  {path}" for path in self.kept]


def plan(settings: Settings, *, secrets: bool = False) -> Plan:
    """What `clean` removes: all of the home, and lake and work of a store elsewhere; but landing, and the secrets unless asked for.

    Raises:
        SetupError: the home is a folder that holds the project itself, or a person's; or the catalog of the lake is on an external server,
            which would keep it without the lake's files.
    """
    root = settings.root
    if settings.postgres_host:
        raise SetupError(
            "the lake's catalog and the marts are in a PostgreSQL of your own, which `clean` does not touch",
            remedy=f"drop the databases {settings.postgres_database} and {settings.airflow_database} there, unset ESTUAIRE_POSTGRES_HOST, then try again",
        )
    if PROJECT_ROOT.is_relative_to(root) or Path.home().resolve().is_relative_to(root):
        raise SetupError(
            f"{root} is no folder of the stack's own: removing it would remove more",
            remedy="set ESTUAIRE_HOME to such a folder",
        )
    cleaning_plan = Plan()
    keep = [settings.store_path / "landing"] + ([] if secrets else [settings.secrets_path])
    cleaning_plan.kept = [path for path in keep if path.exists()]
    cleaning_plan.paths = _without(root, [*cleaning_plan.kept, *(path.resolve() for path in cleaning_plan.kept)])
    outside = [settings.store_path / name for name in _IN_STORE] + ([settings.secrets_path] if secrets else [])
    cleaning_plan.paths += [path for path in outside if path.exists() and not path.is_relative_to(root)]
    if settings.store == "s3":
        cleaning_plan.prefixes = [f"{name}/" for name in _IN_STORE]
    return cleaning_plan


def remove(store: ObjectStore, going: Plan) -> None:
    """Remove what the plan names. The bucket's part first: its keys may be among the secrets."""
    if going.prefixes:
        for prefix in going.prefixes:
            for item in store.list(prefix):
                store.delete(item.key)
    for path in going.paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _without(folder: Path, kept: list[Path]) -> list[Path]:
    """The fewest paths that are all of ``folder`` but ``kept``."""
    if not folder.exists() or folder in kept:
        return []
    if folder.is_symlink() or not any(path.is_relative_to(folder) for path in kept):
        return [folder]
    return [path for inner in sorted(folder.iterdir()) for path in _without(inner, kept)]
