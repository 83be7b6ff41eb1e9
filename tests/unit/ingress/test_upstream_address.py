"""The address of an upstream is read as libpq reads it, and refused where it cannot be."""

from pathlib import Path

import pytest

from weirgate_contracts.config import ResourceDocument
from weirgate_ingress.address import AddressError, read_address


def resource(upstream: str) -> ResourceDocument:
    return ResourceDocument(name="shop", protocol="postgres", upstream=upstream)


def test_everything_a_plain_address_says_is_taken() -> None:
    address = read_address(resource("postgresql://a%20b@db.internal/shop%2Fx"))
    assert (address.host, address.port) == ("db.internal", 5432)
    assert (address.user, address.database) == ("a b", "shop/x")
    assert (address.sslmode, address.binding_mode, address.direct) == ("prefer", "prefer", False)
    assert not address.loopback
    assert read_address(resource("postgresql://a@[::1]:99")).loopback
    assert read_address(resource("postgresql://a@127.0.0.9:99")).database == "a"


def test_parameters_mean_what_they_mean_to_libpq() -> None:
    address = read_address(
        resource(
            "postgresql://a@h/d?sslmode=verify-full&sslrootcert=/ca.pem&channel_binding=require"
            "&sslnegotiation=direct&require_auth=scram-sha-256,password&connect_timeout=3"
        )
    )
    assert address.sslrootcert == Path("/ca.pem")
    assert address.binding_mode == "require"
    assert address.direct
    assert address.methods == {"scram-sha-256", "password"}
    assert address.cleartext_asked
    assert address.connect_timeout_s == 3
    assert read_address(resource("postgresql://a@h/d?require_auth=!password,!md5")).methods == {
        "none",
        "scram-sha-256",
    }


@pytest.mark.parametrize(
    "query",
    [
        "sslmode=sometimes",
        "sslmode=verify-ca",
        "sslmode=require&sslrootcert=system",
        "sslnegotiation=direct",
        "sslnegotiation=direct&sslmode=prefer",
        "channel_binding=maybe",
        "require_auth=kerberos",
        "require_auth=md5,!password",
        "connect_timeout=0",
        "connect_timeout=x",
        "options=-csearch_path=x",
        "replication=database",
        "sslmode=require&sslmode=disable",
        "sslcert=/c.pem",
        "gssencmode=require",
        "password=x",
    ],
)
def test_what_is_not_understood_is_refused(query: str) -> None:
    with pytest.raises(AddressError):
        read_address(resource(f"postgresql://a@h/d?{query}"))
