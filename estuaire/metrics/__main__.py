"""``python -m estuaire.metrics``: the process of `estuaire serve metrics`."""

from estuaire import private
from estuaire.metrics.server import serve
from estuaire.settings import settings

if __name__ == "__main__":
    private.start()
    serve(settings())
