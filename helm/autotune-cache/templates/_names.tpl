{{- define "autotune-cache.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* 50, so that what is put behind it still fits into the 63 of a label and the 52 of a CronJob */}}
{{- define "autotune-cache.fullname" -}}
{{- $name := include "autotune-cache.name" . -}}
{{- if .Values.fullnameOverride }}{{ .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* Cluster-scoped objects of two releases must not meet */}}
{{- define "autotune-cache.clusterName" -}}
{{- printf "%s.%s" (include "autotune-cache.fullname" .) .Release.Namespace }}
{{- end }}

{{- define "autotune-cache.selectorLabels" -}}
app.kubernetes.io/name: {{ include "autotune-cache.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "autotune-cache.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "autotune-cache.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "autotune-cache.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest }}{{ printf "%s@%s" $image.repository $image.digest }}
{{- else }}{{ printf "%s:%s" $image.repository (default .Chart.AppVersion $image.tag) }}
{{- end }}
{{- end }}

{{- define "autotune-cache.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}{{ default (include "autotune-cache.fullname" .) .Values.serviceAccount.name }}
{{- else }}{{ default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* The version of the admission API in which this cluster serves a kind: "v1", "v1beta1" or nothing */}}
{{- define "autotune-cache.admissionVersion" -}}
{{- $group := "admissionregistration.k8s.io" -}}
{{- if .root.Capabilities.APIVersions.Has (printf "%s/v1/%s" $group .kind) }}v1
{{- else if .root.Capabilities.APIVersions.Has (printf "%s/v1beta1/%s" $group .kind) }}v1beta1
{{- end }}
{{- end }}

{{/* What a pod does when nothing is found: only in mode init does it have the GPUs to tune with */}}
{{- define "autotune-cache.podTuner" -}}
{{- if eq .Values.tuning.mode "init" }}{{ .Values.tuning.tuner }}
{{- else if eq .Values.tuning.mode "job" }}wait
{{- else }}none
{{- end }}
{{- end }}
