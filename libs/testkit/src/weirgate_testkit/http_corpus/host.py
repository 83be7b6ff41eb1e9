"""Host, absolute-form, authority-form: RFC 9112 section 3.2, RFC 9110 section 7.2; Host confusion.

"Host of troubles" (J. Chen and others, 2016), "Cracking the lens" (J. Kettle, 2017).
"""

from weirgate_testkit.http_corpus.case import Case, refused, sent

_HOSTS: list[tuple[str, bytes]] = [
    ("none", b""),
    ("twice, equal", b"Host: a\r\nHost: a\r\n"),
    ("twice, different", b"Host: a\r\nHost: b\r\n"),
    ("twice, in another case", b"Host: a\r\nhOST: b\r\n"),
    ("a second one folded", b"Host: a\r\n Host: b\r\n"),
    ("a second one behind a space", b" Host: b\r\nHost: a\r\n"),
    ("empty", b"Host:\r\n"),
    ("a list", b"Host: a, b\r\n"),
    ("a space inside", b"Host: a b\r\n"),
    ("a tab inside", b"Host: a\tb\r\n"),
    ("an address", b"Host: http://a\r\n"),
    ("a path", b"Host: a/b\r\n"),
    ("a query", b"Host: a?b\r\n"),
    ("a fragment", b"Host: a#b\r\n"),
    ("a backslash", b"Host: a\\b\r\n"),
    ("user information", b"Host: x@a\r\n"),
    ("user information with a password", b"Host: x:y@a\r\n"),
    ("a port of letters", b"Host: a:http\r\n"),
    ("a port of nothing", b"Host: a:\r\n"),
    ("a port of 0", b"Host: a:0\r\n"),
    ("a port of 65536", b"Host: a:65536\r\n"),
    ("a port with leading zeros", b"Host: a:0080\r\n"),
    ("a port with a plus", b"Host: a:+80\r\n"),
    ("two ports", b"Host: a:80:81\r\n"),
    ("a port and user information", b"Host: a:80@b\r\n"),
    ("only a port", b"Host: :80\r\n"),
    ("a dot at the end", b"Host: a.\r\n"),
    ("a dot at the beginning", b"Host: .a\r\n"),
    ("two dots", b"Host: a..b\r\n"),
    ("percent-encoded", b"Host: %61\r\n"),
    ("a byte over 0x7f", b"Host: \xe4\r\n"),
    ("a hyphen at the beginning", b"Host: -a\r\n"),
    ("a label of 64", b"Host: " + b"a" * 64 + b"\r\n"),
    ("a name of 254", b"Host: " + b"a." * 127 + b"b" * 10 + b"\r\n"),
    ("a single quote", b"Host: a'b\r\n"),
    ("a short IPv4 address", b"Host: 127.1\r\n"),
    ("an IPv4 address as one number", b"Host: 2130706433\r\n"),
    ("an octal IPv4 address", b"Host: 0177.0.0.1\r\n"),
    ("a hexadecimal IPv4 address", b"Host: 127.0.0.0x1\r\n"),
    ("an IPv4 address over 255", b"Host: 127.0.0.256\r\n"),
    ("five numbers", b"Host: 1.2.3.4.5\r\n"),
    ("an IPv6 address without brackets", b"Host: ::1\r\n"),
    ("an IPv6 address with a zone", b"Host: [fe80::1%25eth0]\r\n"),
    ("an open bracket", b"Host: [::1\r\n"),
    ("a malformed IPv6 address", b"Host: [::1::]\r\n"),
    ("a future address", b"Host: [v1.a]\r\n"),
    ("something behind the bracket", b"Host: [::1]a\r\n"),
]

_SENT_HOSTS: list[bytes] = [
    b"A.Example",
    b"a.example:8080",
    b"my_service",
    b"xn--bcher-kva.example",
    b"127.0.0.1",
    b"127.0.0.1:80",
    b"[::1]",
    b"[2001:DB8::1]:443",
    b"1a",
]

_TARGETS: list[tuple[str, bytes, bytes]] = [
    ("another host", b"GET http://b/", b"a"),
    ("another port", b"GET http://a:81/", b"a"),
    ("the port of the other scheme", b"GET http://a:443/", b"a"),
    ("user information", b"GET http://x@a/", b"a"),
    ("user information that looks like the host", b"GET http://a:80@b/", b"a:80"),
    ("no host", b"GET http:///a", b"a"),
    ("one slash", b"GET http:/a/", b"a"),
    ("no slashes", b"GET http:a/", b"a"),
    ("backslashes", b"GET http:\\\\a\\", b"a"),
    ("a backslash in the host", b"GET http://a\\@b/", b"a"),
    ("another scheme", b"GET ftp://a/", b"a"),
    ("a file", b"GET file:///etc/passwd", b"a"),
    ("a script", b"GET javascript:alert(1)", b"a"),
    ("a scheme behind a path", b"GET a/http://a/", b"a"),
    ("no scheme", b"GET //a/", b"a"),
    ("a fragment", b"GET http://a/#b", b"a"),
    ("a fragment behind the host", b"GET http://a#b/", b"a"),
    ("a dot segment", b"GET http://a/../b", b"a"),
    ("an encoded slash", b"GET http://a/b%2fc", b"a"),
    ("an empty segment", b"GET http://a//b", b"a"),
    ("a percent-encoded host", b"GET http://%61/", b"a"),
    ("CONNECT without a port", b"CONNECT a", b"a"),
    ("CONNECT to a path", b"CONNECT /a", b"a"),
    ("CONNECT to an address", b"CONNECT http://a/", b"a"),
    ("CONNECT to another host", b"CONNECT b:443", b"a"),
    ("CONNECT to another port", b"CONNECT a:443", b"a:80"),
    ("CONNECT with user information", b"CONNECT x@a:443", b"a"),
    ("CONNECT to port 0", b"CONNECT a:0", b"a"),
    ("CONNECT to a list", b"CONNECT a:1,b:2", b"a"),
    ("CONNECT to a port over 65535", b"CONNECT a:65536", b"a"),
    ("CONNECT to a port with leading zeros", b"CONNECT a:0443", b"a"),
    ("CONNECT to a port of letters", b"CONNECT a:https", b"a"),
    ("CONNECT to a host with a dot at the end", b"CONNECT a.:443", b"a"),
    ("CONNECT to a host with a dot at the end, in Host too", b"CONNECT a.:443", b"a."),
    ("CONNECT to an IPv6 address without brackets", b"CONNECT ::1:443", b"[::1]"),
    ("CONNECT to an IPv6 address with a zone", b"CONNECT [fe80::1%25eth0]:443", b"a"),
    ("CONNECT to a short IPv4 address", b"CONNECT 127.1:443", b"127.1"),
    ("CONNECT to a percent-encoded host", b"CONNECT %61:443", b"a"),
    ("CONNECT with a path", b"CONNECT a:443/", b"a:443"),
    ("CONNECT with a wildcard", b"CONNECT *.a:443", b"a"),
    ("CONNECT to another port than Host, both default", b"CONNECT a:80", b"a:443"),
    ("CONNECT to an asterisk", b"CONNECT *", b"a"),
    ("a host and a port without CONNECT", b"GET a:443", b"a"),
]

_SENT_TARGETS: list[tuple[str, bytes, bytes, bytes]] = [
    ("as it should be", b"GET http://a/b?c", b"a", b"GET /b?c"),
    ("no path", b"GET http://a", b"a", b"GET /"),
    ("no path but a query", b"GET http://a?b", b"a", b"GET /?b"),
    ("scheme and host in upper case", b"GET HTTPS://A/b", b"a", b"GET /b"),
    ("the default port", b"GET http://a:80/", b"a", b"GET /"),
    ("the default port in Host", b"GET https://a/", b"a:443", b"GET /"),
    ("an IPv6 address spelt in two ways", b"GET http://[0:0::1]/", b"[::1]", b"GET /"),
    ("CONNECT", b"CONNECT a:443", b"a:443", b"CONNECT a:443"),
    ("CONNECT with no port in Host", b"CONNECT a:443", b"a", b"CONNECT a:443"),
    ("CONNECT in upper case", b"CONNECT A:443", b"a:443", b"CONNECT A:443"),
    ("CONNECT to an IPv6 address", b"CONNECT [0:0::1]:443", b"[::1]:443", b"CONNECT [0:0::1]:443"),
]

_END = b" HTTP/1.1\r\n"

CASES: list[Case] = [
    *(refused(f"host: {name}", b"GET / HTTP/1.1\r\n" + lines + b"\r\n") for name, lines in _HOSTS),
    *(
        sent(
            f"host: {host.decode()}",
            b"GET /" + _END + b"Host: " + host + b"\r\n\r\n",
            b"GET /" + _END + b"host: " + host + b"\r\n\r\n",
        )
        for host in _SENT_HOSTS
    ),
    refused("host: twice in HTTP/1.0", b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"),
    *(
        refused(f"absolute-form: {name}", start + _END + b"Host: " + host + b"\r\n\r\n")
        for name, start, host in _TARGETS
    ),
    *(
        sent(
            f"absolute-form: {name}, sent",
            start + _END + b"Host: " + host + b"\r\n\r\n",
            out + _END + b"host: " + host + b"\r\n\r\n",
        )
        for name, start, host, out in _SENT_TARGETS
    ),
]
