"""A Kubernetes of one node: etcd, kube-apiserver, kube-scheduler, containerd and kubelet."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.cluster.build import command, program
from tests.cluster.namespace import Namespace

NODE = "node1"
POD_TEMPLATE = "flyte-template"
SHARED = "/shared"
"""A folder that all pods see, as if it were on a network file system."""


@dataclass(frozen=True)
class Kubernetes:
    """A client of the API server, as an administrator."""

    session: requests.Session
    server: str
    kubeconfig: Path

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON answer; requests.HTTPError with the server's words where it refuses."""
        merge = {"Content-Type": "application/merge-patch+json"} if method == "PATCH" else {}
        answer = self.session.request(
            method, f"{self.server}{path}", json=body, headers=merge, timeout=30
        )
        if not answer.ok:
            raise requests.HTTPError(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json()

    def ready(self) -> bool:
        """Whether the server says that it is."""
        with suppress(requests.ConnectionError, OSError):  # OSError: no certificate yet
            return self.session.get(f"{self.server}/readyz", timeout=5).ok
        return False

    def has(self, path: str) -> bool:
        """Whether there is such a resource, or kind of resource."""
        return self.session.get(f"{self.server}{path}", timeout=30).ok

    def items(self, path: str) -> list[Any]:
        """The resources of a list."""
        found: list[Any] = self.call("GET", path)["items"]
        return found

    def changes(self, path: str, version: str) -> Iterator[Any]:
        """The resources of a list as they change, for a second from `version` on."""
        watch = f"{self.server}{path}&watch=1&timeoutSeconds=1&resourceVersion={version}"
        with self.session.get(watch, stream=True, timeout=30) as answer:
            answer.raise_for_status()
            for event in map(json.loads, answer.iter_lines()):
                if event["type"] == "ERROR":
                    raise requests.HTTPError(f"{path}: {event['object']}")
                yield event["object"]

    def node_ready(self) -> bool:
        """Whether the node can take pods."""
        return any(
            condition["type"] == "Ready" and condition["status"] == "True"
            for node in self.items("/api/v1/nodes")
            for condition in node["status"].get("conditions", [])
        )


def start_api(space: Namespace, ports: Sequence[int]) -> Kubernetes:
    """Start etcd, the API server and the scheduler; `ports`: two of etcd's, the API's."""
    etcd, peers = (f"http://127.0.0.1:{port}" for port in ports[:2])
    folder, token = space.folder, secrets.token_hex(16)
    account = folder / "account.key"
    ecdsa = ("ecparam", "-name", "prime256v1", "-genkey", "-noout")
    subprocess.run([command("openssl"), *ecdsa, "-out", account], check=True)
    (folder / "tokens.csv").write_text(f"{token},admin,admin,system:masters\n")
    space.start([command("etcd"), "--data-dir", folder / "etcd", "--listen-client-urls", etcd,
                 "--advertise-client-urls", etcd, "--listen-peer-urls", peers,
                 "--initial-advertise-peer-urls", peers,
                 "--initial-cluster", f"default={peers}"])  # fmt: skip
    session = requests.Session()
    session.trust_env = False
    session.headers["Authorization"] = f"Bearer {token}"
    session.verify = str(folder / "pki/apiserver.crt")
    server = f"https://127.0.0.1:{ports[2]}"
    kubernetes = Kubernetes(session, server, folder / "kubeconfig")
    kubernetes.kubeconfig.write_text(_kubeconfig(server, token, folder / "pki/apiserver.crt"))
    space.start([program("kube-apiserver"), f"--etcd-servers={etcd}", "--bind-address=127.0.0.1",
                 f"--secure-port={ports[2]}", f"--cert-dir={folder / 'pki'}",
                 "--authorization-mode=AlwaysAllow", f"--token-auth-file={folder / 'tokens.csv'}",
                 "--service-account-issuer=https://kubernetes.test",
                 f"--service-account-key-file={account}",
                 f"--service-account-signing-key-file={account}",
                 "--service-cluster-ip-range=10.96.0.0/24",
                 "--disable-admission-plugins=ServiceAccount"], kubernetes.ready)  # fmt: skip
    space.start([program("kube-scheduler"), f"--kubeconfig={kubernetes.kubeconfig}",
                 "--secure-port=0", "--leader-elect=false"])  # fmt: skip
    return kubernetes


def start_node(space: Namespace, kubernetes: Kubernetes, port: int, pause: str) -> None:
    """Start containerd and kubelet; `pause` is the image of pods' sandboxes."""
    socket = space.folder / "containerd.sock"
    for path, text in _node_files(space.folder, socket, port, pause).items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    space.start(
        [command("containerd"), "--config", space.folder / "containerd.toml"], socket.is_socket
    )
    space.start([program("kubelet"), f"--config={space.folder / 'kubelet.json'}",
                 f"--kubeconfig={kubernetes.kubeconfig}", f"--hostname-override={NODE}",
                 f"--root-dir={space.folder / 'kubelet'}",
                 f"--cert-dir={space.folder / 'kubelet/pki'}"], kubernetes.node_ready)  # fmt: skip
    # The controller that takes this taint away does not run.
    kubernetes.call("PATCH", f"/api/v1/nodes/{NODE}", {"spec": {"taints": None}})


def remove_cgroups(folder: Path) -> None:
    """Remove what the kernel keeps of containers that ended with the namespace in `folder`."""
    containers = folder / "state/io.containerd.runtime.v2.task/k8s.io"
    names = {path.name for path in containers.glob("*")}
    for group in Path("/sys/fs/cgroup").glob("**/k8s.io"):
        for child in group.iterdir():
            if child.name in names:
                child.rmdir()
        with suppress(OSError):  # another containerd's are in it
            group.rmdir()


def add_namespace(kubernetes: Kubernetes, name: str, shared: Path) -> None:
    """Make a namespace whose pods use the machine's network and have `shared` at SHARED."""
    kubernetes.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    mount = {"name": "shared", "mountPath": SHARED}
    spec = {
        "hostNetwork": True,
        "automountServiceAccountToken": False,
        # Flyte takes what `default` has into every container.
        "containers": [{"name": "default", "image": "none", "volumeMounts": [mount]}],
        "volumes": [{"name": "shared", "hostPath": {"path": str(shared)}}],
    }
    template = {"metadata": {"name": POD_TEMPLATE}, "template": {"spec": spec}}
    kubernetes.call("POST", f"/api/v1/namespaces/{name}/podtemplates", template)


def _kubeconfig(server: str, token: str, authority: Path) -> str:
    cluster = {"server": server, "certificate-authority": str(authority)}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "admin", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
            "current-context": "test",
        }
    )


def _node_files(folder: Path, socket: Path, port: int, pause: str) -> dict[Path, str]:
    # The node counts as ready once there is a network; pods on the machine's own never use it.
    network = {"cniVersion": "0.4.0", "name": "none", "plugins": [{"type": "loopback"}]}
    kubelet = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": "127.0.0.1",
        "port": port,
        "healthzPort": 0,
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": False,
        "containerRuntimeEndpoint": f"unix://{socket}",
        "enforceNodeAllocatable": [],
        "evictionHard": {},
        "failCgroupV1": False,
        "failSwapOn": False,
        "localStorageCapacityIsolation": False,
        "makeIPTablesUtilChains": False,
        "maxPods": 500,
        "podLogsDir": str(folder / "pods"),
        "registryPullQPS": 0,
        "serializeImagePulls": False,
    }
    return {
        folder / "cni/none.conflist": json.dumps(network),
        folder / "kubelet.json": json.dumps(kubelet),
        folder / "containerd.toml": _CONTAINERD.format(folder=folder, socket=socket, pause=pause),
    }


# runc cannot lower a process's OOM score where the machine forbids it.
_CONTAINERD = """\
version = 2
root = "{folder}/containerd"
state = "{folder}/state"
[grpc]
address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
path = "{folder}/opt"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{folder}/cni"
conf_dir = "{folder}/cni"
"""
