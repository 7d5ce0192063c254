"""``python -m estuaire.operations.metrics``: the process of `estuaire serve metrics`."""

from estuaire.base import private_files
from estuaire.base.settings import settings
from estuaire.operations.metrics.server import serve
from estuaire.storage.platform import Platform

if __name__ == "__main__":
    private_files.start()
    serve(Platform(settings()))
