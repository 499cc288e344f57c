"""OpenStack Swift with its S3 API in one process on loopback, in one folder: `serve_swift.py FOLDER`.

Runs in an environment of its own (requirements/swift.txt) and prints `listening on PORT` once it answers. It verifies
signatures, expiry and checksums, which the other S3 server of the tests does not. Nothing outside FOLDER is written.
"""

from __future__ import annotations

import eventlet

eventlet.monkey_patch()

import sys
from configparser import ConfigParser
from pathlib import Path

import eventlet.wsgi
from swift.common import utils
from swift.common.ring import RingBuilder

HOST = "127.0.0.1"
ACCOUNT_USER, ACCOUNT_KEY = "test:tester", "testing"
LARGEST_FILE = 5 << 30
Sections = dict[str, dict[str, str]]

SWIFT_CONF: Sections = {
    "swift-hash": {"swift_hash_path_suffix": "tests"},
    "storage-policy:0": {"name": "one", "default": "yes"},
    "swift-constraints": {"max_file_size": str(LARGEST_FILE)},
}
PIPELINE = "catch_errors listing_formats s3api tempauth bulk slo proxy-server"
PROXY: Sections = {
    "pipeline:main": {"pipeline": PIPELINE},
    "app:proxy-server": {"use": "egg:swift#proxy", "account_autocreate": "true", "allow_account_management": "true"},
    "filter:catch_errors": {"use": "egg:swift#catch_errors"},
    "filter:listing_formats": {"use": "egg:swift#listing_formats"},
    "filter:s3api": {"use": "egg:swift#s3api", "location": "us-east-1", "s3_acl": "false"},
    "filter:tempauth": {"use": "egg:swift#tempauth", "user_test_tester": f"{ACCOUNT_KEY} .admin"},
    "filter:bulk": {"use": "egg:swift#bulk"},
    "filter:slo": {"use": "egg:swift#slo", "rate_limit_after_segment": "10000"},
}


def main(folder: Path) -> None:
    """Write the configuration, start the three storage servers and the proxy, serve until killed."""
    (folder / "node/disk").mkdir(parents=True)
    _write(folder / "swift.conf", SWIFT_CONF)
    utils.SWIFT_CONF_FILE = str(folder / "swift.conf")
    utils.validate_hash_conf()

    from swift.common.storage_policy import reload_storage_policies
    from swift.common.wsgi import loadapp

    reload_storage_policies()
    for service, ring in (("account", "account"), ("container", "container"), ("object", "object")):
        socket = eventlet.listen((HOST, 0))
        _make_ring(folder / f"{ring}.ring.gz", socket.getsockname()[1])
        conf = {
            "DEFAULT": _defaults(folder) | {"devices": str(folder / "node"), "mount_check": "false"},
            "app:main": {"use": f"egg:swift#{service}"},
        }
        _write(folder / f"{service}.conf", conf)
        _serve(socket, loadapp(str(folder / f"{service}.conf")))
    socket = eventlet.listen((HOST, 0))
    _write(folder / "proxy.conf", {"DEFAULT": _defaults(folder), **PROXY})
    server = _serve(socket, loadapp(str(folder / "proxy.conf")))
    print(f"listening on {socket.getsockname()[1]}", flush=True)
    server.wait()


def _defaults(folder: Path) -> dict[str, str]:
    return {"swift_dir": str(folder), "log_level": "WARNING", "log_address": str(folder / "no-syslog"), "workers": "0"}


def _write(path: Path, sections: Sections) -> None:
    parser = ConfigParser(interpolation=None)
    parser.read_dict(sections)
    with path.open("w") as sink:
        parser.write(sink)


def _make_ring(path: Path, port: int) -> None:
    """One partition power, one replica, one device."""
    builder = RingBuilder(1, 1, 0)
    builder.add_dev({"id": 0, "region": 1, "zone": 1, "ip": HOST, "port": port, "device": "disk", "weight": 1.0})
    builder.rebalance()
    builder.get_ring().save(str(path))


def _serve(socket: object, app: object) -> eventlet.greenthread.GreenThread:
    return eventlet.spawn(eventlet.wsgi.server, socket, app, log_output=False, keepalive=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
