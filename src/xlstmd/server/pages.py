"""The pages: the console, its live view, the API page, and their files. All come from here."""

from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from xlstmd.server.openapi import openapi_document
from xlstmd.server.security import PAGE_POLICY

# Where the chart library lies: a package on PyPI that carries D3's one file.
CHART_PACKAGE: Final = "xstatic.pkg.d3"

CONSOLE: Final = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/live": ("live.html", "text/html; charset=utf-8"),
    "/docs": ("docs.html", "text/html; charset=utf-8"),
    "/console/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "/console/chart.js": ("chart.js", "text/javascript; charset=utf-8"),
    "/console/table.js": ("table.js", "text/javascript; charset=utf-8"),
    "/console/status.js": ("status.js", "text/javascript; charset=utf-8"),
    "/console/live.js": ("live.js", "text/javascript; charset=utf-8"),
    "/console/docs.js": ("docs.js", "text/javascript; charset=utf-8"),
    "/console/style.css": ("style.css", "text/css; charset=utf-8"),
    "/console/icon.svg": ("icon.svg", "image/svg+xml"),
    "/console/example.csv": ("example.csv", "text/csv; charset=utf-8"),
}
D3_PATH: Final = "/console/d3.js"
OPENAPI_PATH: Final = "/openapi.json"

# Browsers ask again each time, so that a new version of the daemon never meets an old page.
CACHING: Final = "no-cache"


def page_routes() -> list[HTTPRouteHandler]:
    """Gives the routes of all pages and files; every file is read once, here."""
    folder = files("xlstmd.server") / "console"
    routes = [
        _file_route(path, (folder / name).read_bytes(), media_type)
        for path, (name, media_type) in CONSOLE.items()
    ]
    routes.append(_file_route(D3_PATH, _chart_library().read_bytes(), "text/javascript"))
    routes.append(_file_route(OPENAPI_PATH, openapi_document(), "application/json"))
    return routes


def _chart_library() -> Traversable:
    return files(CHART_PACKAGE) / "data" / "d3.js"


def _file_route(path: str, content: bytes, media_type: str) -> HTTPRouteHandler:
    headers = {"cache-control": CACHING}
    if media_type.startswith("text/html"):
        headers["content-security-policy"] = PAGE_POLICY

    @get(path, sync_to_thread=False)
    def send_file() -> Response[bytes]:
        """Sends a file."""
        return Response(content, media_type=media_type, headers=headers)

    return send_file
