"""Where to publish: an RTMP URL, taken apart, checked, and with its key hidden wherever it is shown."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from avatar.frames import MienError

_PORTS = {"rtmp": 1935, "rtmps": 443}


class AddressError(MienError):
    """The URL is none to publish to: what is missing. The URL itself, which may hold a key, is never quoted."""


@dataclass(frozen=True, slots=True)
class Address:
    """``rtmp[s]://host[:port]/app/key``. The key is what follows the last slash, with the query if there is one."""

    scheme: str
    host: str
    port: int
    app: str
    key: str = field(repr=False)

    @classmethod
    def parse(cls, url: str) -> Address:
        """Raises:
        AddressError: it is none.
        """
        try:
            parts = urlsplit(url.strip())
            host, port = parts.hostname, parts.port
        except ValueError:
            raise AddressError("the RTMP address is no URL: write rtmp://host/app/key") from None
        if parts.scheme not in _PORTS:
            raise AddressError(
                f"an RTMP address begins with rtmp:// or rtmps://, not {parts.scheme or 'nothing'}: "
                "write rtmp://host/app/key"
            )
        if parts.username is not None:
            raise AddressError("a user and password in an RTMP address are not supported: give the key after the app")
        app, _, key = parts.path.strip("/").rpartition("/")
        if not host or not app or not key:
            raise AddressError("an RTMP address names a host, an app and a key: write rtmp://host/app/key")
        query = f"?{parts.query}" if parts.query else ""
        return cls(parts.scheme, host, port or _PORTS[parts.scheme], app, key + query)

    @property
    def secure(self) -> bool:
        return self.scheme == "rtmps"

    @property
    def url(self) -> str:
        """What RTMP calls tcUrl: without the key."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}/{self.app}"

    def __str__(self) -> str:
        """For people, logs and metrics: the key is hidden."""
        return f"{self.url}/***"

    def hidden(self, text: str) -> str:
        """``text``, which comes from elsewhere, without the key in it."""
        for secret in (self.key, self.key.partition("?")[0]):
            text = text.replace(secret, "***")
        return text
