{{/* The parts that a pod gets, once for the policy (as CEL) and once for templates (as YAML). */}}

{{/*
Any value as a CEL literal. Maps and lists need dyn where their parts have different types, so every part gets it.
*/}}
{{- define "autotune-cache.cel" -}}
{{- if kindIs "map" . -}}
{ {{- $first := true }}{{ range $key, $value := . }}{{ if not $first }}, {{ end }}{{ $first = false }}{{ $key | toJson }}: dyn({{ include "autotune-cache.cel" $value }}){{ end -}} }
{{- else if kindIs "slice" . -}}
[{{ range $index, $value := . }}{{ if $index }}, {{ end }}dyn({{ include "autotune-cache.cel" $value }}){{ end }}]
{{- else -}}
{{ . | toJson }}
{{- end -}}
{{- end }}

{{- define "autotune-cache.programVolume" -}}
name: autotune-program
{{- if eq .Values.program.source "imageVolume" }}
image:
  reference: {{ include "autotune-cache.image" . }}
  pullPolicy: {{ .Values.image.pullPolicy }}
{{- else }}
emptyDir: {}
{{- end }}
{{- end }}

{{- define "autotune-cache.cacheVolume" -}}
name: autotune-cache
{{- if .Values.cache.existingClaim }}
persistentVolumeClaim:
  claimName: {{ .Values.cache.existingClaim }}
{{- else if .Values.cache.hostPath.allowed }}
hostPath:
  path: {{ .Values.cache.hostPath.path }}
  type: DirectoryOrCreate
{{- else if .Values.cache.sizeLimit }}
emptyDir:
  sizeLimit: {{ .Values.cache.sizeLimit }}
{{- else }}
emptyDir: {}
{{- end }}
{{- end }}

{{- define "autotune-cache.caVolume" -}}
name: autotune-ca
configMap:
  name: {{ .Values.store.caConfigMap }}
  optional: true
{{- end }}

{{/* What every pod's own service account gets from Kubernetes; kubelet renews the token before the hour is over */}}
{{- define "autotune-cache.tokenVolume" -}}
name: autotune-token
projected:
  sources:
    - serviceAccountToken:
        path: token
        expirationSeconds: 3607
    - configMap:
        name: kube-root-ca.crt
        optional: true
        items:
          - key: ca.crt
            path: ca.crt
    - downwardAPI:
        items:
          - path: namespace
            fieldRef:
              apiVersion: v1
              fieldPath: metadata.namespace
{{- end }}

{{/* Mounted beside /opt/autotune, where a volume would hide the very program that is to be copied */}}
{{- define "autotune-cache.programContainer" -}}
name: autotune-program
image: {{ include "autotune-cache.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
command: [/opt/autotune/start, copy, /autotune-program]
terminationMessagePath: /dev/termination-log
terminationMessagePolicy: FallbackToLogsOnError
volumeMounts:
  - name: autotune-program
    mountPath: /autotune-program
{{- end }}

{{/*
Where the launcher is in autotune-init. An image volume shows the whole image: containerd 2.1 ignores a subPath of one
without a word, and the pod would never start.
*/}}
{{- define "autotune-cache.start" -}}
{{ eq .Values.program.source "imageVolume" | ternary "/opt/autotune/opt/autotune/start" "/opt/autotune/start" }}
{{- end }}

{{- define "autotune-cache.initMounts" -}}
- name: autotune-program
  mountPath: /opt/autotune
{{- if eq .Values.program.source "imageVolume" }}
  readOnly: true
{{- end }}
{{- if .Values.store.caConfigMap }}
- name: autotune-ca
  mountPath: /autotune-ca
  readOnly: true
{{- end }}
{{- end }}

{{/* Optional, so that a missing Secret is a cold start and no pod that waits; prefixed, because the engine may have AWS_* for a bucket of its own */}}
{{- define "autotune-cache.credentials" -}}
prefix: AUTOTUNE_STORE_
secretRef:
  name: {{ .Values.store.existingSecret }}
  optional: true
{{- end }}

{{/*
What tells this cluster's replicas apart from those of another one that uses the same bucket: as stated, else the UID of
kube-system, which `helm template` cannot look up. Ends in a slash, or is empty.
*/}}
{{- define "autotune-cache.scope" -}}
{{- $cluster := .Values.tuning.groupScope | default (dig "metadata" "uid" "" (lookup "v1" "Namespace" "" "kube-system")) -}}
{{- if $cluster }}{{ $cluster }}/{{ end }}
{{- end }}

{{/*
What the program is told: a list of name with either a value, or `cel` where a pod's annotation may say otherwise. Empty
ones are left out.
*/}}
{{- define "autotune-cache.settings" -}}
{{- $ := . -}}
{{- $tuning := .Values.tuning -}}
- {name: AUTOTUNE_STORE, value: {{ .Values.store.url | toJson }}}
- {name: AUTOTUNE_TUNER, value: {{ include "autotune-cache.podTuner" . | toJson }}, cel: variables.tuner}
- {name: AUTOTUNE_TUNER_COMMAND, value: {{ $tuning.tunerCommand | toJson }}}
- name: AUTOTUNE_DEADLINE
  value: {{ $tuning.deadlineSeconds | int | toString | toJson }}
  {{- /* a pod that may live for ten minutes must not spend them here */}}
  cel: >-
    string(variables.spec.?activeDeadlineSeconds.orValue({{ mul 4 (int $tuning.deadlineSeconds) }}) < {{ mul 4 (int $tuning.deadlineSeconds) }} ?
    variables.spec.activeDeadlineSeconds / 4 + 1 : {{ int $tuning.deadlineSeconds }})
- {name: AUTOTUNE_WAIT, value: {{ $tuning.waitSeconds | int | toString | toJson }}}
- {name: AUTOTUNE_GROUP_WAIT, value: {{ $tuning.groupWaitSeconds | int | toString | toJson }}}
{{- $scope := include "autotune-cache.scope" . }}
- {name: AUTOTUNE_GROUP_SCOPE, value: {{ printf "%s%s" $scope .Release.Namespace | toJson }}, cel: {{ printf "'%s' + request.namespace" $scope | toJson }}}
- {name: AUTOTUNE_RESOLVER, value: {{ $tuning.resolver | toJson }}}
- {name: AUTOTUNE_ENGINE, value: {{ $tuning.engine | toJson }}, cel: variables.kind}
- {name: AUTOTUNE_ENGINE_VERSION, value: "", cel: "string(variables.ann[?'autotune-cache.dev/engine-version'].orValue(''))"}
- {name: AUTOTUNE_CACHE_DIR, value: "", cel: variables.stated}
{{- /* files that outlive a pod may have been quarantined meanwhile; a mount of the owner's may hold such */}}
{{- $local := ternary "recheck" "" (or (not (empty .Values.cache.existingClaim)) .Values.cache.hostPath.allowed) }}
- {name: AUTOTUNE_LOCAL, value: {{ $local | toJson }}, cel: {{ printf "variables.targets.size() < variables.places.size() ? 'recheck' : '%s'" $local | toJson }}}
- {name: AUTOTUNE_GPU_NAME, value: {{ .Values.gpu.name | toJson }}, cel: variables.gpuName}
- {name: AUTOTUNE_FACTS, value: {{ .Values.gpu.facts | trim | toJson }}}
{{- if .Values.event.enabled }}
- {name: AUTOTUNE_EVENT, value: "1"}
{{- end }}
{{- if .Values.report.toStore }}
- {name: AUTOTUNE_REPORT_TO_STORE, value: "1"}
{{- end }}
{{- with .Values.report.otlpEndpoint }}
- {name: AUTOTUNE_OTLP_ENDPOINT, value: {{ . | toJson }}}
{{- end }}
- {name: AUTOTUNE_STORE_AWS_ENDPOINT_URL_S3, value: {{ .Values.store.endpoint | toJson }}}
- {name: AUTOTUNE_STORE_AWS_REGION, value: {{ .Values.store.region | toJson }}}
{{- if .Values.store.caConfigMap }}
- {name: AUTOTUNE_STORE_AWS_CA_BUNDLE, value: {{ printf "/autotune-ca/%s" .Values.store.caKey | toJson }}}
{{- end }}
{{- range $name, $value := $tuning.settings }}
- {name: {{ $name }}, value: {{ $value | toString | toJson }}}
{{- end }}
{{- end }}
