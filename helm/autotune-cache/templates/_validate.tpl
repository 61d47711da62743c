{{/* Values that contradict each other. A schema could refuse them too, but not say why. */}}
{{- define "autotune-cache.validate" -}}
{{- $values := .Values -}}
{{- $url := $values.store.url -}}
{{- if not $url }}
{{- fail "store.url is not set: where the fleet's results are, for example --set store.url=s3://models/autotune" }}
{{- else if not (regexMatch "^[a-z][a-z0-9+.-]*://." $url) }}
{{- fail (printf "store.url is %q: it needs a scheme, for example s3://%s" $url (trimPrefix "/" $url)) }}
{{- else if regexMatch "^[a-z0-9+.-]+://[^/]*@" $url }}
{{- fail "store.url has credentials in it: everybody who can read pods would see them; use store.existingSecret" }}
{{- end }}
{{- if not $values.image.repository }}
{{- fail "image.repository is not set: where you pushed our image (docs/install.md), for example --set image.repository=registry.example.com/autotune-cache. Labelled pods cannot start without it" }}
{{- end }}
{{- if and (eq $values.tuning.tuner "command") (not $values.tuning.tunerCommand) }}
{{- fail "tuning.tuner is command, and tuning.tunerCommand does not say which" }}
{{- end }}
{{- if and $values.tuning.tunerCommand (ne $values.tuning.tuner "command") }}
{{- $used := false }}
{{- range $values.prewarm }}{{ if eq (default "" .tuner) "command" }}{{ $used = true }}{{ end }}{{ end }}
{{- if not $used }}
{{- fail (printf "tuning.tunerCommand is set, and tuning.tuner is %s: set tuning.tuner=command" $values.tuning.tuner) }}
{{- end }}
{{- end }}
{{- if and (ne $values.tuning.mode "init") (not $values.gpu.name) (not $values.gpu.facts) (not $values.gpu.perPod) $values.policy.enabled }}
{{- fail (printf "tuning.mode is %s, so the init containers see no GPU: say which it is by gpu.name (or gpu.facts), or set gpu.perPod=true and annotate every pod with autotune-cache.dev/gpu-name" $values.tuning.mode) }}
{{- end }}
{{- if and $values.gpu.facts (not (hasPrefix "{" (trim $values.gpu.facts))) }}
{{- fail "gpu.facts does not begin with {: give the JSON that autotune-init facts printed, not a file's name (--set-file gpu.facts=facts.json)" }}
{{- end }}
{{- $hostPath := $values.cache.hostPath }}
{{- if and $hostPath.path (not $hostPath.allowed) }}
{{- fail "cache.hostPath.path is set without cache.hostPath.allowed=true: such pods are refused wherever PodSecurity baseline is enforced" }}
{{- else if and $hostPath.allowed (not $hostPath.path) }}
{{- fail "cache.hostPath.allowed is set without cache.hostPath.path" }}
{{- end }}
{{- if gt (len (compact (list $values.cache.existingClaim $values.cache.sizeLimit $hostPath.path))) 1 }}
{{- fail "cache.existingClaim, cache.hostPath and cache.sizeLimit (of an emptyDir) are three kinds of volume: set one" }}
{{- end }}
{{- if and $values.event.enabled (not $values.event.serviceAccounts) }}
{{- fail "event.enabled needs event.serviceAccounts: a list of namespace and name, whose pods may create Events" }}
{{- end }}
{{- $names := list }}
{{- range $values.prewarm }}
{{- if has .name $names }}
{{- fail (printf "prewarm has two entries of the name %s" .name) }}
{{- end }}
{{- $names = append $names .name }}
{{- $tuner := default $values.tuning.tuner .tuner }}
{{- if eq $tuner "none" }}
{{- fail (printf "prewarm %s: tuning.tuner is none, and a Job that only pulls warms nothing; set its tuner" .name) }}
{{- else if and (eq $tuner "command") (not $values.tuning.tunerCommand) }}
{{- fail (printf "prewarm %s: its tuner is command, and tuning.tunerCommand does not say which" .name) }}
{{- end }}
{{- end }}
{{- end }}
