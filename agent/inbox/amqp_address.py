"""Where the broker is: an `amqp://` URL or its parts in; the address for the client, and one that may be shown, out."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import quote

from yarl import URL

from agent.settings import BrokerSettings
from avatar.frames import MienError

HEARTBEAT_S = 10


class AddressError(MienError):
    """The broker's address cannot be used; the password is never quoted."""


@dataclass(frozen=True, slots=True)
class Address:
    """Args:
    url: with its password.
    """

    url: URL = field(repr=False)

    @classmethod
    def from_url(cls, text: str) -> Address:
        """Raises:
        AddressError: it is no amqp or amqps URL.
        """
        try:
            url = URL(text)
            port = url.explicit_port
        except ValueError:
            raise AddressError("the broker's address is no URL: write amqp://user:password@host:5672/vhost") from None
        if url.scheme not in ("amqp", "amqps") or not url.host:
            raise AddressError(
                f"the broker's address begins with {url.scheme or 'nothing'}://{url.host or ''}: "
                "write amqp://user:password@host:5672/vhost, or amqps:// with TLS"
            )
        url = url if port else url.with_port(5671 if url.scheme == "amqps" else 5672)
        return cls(url if "heartbeat" in url.query else url.update_query(heartbeat=str(HEARTBEAT_S)))

    @classmethod
    def from_parts(cls, host: str, port: int, user: str, password: str, vhost: str) -> Address:
        """What ``RABBITMQ_HOST`` and its like say; ``vhost`` is ``/`` or a name."""
        shown_host = f"[{host}]" if ":" in host else host
        user_info = f"{quote(user, safe='')}:{quote(password, safe='')}"
        return cls.from_url(f"amqp://{user_info}@{shown_host}:{port}/{quote(vhost, safe='') if vhost != '/' else ''}")

    @classmethod
    def from_settings(cls, broker: BrokerSettings) -> Address | None:
        """None where no broker is configured.

        Raises:
            AddressError: the URL is none.
        """
        if broker.url is not None:
            return cls.from_url(broker.url.get_secret_value())
        if broker.host is None:
            return None
        return cls.from_parts(broker.host, broker.port, broker.user, broker.password.get_secret_value(), broker.vhost)

    @property
    def shown(self) -> str:
        """For logs and health: no user, no password, no query."""
        return f"{self.url.scheme}://{self.url.host}:{self.url.port}{self.url.raw_path}"

    def hide(self, text: str) -> str:
        """The text without the password, as written or as quoted in a URL."""
        password = self.url.password
        if not password:
            return text
        for secret in {password, quote(password, safe=""), self.url.raw_password or password}:
            text = text.replace(secret, "***")
        return text
