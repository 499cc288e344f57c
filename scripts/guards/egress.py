"""The way out: no foreign link reaches an internal address, under any spelling."""

from __future__ import annotations

from scripts.guards.guard import Guard

GUARD = "orchestrator/egress/guard.py"
ADDRESSES = "orchestrator/egress/addresses.py"
TARGET = "orchestrator/egress/target.py"
PINNED = "orchestrator/egress/pinned.py"
TESTS = ("tests/egress/test_guard.py",)
SPELLED = ("tests/egress/test_target.py",)

GUARDS = (
    Guard(
        name="every address of a name is checked",
        promise="One internal address among public ones refuses the name.",
        file=GUARD,
        kept="            for address in addresses:\n                self._check_address(address)\n",
        removed="            self._check_address(addresses[0])\n",
        tests=TESTS,
    ),
    Guard(
        name="a literal address is checked",
        promise="An internal address is refused where it is written.",
        file=GUARD,
        kept="        if target.address is not None:\n            self._check_address(target.address)\n        elif",
        removed="        if",
        tests=(*TESTS, *SPELLED),
    ),
    Guard(
        name="the checked address is the one connected to",
        promise="Nothing resolves a name again after the check.",
        file=PINNED,
        kept="    return URL(target.at(str(address)), encoded=True)\n",
        removed="    return URL(target.url, encoded=True)\n",
        tests=TESTS,
    ),
    Guard(
        name="the session resolves no name",
        promise="A name where a checked address belongs is an error.",
        file="orchestrator/http.py",
        kept="    resolver = _NoResolver()\n",
        removed="    resolver = None\n",
        tests=("tests/zai/test_http_clients.py",),
    ),
    Guard(
        name="the certificate names the link's host",
        promise="A pinned address does not loosen TLS.",
        file=PINNED,
        kept="        server_hostname=target.host,\n",
        removed="",
        tests=("tests/egress/test_tls.py",),
    ),
    Guard(
        name="foreign answers are not followed",
        promise="A redirect is never followed by the library.",
        file=PINNED,
        kept="allow_redirects=False",
        removed="allow_redirects=True",
        tests=("tests/egress/test_fetch.py::test_redirects_lead_nowhere_inside",),
    ),
    Guard(
        name="the peer is looked at before anything is sent",
        promise="A connection that leads elsewhere than to the checked address carries nothing.",
        file="orchestrator/http.py",
        kept='        if peer is None or not _is_same_address(peer[0], self.url.host or ""):\n',
        removed="        if peer is None:\n",
        tests=("tests/egress/test_silent_listener.py",),
    ),
    Guard(
        name="every attempt asks the guard",
        promise="A name that was rebound since the last attempt is refused (F13).",
        file=GUARD,
        kept="        addresses = await self._look_up(target)\n        if not self._allowed",
        removed="        addresses = await self._look_up(target)\n        if self._allowed",
        tests=("tests/egress/test_silent_listener.py",),
    ),
    Guard(
        name="an input's link is judged",
        promise="A job line that names an internal address is refused before it is paid for.",
        file="orchestrator/services/jobfile/inline.py",
        kept="        judge(value)\n",
        removed="        str(value)\n",
        tests=("tests/egress/test_silent_listener.py",),
    ),
    Guard(
        name="only usual ports",
        promise="What listens elsewhere on a network is not for foreign links.",
        file=GUARD,
        kept="        if not self._allowed.has_port(target.host, target.port):\n",
        removed="        if not target.port:\n",
        tests=SPELLED,
    ),
    Guard(
        name="local names are refused",
        promise="A name without a dot means what this network makes of it.",
        file=GUARD,
        kept="is_single_label(target.host) or target.host.endswith",
        removed="target.host.endswith",
        tests=SPELLED,
    ),
    Guard(
        name="IPv6 outside the global space is internal",
        promise="Mapped, translated, NAT64 and local addresses are refused.",
        file=ADDRESSES,
        kept="    if address.scope_id is not None or address not in GLOBAL_V6:\n",
        removed="    if address.scope_id is not None:\n",
        tests=SPELLED,
    ),
    Guard(
        name="6to4 is internal",
        promise="An IPv6 address that carries an internal IPv4 one is refused.",
        file=ADDRESSES,
        kept='        "2002::/16",  # 6to4: carries an IPv4 address\n',
        removed="",
        tests=SPELLED,
    ),
    Guard(
        name="metadata on a public address is internal",
        promise="A cloud's metadata is refused wherever it is.",
        file=ADDRESSES,
        kept='        "168.63.129.16/32",  # a cloud\'s metadata on a public address\n',
        removed="",
        tests=SPELLED,
    ),
    Guard(
        name="multicast is internal",
        promise="No foreign link is sent to a group of hosts.",
        file=ADDRESSES,
        kept='        "224.0.0.0/4",  # multicast\n',
        removed="",
        tests=SPELLED,
    ),
    Guard(
        name="numbers in odd spellings are refused",
        promise="2130706433, 127.1 and 0x7f.1 are no hosts.",
        file=TARGET,
        kept="    if NUMERIC_LABEL.fullmatch(labels[-1]):\n",
        removed="    if len(labels) == 4 and NUMERIC_LABEL.fullmatch(labels[-1]):\n",
        tests=SPELLED,
    ),
    Guard(
        name="no user name in a link",
        promise="No two parsers disagree about the host.",
        file=TARGET,
        kept='    if "@" in authority:\n',
        removed='    authority = authority.rpartition("@")[2]\n    if "@" in authority:\n',
        tests=SPELLED,
    ),
    Guard(
        name="no control characters or backslashes in a link",
        promise="A link is one line and one host.",
        file=TARGET,
        kept='    if UNPRINTABLE.search(url) or "\\\\" in url:\n',
        removed="    if UNPRINTABLE.search(url[:0]):\n",
        tests=SPELLED,
    ),
    Guard(
        name="http and https only",
        promise="No file and no other protocol is opened.",
        file=TARGET,
        kept="    if scheme not in DEFAULT_PORTS:\n",
        removed="    DEFAULT_PORTS.setdefault(scheme, 80)\n    if scheme not in DEFAULT_PORTS:\n",
        tests=SPELLED,
    ),
    Guard(
        name="a refusal does not repeat the link",
        promise="A signed link is not logged because it was refused.",
        file=TARGET,
        kept='        raise refused("the link is not an absolute URL")\n',
        removed='        raise refused(f"{url} is not an absolute URL")\n',
        tests=SPELLED,
    ),
)
