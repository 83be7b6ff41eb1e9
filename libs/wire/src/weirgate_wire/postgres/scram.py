"""SCRAM-SHA-256, the side that knows the password. Pure: the nonce comes from outside.

::

    first()  ->  n,,n=*,r=NONCE                     (p=tls-server-end-point,,… for -PLUS)
    final()  <-  r=NONCE+theirs,s=SALT,i=COUNT      ->  c=…,r=…,p=PROOF
    verify() <-  v=SIGNATURE                        the upstream has proved that it knows the password, too

Invariants: a nonce that does not begin with ours, an iteration count out of bounds and a signature that does
not verify are refused; nothing of the password is in an exception.

Source: RFC 5802, RFC 7677, RFC 5929 (tls-server-end-point), RFC 4013 (SASLprep).
"""

import base64
import binascii
import hashlib
import hmac
import stringprep
import unicodedata

from weirgate_wire.error import PeerError, UsageError

MECHANISM = "SCRAM-SHA-256"
MECHANISM_PLUS = "SCRAM-SHA-256-PLUS"
ITERATIONS_LIMIT = 1_000_000
"""Above what an upstream may ask for: PostgreSQL's default is 4,096, OWASP's advice for PBKDF2-SHA256 is
600,000. Without a bound, whoever poses as the upstream chooses how long we compute."""
SALT_LIMIT_BYTES = 1024
MESSAGE_LIMIT_BYTES = 8 * 1024


class ScramClient:
    """One exchange.

    Args:
        password: in clear; SASLprep is applied, as PostgreSQL does.
        nonce: fresh and unpredictable, printable ASCII without comma, at least 18 characters.
        binding: ``tls-server-end-point`` bytes for -PLUS, else ``None``.
        binding_possible: we could have bound and the upstream did not offer it; it will notice if somebody
            between us took the offer away.
    """

    def __init__(
        self, password: str, *, nonce: str, binding: bytes | None = None, binding_possible: bool = False
    ) -> None:
        if len(nonce) < 18 or any(not "!" <= each <= "~" or each == "," for each in nonce):
            raise UsageError("a SCRAM nonce is 18 or more printable characters without comma")
        self._password = password
        self._nonce = nonce
        self._binding = binding or b""
        if binding is not None:
            self._header = "p=tls-server-end-point,,"
        else:
            self._header = "y,," if binding_possible else "n,,"
        # PostgreSQL ignores the name here, the start-up message has it.
        self._first_bare = f"n=,r={nonce}"
        self._signature = b""

    @property
    def mechanism(self) -> str:
        """Name to choose in SASLInitialResponse."""
        return MECHANISM_PLUS if self._binding else MECHANISM

    def first(self) -> bytes:
        """Return client-first-message."""
        return (self._header + self._first_bare).encode()

    def final(self, server_first: bytes) -> bytes:
        """Answer server-first-message with client-final-message. Runs PBKDF2: some milliseconds and up.

        Raises:
            PeerError: malformed, another nonce, or a count or salt out of bounds.
        """
        text = _text(server_first)
        nonce, salt, iterations = _challenge(text)
        if not nonce.startswith(self._nonce) or len(nonce) == len(self._nonce):
            raise PeerError("SCRAM: the nonce does not continue ours")
        bound = base64.b64encode(self._header.encode() + self._binding).decode()
        without_proof = f"c={bound},r={nonce}"
        signed = f"{self._first_bare},{text},{without_proof}".encode()
        salted = hashlib.pbkdf2_hmac("sha256", prepare_password(self._password), salt, iterations)
        self._password = ""
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        stored_key = hashlib.sha256(client_key).digest()
        client_signature = hmac.digest(stored_key, signed, "sha256")
        proof = bytes(a ^ b for a, b in zip(client_key, client_signature, strict=True))
        server_key = hmac.digest(salted, b"Server Key", "sha256")
        self._signature = hmac.digest(server_key, signed, "sha256")
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()

    def verify(self, server_final: bytes) -> None:
        """Check server-final-message: the upstream knows the password's verifier.

        Raises:
            PeerError: it does not, or it says an error.
        """
        text = _text(server_final)
        first = text.split(",", 1)[0]
        if first.startswith("e="):
            raise PeerError("SCRAM: the upstream refuses the exchange")
        if not first.startswith("v="):
            raise PeerError("SCRAM: no server signature")
        if not self._signature or not hmac.compare_digest(_unbase64(first[2:]), self._signature):
            raise PeerError("SCRAM: the server signature does not verify")


def prepare_password(password: str) -> bytes:
    """Apply SASLprep; a password it does not allow is used as it is, as PostgreSQL does.

    Source: RFC 4013; PostgreSQL ``pg_saslprep``.
    """
    if password.isascii():
        return password.encode()
    mapped = "".join(
        " " if stringprep.in_table_c12(each) else each
        for each in password
        if not stringprep.in_table_b1(each)
    )
    normal = unicodedata.normalize("NFKC", mapped)
    if not normal or any(_prohibited(each) for each in normal):
        return password.encode("utf-8", "surrogatepass")
    if any(stringprep.in_table_d1(each) for each in normal) and (
        any(stringprep.in_table_d2(each) for each in normal)
        or not (stringprep.in_table_d1(normal[0]) and stringprep.in_table_d1(normal[-1]))
    ):
        return password.encode("utf-8", "surrogatepass")
    return normal.encode()


_PROHIBITED = (
    stringprep.in_table_a1,
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def _prohibited(character: str) -> bool:
    return any(table(character) for table in _PROHIBITED)


def _text(message: bytes) -> str:
    if len(message) > MESSAGE_LIMIT_BYTES:
        raise PeerError("SCRAM: a message is too long")
    try:
        return message.decode("ascii")
    except UnicodeDecodeError as error:
        raise PeerError("SCRAM: a message is not ASCII") from error


def _challenge(text: str) -> tuple[str, bytes, int]:
    parts = text.split(",")
    # RFC 5802 section 5.1: an unknown mandatory extension comes first, as ``m=``, and ends the exchange.
    if len(parts) < 3 or not (
        parts[0].startswith("r=") and parts[1].startswith("s=") and parts[2].startswith("i=")
    ):
        raise PeerError("SCRAM: the first message of the upstream is malformed")
    salt = _unbase64(parts[1][2:])
    if not 1 <= len(salt) <= SALT_LIMIT_BYTES:
        raise PeerError("SCRAM: salt out of bounds")
    count = parts[2][2:]
    if not count.isdecimal() or len(count) > 10 or not 1 <= int(count) <= ITERATIONS_LIMIT:
        raise PeerError("SCRAM: iteration count out of bounds")
    return parts[0][2:], salt, int(count)


def _unbase64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise PeerError("SCRAM: not base 64") from error
