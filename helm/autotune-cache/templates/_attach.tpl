{{/*
For charts of your own, which need no policy: the parts that the label's pods get, as YAML. A chart that depends on this
one passes (dict "context" (index .Subcharts "autotune-cache") "container" $engine), where $engine is the engine's
container as a dict, and renders the same dict itself (examples/own-chart).

  autotune-cache.initContainers  our init containers, to be put last: the program's, and a copy of the engine's
  autotune-cache.volumes         our volumes
  autotune-cache.engineEnv       variables that the engine gets besides its own
  autotune-cache.engineMounts    mounts that it gets besides its own

What the engine's container states wins, as with the label.
*/}}
{{- define "autotune-cache.engineVariables" -}}
SGLANG_CACHE_DIR: sglang
VLLM_FLASHINFER_AUTOTUNE_CACHE_DIR: vllm
FLASHINFER_AUTOTUNE_CACHE_DIR: flashinfer
{{- end }}

{{- define "autotune-cache.engineEnv" -}}
{{- $values := .context.Values -}}
{{- $named := list }}{{ range .container.env }}{{ $named = append $named .name }}{{ end }}
{{- range $name, $folder := include "autotune-cache.engineVariables" . | fromYaml }}
{{- if and (not (has $name $named)) (or (not $values.tuning.engine) (eq $folder $values.tuning.engine)) }}
- name: {{ $name }}
  value: {{ printf "%s/%s" $values.cache.mountPath $folder }}
{{- end }}
{{- end }}
{{- end }}

{{- define "autotune-cache.engineMounts" -}}
{{- $path := .context.Values.cache.mountPath -}}
{{- $taken := list }}{{ range .container.volumeMounts }}{{ $taken = append $taken .mountPath }}{{ end }}
{{- if not (has $path $taken) -}}
- name: autotune-cache
  mountPath: {{ $path }}
{{- end }}
{{- end }}

{{- define "autotune-cache.volumes" -}}
{{- include "autotune-cache.validate" .context }}
{{- include "autotune-cache.podVolumes" . }}
{{- end }}

{{- define "autotune-cache.podVolumes" -}}
- {{- include "autotune-cache.programVolume" .context | nindent 2 }}
- {{- include "autotune-cache.cacheVolume" .context | nindent 2 }}
{{- if .context.Values.store.caConfigMap }}
- {{- include "autotune-cache.caVolume" .context | nindent 2 }}
{{- end }}
{{- end }}

{{- define "autotune-cache.initContainers" -}}
{{- if eq .context.Values.program.source "copy" }}
{{- /* resources and user are the engine's: what lets the engine in lets this in too */}}
{{- $program := include "autotune-cache.programContainer" .context | fromYaml }}
{{- $security := omit (deepCopy (default dict .container.securityContext)) "privileged" "procMount" }}
{{- $_ := set $security "allowPrivilegeEscalation" false }}
{{- $_ := set $security "readOnlyRootFilesystem" true }}
{{- $_ := set $security "capabilities" (dict "drop" (list "ALL")) }}
{{- $_ := set $program "securityContext" $security }}
{{- with .container.resources }}
{{- $_ := set $program "resources" (include "autotune-cache.withoutDevices" . | fromYaml) }}
{{- end }}
- {{- toYaml $program | nindent 2 }}
{{- end }}
- {{- include "autotune-cache.initContainer" . | nindent 2 }}
{{- end }}

{{/* Without extended resources (those with a domain that is not Kubernetes' own) and claims */}}
{{- define "autotune-cache.withoutDevices" -}}
{{- $kept := dict }}
{{- range $part, $amounts := omit . "claims" }}
{{- $left := dict }}
{{- range $name, $amount := $amounts }}
{{- if or (not (contains "/" $name)) (contains "kubernetes.io/" $name) }}{{ $_ := set $left $name $amount }}{{ end }}
{{- end }}
{{- $_ := set $kept $part $left }}
{{- end }}
{{- toYaml $kept }}
{{- end }}

{{/* The copy of the engine's container alone. Arguments after "run" are in .flags. */}}
{{- define "autotune-cache.initContainer" -}}
{{- $values := .context.Values -}}
{{- $keepsDevices := eq $values.tuning.mode "init" -}}
{{- $container := deepCopy (omit .container "ports" "livenessProbe" "readinessProbe" "startupProbe" "lifecycle" "resizePolicy" "restartPolicy" "restartPolicyRules" "stdin" "stdinOnce" "tty") -}}
{{- $_ := set $container "name" "autotune-init" -}}
{{- $_ := set $container "command" (concat (list (include "autotune-cache.start" .context) "run") (default list .flags) (list "--")) -}}
{{- $_ := set $container "args" (concat (default list .container.command) (default list .container.args)) -}}
{{- if not $container.args }}{{ fail "the engine's container has neither command nor args, so its command line is not known" }}{{ end -}}
{{- $_ := set $container "terminationMessagePath" "/dev/termination-log" -}}
{{- $_ := set $container "terminationMessagePolicy" "FallbackToLogsOnError" -}}
{{- $env := default list .container.env -}}
{{- if not $keepsDevices }}
{{- if .container.resources }}{{ $_ := set $container "resources" (include "autotune-cache.withoutDevices" .container.resources | fromYaml) }}{{ end }}
{{- /* without the GPUs any other value would show all of the node's, where the runtime allows it */}}
{{- $left := list (dict "name" "NVIDIA_VISIBLE_DEVICES" "value" "void") }}
{{- range $env }}{{ if ne .name "NVIDIA_VISIBLE_DEVICES" }}{{ $left = append $left . }}{{ end }}{{ end }}
{{- $env = $left }}
{{- end }}
{{- $named := list }}{{ range $env }}{{ $named = append $named .name }}{{ end }}
{{- $env = concat $env (include "autotune-cache.engineEnv" . | fromYamlArray) }}
{{- range include "autotune-cache.settings" .context | fromYamlArray }}
{{- if and .value (not (has .name $named)) }}{{ $env = append $env (dict "name" .name "value" .value) }}{{ end }}
{{- end }}
{{- $_ := set $container "env" $env }}
{{- if $values.store.existingSecret }}
{{- /* first, so that what the owner brings in wins */}}
{{- $_ := set $container "envFrom" (prepend (default list $container.envFrom) (include "autotune-cache.credentials" .context | fromYaml)) }}
{{- end }}
{{- $mounts := concat (default list .container.volumeMounts) (include "autotune-cache.engineMounts" . | fromYamlArray) }}
{{- $_ := set $container "volumeMounts" (concat $mounts (include "autotune-cache.initMounts" .context | fromYamlArray)) }}
{{- toYaml $container }}
{{- end }}
