"""`mien say TEXT --to URL`: a text in, posted to a running program's inbox; the message's id out."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from avatar.frames import MienError

TIMEOUT_S = 10.0


class NotSaid(MienError):
    """The program did not take the message: why, and what to do. The token is never quoted."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the token to wherever it points."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def say(url: str, token: str | None, **fields: Any) -> str:
    """Post one text message; blocks until it was taken.

    Args:
        url: of the service, for instance ``http://127.0.0.1:8080``.
        fields: of the message (docs/queue.md); those that are None are left out.

    Returns:
        The message's id.

    Raises:
        NotSaid: nobody answers there, or the message was refused.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise NotSaid(f"--to {url!r} is no address: write http://127.0.0.1:8080, where `mien stream` says that it is")
    target = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}/api/say"
    body = {"type": "text"} | {name: value for name, value in fields.items() if value is not None}
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(target, json.dumps(body).encode(), headers, method="POST")  # noqa: S310 - checked
    try:
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=TIMEOUT_S) as answer:
            told = json.load(answer)
        return str(told["id"])
    except urllib.error.HTTPError as error:
        raise NotSaid(f"{target} answered {error.code}: {_message(error)}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = getattr(error, "reason", None) or error
        raise NotSaid(f"{target} does not answer as it should ({reason}): is the stream running there?") from None


def _message(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"]["message"])
    except (OSError, ValueError, KeyError, TypeError):
        return error.reason
