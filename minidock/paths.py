"""Where everything lies on disk: one place that knows the names, so that many engines can share a host.

Below the *data root* lies what must survive a reboot, below the *exec root* what must not.

    DATA-ROOT/images/              OCI image layout: oci-layout, index.json, blobs/sha256/, repositories.json
    DATA-ROOT/layers/<chain id>/   unpacked layers: diff/, and layer.json; layers/l/<26 letters> short links
    DATA-ROOT/containers/<id>/     config.json, state.json, exit.json, hosts, hostname, <id>-json.log, ...
    DATA-ROOT/containers/<id>/rw/  the read-write layer: diff/ (upperdir) and work/ (workdir)
    DATA-ROOT/volumes/<name>/      named and anonymous volumes: _data/ and volume.json
    DATA-ROOT/init-layer/          the layer between every image and its containers
    DATA-ROOT/cache/seccomp/       compiled seccomp filters by digest
    EXEC-ROOT/minidock.sock        the API; EXEC-ROOT/minidock.pid, lock, daemon.log
    EXEC-ROOT/containers/<id>/s    the shim's control socket
"""

import os
from dataclasses import dataclass

DEFAULT_DATA_ROOT = "/var/lib/minidock"
DEFAULT_EXEC_ROOT = "/run/minidock"
DEFAULT_HOST = "unix:///run/minidock/minidock.sock"


@dataclass(frozen=True)
class Paths:
    """The two roots of one engine and the names below them; all paths are absolute strings."""

    data_root: str = DEFAULT_DATA_ROOT
    exec_root: str = DEFAULT_EXEC_ROOT

    @property
    def images(self) -> str:
        return os.path.join(self.data_root, "images")

    @property
    def layers(self) -> str:
        return os.path.join(self.data_root, "layers")

    @property
    def containers(self) -> str:
        return os.path.join(self.data_root, "containers")

    @property
    def seccomp_cache(self) -> str:
        return os.path.join(self.data_root, "cache", "seccomp")

    @property
    def temporary(self) -> str:
        return os.path.join(self.data_root, "tmp")

    @property
    def pid_file(self) -> str:
        return os.path.join(self.exec_root, "minidock.pid")

    @property
    def lock_file(self) -> str:
        return os.path.join(self.exec_root, "lock")

    @property
    def daemon_log(self) -> str:
        return os.path.join(self.exec_root, "daemon.log")

    def container(self, identifier: str) -> str:
        """Return the durable directory of one container."""
        return os.path.join(self.containers, identifier)

    def shim_directory(self, identifier: str) -> str:
        """Return the directory of the shim's control socket `s`."""
        return os.path.join(self.exec_root, "containers", identifier)
