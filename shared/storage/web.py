"""Reading from web servers: limits for silence and for what is sent, and redirects that are not followed."""

import ipaddress
import socket
from functools import lru_cache
from typing import Any

SILENT_SECONDS = 60.0
"""After so many seconds without a byte a web server is given up; botocore's own limit is the same."""
PIECE_BYTES = 1 << 16


@lru_cache(maxsize=1)
def timeouts() -> Any:
    """Limits for silence; a slow server has as long as it needs."""
    from aiohttp import ClientTimeout

    return ClientTimeout(total=None, sock_connect=SILENT_SECONDS, sock_read=SILENT_SECONDS)


@lru_cache(maxsize=1)
def redirects() -> Any:
    """Ends a request that a server sends on to another host whose address is local, where strangers have no business.

    Otherwise a server could read what only this machine reaches.
    """
    from aiohttp import TraceConfig
    from yarl import URL

    async def check(session: Any, context: Any, redirect: Any) -> None:
        target = redirect.url.join(URL(redirect.response.headers.get("Location", "")))
        if target.host == redirect.url.host:
            return
        for *_, found in socket.getaddrinfo(target.host, None):
            if not ipaddress.ip_address(str(found[0]).partition("%")[0]).is_global:
                raise PermissionError(f"redirects to {target.host}, a local address: give that url if you trust it")

    config = TraceConfig()
    config.on_request_redirect.append(check)
    return config


def get(fs: Any, url: str, start: int, end: int, whole: bool = False) -> bytes:
    """The bytes of a file behind http from `start` to `end` - 1; of one that must be `whole`, never the beginning.

    No more than that is held in memory, and nothing is read beyond it, whatever the server sends.
    """
    from fsspec.asyn import sync

    async def get() -> bytes:
        session, headers = await fs.set_session(), {} if whole else {"Range": f"bytes={start}-{end - 1}"}
        async with session.get(fs.encode_url(url), headers=headers) as response:
            fs._raise_not_found_for_status(response, url)
            first, data = 0 if response.status == 200 else start, bytearray()
            async for piece in response.content.iter_chunked(PIECE_BYTES):
                data += piece[max(0, start - first) :]
                first += len(piece)
                if len(data) > end - start:
                    if whole:
                        raise ValueError(f"more bytes are sent than the {end} that it may have")
                    break
            return bytes(data[: end - start])

    return sync(fs.loop, get)
