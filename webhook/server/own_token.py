"""The API server's audiences, as tokenguard's own service account token names them."""

import base64
import logging
from collections.abc import Callable
from pathlib import Path

import msgspec

log = logging.getLogger("tokenguard")
OWN_TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


class _Claims(msgspec.Struct):
    aud: str | list[str] = ""


def own_audiences(token_file: Path = OWN_TOKEN) -> tuple[str, ...]:
    """Return the API server's audiences as the webhook's own token names them; none where it has no token.

    Only the payload is decoded, and nothing but its `aud` is kept.
    """
    try:
        payload = token_file.read_text(encoding="ascii").split(".")[1]
        claims = msgspec.json.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)), type=_Claims)
    except (OSError, ValueError, IndexError):  # what msgspec and base64 raise are ValueErrors
        return ()
    named = (claims.aud,) if isinstance(claims.aud, str) else tuple(claims.aud)
    return tuple(audience for audience in named if audience)


class OwnAudiences:
    """Follows the token's file: the kubelet replaces it about every 48 minutes, with the audiences of that time.

    They change while tokenguard runs where somebody changes the API server's `--api-audiences` or issuer.
    """

    what = "own token"

    def __init__(self, use: Callable[[tuple[str, ...]], None], token_file: Path = OWN_TOKEN) -> None:
        """Read the file once; `use` is called with the audiences whenever they have changed."""
        self._use = use
        self._file = token_file
        self._seen = self._fingerprint()
        self.names = own_audiences(token_file)

    def look(self) -> None:
        """Read the file if it has changed. One that can't be read changes nothing."""
        seen = self._fingerprint()
        if seen == self._seen:
            return
        self._seen = seen
        names = own_audiences(self._file)
        if names and names != self.names:
            self.names = names
            self._use(names)
            log.info("the API server's audiences have changed, by tokenguard's own token: %s", ", ".join(names))

    def _fingerprint(self) -> tuple[int, int] | None:
        try:
            stat = self._file.stat()
        except OSError:
            return None
        return stat.st_ino, stat.st_mtime_ns
