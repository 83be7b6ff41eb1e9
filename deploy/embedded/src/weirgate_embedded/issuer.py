"""The development issuer's key, made on first start. Only the console holds its private half."""

import json

from joserfc.jwk import ECKey

from weirgate_embedded.layout import Layout, write_json, write_private

ISSUER = "weirgate-development"


def prepare(layout: Layout) -> None:
    """Write ``issuer.jwk`` (private), ``jwks.json`` and ``issuers.json`` where they are missing."""
    private = layout.secrets / "issuer.jwk"
    if not private.exists():
        key = ECKey.generate_key("P-256", parameters={"use": "sig", "alg": "ES256"}, auto_kid=True)
        write_private(private, json.dumps(key.as_dict(private=True)))
    key = ECKey.import_key(json.loads(private.read_text()))
    write_json(layout.directory / "jwks.json", {"keys": [key.as_dict(private=False)]})
    issuers = layout.directory / "issuers.json"
    if not issuers.exists():  # an operator may have added others
        write_json(issuers, [{"issuer": ISSUER, "audience": "weirgate", "jwks_file": "jwks.json"}])
