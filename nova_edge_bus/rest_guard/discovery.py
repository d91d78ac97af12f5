# SPDX-License-Identifier: Apache-2.0
"""Version discovery documents: which paths have one, which bodies are one, and their links.

keystoneauth takes the path of a link as it stands if the link's host is the host that it asked,
and guesses a path otherwise. Links to the upstream's own host are therefore kept without a host,
and are given the host that the client asked; links to any other host stay as they are, and the
client's guess is what it would be without the guard.
"""

import collections.abc
import json
import re
import typing
import urllib.parse

from nova_edge_bus.rest_guard import addresses

_VERSION = re.compile(r"v\d+(\.\d+)?\Z")

Document = dict[str, typing.Any]


def key(target: str, base: str) -> str | None:
    """The key under which a document at a request target is kept; None where none is expected.

    Documents are at the root, at *base* and above it, and wherever a path ends in a version.

    :param base: the upstream's path
    """
    path, question, _ = target.partition("?")
    bare = path.rstrip("/")
    if question:
        return None
    if f"{base}/".startswith(f"{bare}/") or _VERSION.match(bare.rpartition("/")[2]):
        return bare or "/"
    return None


def parse(body: bytes) -> Document | None:
    """The document in *body*; None if that is anything but a version discovery document."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return document if is_document(document) else None


def is_document(value: object) -> typing.TypeGuard[Document]:
    """Tell whether this is a version discovery document in a form that keystoneauth takes."""
    versions = list(_versions(value))
    return bool(versions) and all(map(_is_version, versions))


def links(document: Document) -> collections.abc.Iterator[dict[str, typing.Any]]:
    """Those links of a document's versions that have a place to go to."""
    for version in _versions(document):
        for link in version["links"]:
            if isinstance(link, dict) and isinstance(link.get("href"), str):
                yield link


def detach(document: Document, netlocs: collections.abc.Collection[str]) -> Document:
    """A copy whose links to one of *netlocs* name no host any more."""

    def strip(href: str) -> str:
        return relative(href, netlocs) if _origin(href) else href

    return _with_links(document, strip)


def attach(document: Document, origin: str) -> Document:
    """A copy whose links without a host are at *origin*."""
    return _with_links(document, lambda href: origin + href if href.startswith("/") else href)


def relative(url: str, netlocs: collections.abc.Collection[str]) -> str:
    """*url* without scheme and host if its host is one of *netlocs*, else *url* itself."""
    parts = urllib.parse.urlsplit(url)
    if not any(_same_host(url, parts.netloc, netloc) for netloc in netlocs):
        return url
    return urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, parts.fragment))


def _same_host(url: str, netloc: str, other: str) -> bool:
    if netloc.lower() == other.lower():
        return True
    scheme = urllib.parse.urlsplit(url).scheme
    try:
        ports = [addresses.authority_port(f"{scheme}://{each}") for each in (netloc, other)]
    except ValueError:
        return False
    hosts = [urllib.parse.urlsplit(f"//{each}").hostname for each in (netloc, other)]
    return hosts[0] == hosts[1] and ports[0] == ports[1]


def _origin(href: str) -> bool:
    try:
        return bool(urllib.parse.urlsplit(href).netloc)
    except ValueError:
        return False


def _with_links(document: Document, change: collections.abc.Callable[[str], str]) -> Document:
    copy: Document = json.loads(json.dumps(document))
    for link in links(copy):
        link["href"] = change(link["href"])
    return copy


def _versions(value: object) -> collections.abc.Iterator[typing.Any]:
    if not isinstance(value, dict):
        return
    versions = value.get("versions")
    if isinstance(versions, dict):
        versions = versions.get("values")
    if isinstance(versions, list):
        yield from versions
    elif "version" in value:
        yield value["version"]


def _is_version(value: object) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("id"), str)
        and isinstance(value.get("links"), list)
    )
