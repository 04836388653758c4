"""Where the container engine is (DOCKER_HOST, contexts, the default socket), and raw connections to it."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import ssl
import subprocess
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from docker import APIClient
from docker.tls import TLSConfig
from msgspec import Struct

from lab.errors import EngineError

DEFAULT_ADDRESS = "unix:///var/run/docker.sock"


class TlsFiles(Struct, frozen=True):
    """Certificates of a TLS endpoint; `verify` False where the user's context says so."""

    ca: Path | None
    certificate: Path | None
    key: Path | None
    verify: bool = True


class Endpoint(Struct, frozen=True):
    """An engine's address and how it was found, for messages."""

    address: str  #: "unix:///var/run/docker.sock", "tcp://host:2376", "ssh://user@host"
    found: str  #: "DOCKER_HOST", "docker context remote", "the default socket", "the lab's own engine"
    tls: TlsFiles | None = None
    named: bool = True  #: someone chose it; False for the default socket, which another may replace

    def client(self, version: str, timeout: float) -> APIClient:
        """An SDK client. It connects with its first request, not before."""
        tls: TLSConfig | bool = False
        if self.tls is not None:
            pair = None
            if self.tls.certificate is not None and self.tls.key is not None:
                pair = (str(self.tls.certificate), str(self.tls.key))
            ca = str(self.tls.ca) if self.tls.ca is not None else None
            tls = TLSConfig(client_cert=pair, ca_cert=ca, verify=self.tls.verify)
        return APIClient(
            base_url=self.address,
            version=version,
            timeout=int(timeout),
            tls=tls,
            use_ssh_client=self.address.startswith("ssh://"),
            max_pool_size=32,
        )

    def connect(self, timeout: float = 10.0) -> socket.socket:
        """A raw connection to the engine's API, for the calls that turn into a stream."""
        parts = urlsplit(self.address)
        try:
            if parts.scheme == "unix":
                return _unix(parts.path, timeout)
            if parts.scheme == "ssh":
                return _ssh(parts)
            plain = socket.create_connection((parts.hostname or "", parts.port or 2375), timeout)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return plain if self.tls is None else _wrapped(plain, self.tls, parts.hostname or "")
        except OSError as error:
            reason = error.strerror or str(error)
            raise EngineError(
                f"{self.address} ({self.found}): cannot connect to the engine: {reason}",
                hint="see `lab doctor`",
            ) from error


def _unix(path: str, timeout: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(timeout)
    try:
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    return connection


def _ssh(parts: SplitResult) -> socket.socket:
    """As the docker command does: the engine's socket on the far machine on ssh's stdin and stdout."""
    ours, theirs = socket.socketpair()
    target = parts.hostname or ""
    argv = ["ssh"]
    if parts.username:
        argv += ["-l", parts.username]
    if parts.port:
        argv += ["-p", str(parts.port)]
    argv += ["--", target, "docker", "system", "dial-stdio"]
    with theirs:
        process = subprocess.Popen(
            argv, stdin=theirs.fileno(), stdout=theirs.fileno(), start_new_session=True
        )
    # It ends with the connection; Python must not complain that nobody waited for it.
    process.returncode = 0
    return ours


def _wrapped(plain: socket.socket, tls: TlsFiles, name: str) -> socket.socket:
    context = ssl.create_default_context(cafile=str(tls.ca) if tls.ca else None)
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.certificate is not None:
        context.load_cert_chain(str(tls.certificate), str(tls.key) if tls.key else None)
    return context.wrap_socket(plain, server_hostname=name)


def configured(environ: Mapping[str, str] = os.environ) -> Endpoint:
    """The endpoint that the docker command would use, in its order: DOCKER_HOST, DOCKER_CONTEXT, the
    configuration's current context, the default socket."""
    config = Path(environ.get("DOCKER_CONFIG") or Path(environ.get("HOME", "/")) / ".docker")
    if host := environ.get("DOCKER_HOST"):
        return Endpoint(host, "DOCKER_HOST", _tls_of_environment(environ, config))
    name = environ.get("DOCKER_CONTEXT") or _current_context(config)
    if name in ("", "default"):
        return Endpoint(DEFAULT_ADDRESS, "the default socket", named=False)
    return _context(config, name)


def _tls_of_environment(environ: Mapping[str, str], config: Path) -> TlsFiles | None:
    if not (environ.get("DOCKER_TLS_VERIFY") or environ.get("DOCKER_TLS")):
        return None
    folder = Path(environ.get("DOCKER_CERT_PATH") or config)
    return _tls_of_folder(folder, verify=bool(environ.get("DOCKER_TLS_VERIFY")))


def _tls_of_folder(folder: Path, *, verify: bool) -> TlsFiles | None:
    files = (folder / f"{stem}.pem" for stem in ("ca", "cert", "key"))
    ca, certificate, key = (file if file.exists() else None for file in files)
    return TlsFiles(ca, certificate, key, verify) if ca or certificate or key else None


def _current_context(config: Path) -> str:
    file = config / "config.json"
    try:
        content = json.loads(file.read_bytes())
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        raise EngineError(
            f"{file}: not readable as JSON: {error}", hint="mend or remove that file"
        ) from error
    return str(content.get("currentContext") or "") if isinstance(content, dict) else ""


def _context(config: Path, name: str) -> Endpoint:
    identity = hashlib.sha256(name.encode()).hexdigest()
    file = config / "contexts" / "meta" / identity / "meta.json"
    try:
        docker = json.loads(file.read_bytes())["Endpoints"]["docker"]
        address = str(docker["Host"])
    except FileNotFoundError as error:
        raise EngineError(
            f"the docker context {name!r} does not exist ({file})",
            hint="see `docker context ls`; `docker context use default` goes back to the default socket",
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EngineError(
            f"{file}: not a docker context: {error!r}", hint="see `docker context ls`"
        ) from error
    tls = _tls_of_folder(
        config / "contexts" / "tls" / identity / "docker", verify=not docker.get("SkipTLSVerify", False)
    )
    if tls is None and docker.get("SkipTLSVerify"):
        tls = TlsFiles(None, None, None, verify=False)
    return Endpoint(address, f"docker context {name}", tls)
