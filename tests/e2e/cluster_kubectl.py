"""kubectl for tests: every wait has a deadline, and a failed one shows what the namespace looked like."""

import json
import subprocess
import time
from dataclasses import dataclass, replace

POLL_S = 0.3
COMMAND_S = 60


class KubectlError(AssertionError):
    """A command failed or something did not happen in time; the message holds describe, events and logs."""


@dataclass(frozen=True)
class Kubectl:
    """kubectl in one namespace. `environ` is the whole environment of its children (KUBECONFIG, PATH with helm)."""

    environ: dict[str, str]
    namespace: str = "default"

    def within(self, namespace):
        return replace(self, namespace=namespace)

    def run(self, *arguments, stdin=None, within_s=COMMAND_S):
        """stdout of `kubectl --namespace NS ARGUMENTS`."""
        return self.call("kubectl", "--namespace", self.namespace, *arguments, stdin=stdin, within_s=within_s)

    def helm(self, *arguments, within_s=180):
        return self.call("helm", "--namespace", self.namespace, *arguments, within_s=within_s)

    def call(self, *command, stdin=None, within_s=COMMAND_S):
        line = " ".join(command)
        try:
            done = subprocess.run(
                command,
                env=self.environ,
                input=stdin,
                capture_output=True,
                text=True,
                timeout=within_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise KubectlError(f"`{line}` took more than {within_s} s\n{self.picture()}") from error
        if done.returncode:
            raise KubectlError(f"`{line}` failed ({done.returncode}):\n{done.stderr}{done.stdout[-2000:]}")
        return done.stdout

    def apply(self, *manifests):
        """Manifests as dicts (or text), server-side validated."""
        texts = [each if isinstance(each, str) else json.dumps(each) for each in manifests]
        return self.run("apply", "-f", "-", stdin="\n---\n".join(texts))

    def apply_told(self, manifest, *flags):
        """What a person at a terminal reads when applying it: kubectl's warnings too."""
        command = ["kubectl", "--namespace", self.namespace, "apply", "-f", "-", *flags]
        done = subprocess.run(
            command,
            env=self.environ,
            input=json.dumps(manifest),
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
        if done.returncode:
            raise KubectlError(f"`{' '.join(command)}` failed ({done.returncode}):\n{done.stderr}")
        return done.stdout + done.stderr

    def refused(self, *manifests):
        """The API server's words about manifests that it must not take."""
        try:
            told = self.apply(*manifests)
        except KubectlError as error:
            return str(error)
        raise KubectlError(f"the API server took what it should refuse: {told}")

    def get(self, kind, name):
        return json.loads(self.run("get", kind, name, "-o", "json"))

    def items(self, kind, selector=""):
        return json.loads(self.run("get", kind, "-o", "json", "-l", selector))["items"]

    def logs(self, pod, container, *more):
        return self.run("logs", pod, "-c", container, *more)

    def delete_pod(self, name):
        self.run("delete", "pod", name, "--grace-period=1", "--wait", "--timeout=40s")

    def wait(self, kind, name, is_so, *, within_s=60, what=""):
        """The object, as soon as `is_so(object)`. KubectlError with the picture of the namespace after `within_s`."""
        limit = time.monotonic() + within_s
        while True:
            found = self.get(kind, name)
            if is_so(found):
                return found
            if time.monotonic() > limit:
                status = json.dumps(found.get("status"), indent=1)
                message = (
                    f"{kind}/{name} is not {what or is_so.__name__} after {within_s} s; its status:\n{status}"
                )
                raise KubectlError(f"{message}\n{self.picture()}")
            time.sleep(POLL_S)

    def wait_ready(self, pod, within_s=60):
        return self.wait("pod", pod, is_ready, within_s=within_s)

    def wait_ended(self, pod, within_s=60):
        return self.wait("pod", pod, is_ended, within_s=within_s)

    def wait_rolled_out(self, deployment, within_s=60):
        return self.wait("deployment", deployment, is_rolled_out, within_s=within_s)

    def termination(self, pod, container):
        """Exit code and termination message of a container (or init container) that has ended."""
        state = container_status(self.get("pod", pod), container)["state"]["terminated"]
        return state["exitCode"], state.get("message", "")

    def events(self, about):
        """Reason and message of each event about the object of that name, oldest first."""
        found = self.items("events")
        about_it = [each for each in found if each["involvedObject"]["name"] == about]
        about_it.sort(key=lambda each: each["metadata"]["creationTimestamp"])
        return [(each["reason"], each["message"]) for each in about_it]

    def picture(self):
        """describe, events and logs of everything in the namespace: what one would ask for next."""
        parts = [self._told("describe", "pods")[-6000:]]
        parts.append(self._told("get", "events", "--sort-by=.metadata.creationTimestamp")[-4000:])
        for pod in json.loads(self._told("get", "pods", "-o", "json") or "{}").get("items", []):
            name = pod["metadata"]["name"]
            spec = pod["spec"]
            for container in [*spec.get("initContainers", []), *spec["containers"]]:
                told = self._told("logs", name, "-c", container["name"], "--tail=40")
                if told:
                    parts.append(f"--- logs of {name}/{container['name']}\n{told}")
        return "\n".join(parts)

    def _told(self, *arguments):
        command = ["kubectl", "--namespace", self.namespace, *arguments]
        done = subprocess.run(
            command, env=self.environ, capture_output=True, text=True, timeout=30, check=False
        )
        return done.stdout


def is_ready(pod):
    conditions = pod.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def is_ended(pod):
    return pod["status"].get("phase") in ("Succeeded", "Failed")


def is_rolled_out(deployment):
    status = deployment.get("status", {})
    wanted = deployment["spec"]["replicas"]
    is_seen = status.get("observedGeneration") == deployment["metadata"]["generation"]
    counts = (status.get("updatedReplicas"), status.get("availableReplicas"), status.get("replicas"))
    return is_seen and counts == (wanted, wanted, wanted)


def container_status(pod, container):
    status = pod["status"]
    for each in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        if each["name"] == container:
            return each
    raise KubectlError(f"the pod has no status of container {container}: {json.dumps(status)[:2000]}")
