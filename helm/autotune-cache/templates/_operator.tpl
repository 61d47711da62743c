{{/* A pod that runs cache-store against the bucket, with the rights of our own Jobs: dict context, name, args. */}}
{{- define "autotune-cache.operatorPod" -}}
{{- $ := .context -}}
restartPolicy: Never
serviceAccountName: {{ include "autotune-cache.serviceAccountName" $ }}
automountServiceAccountToken: false
securityContext: {{- toYaml $.Values.podSecurityContext | nindent 2 }}
{{- with $.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
containers:
  - name: {{ .name }}
    image: {{ include "autotune-cache.image" $ }}
    imagePullPolicy: {{ $.Values.image.pullPolicy }}
    args: {{ prepend .args "store" | toJson }}
    env:
      {{- range include "autotune-cache.settings" $ | fromYamlArray }}
      {{- if and .value (or (hasPrefix "AUTOTUNE_STORE" .name) (eq .name "AUTOTUNE_REQUEST_TIMEOUT")) }}
      - name: {{ regexReplaceAll "^AUTOTUNE_STORE_(AWS|GOOGLE|AZURE)_" .name "${1}_" }}
        value: {{ .value | quote }}
      {{- end }}
      {{- end }}
    {{- with $.Values.store.existingSecret }}
    envFrom:
      - secretRef:
          name: {{ . }}
          optional: true
    {{- end }}
    securityContext: {{- mergeOverwrite (deepCopy $.Values.securityContext) (dict "readOnlyRootFilesystem" true) | toYaml | nindent 6 }}
    resources:
      requests: {cpu: 100m, memory: 128Mi}
      limits: {memory: 256Mi}
    {{- if $.Values.store.caConfigMap }}
    volumeMounts:
      - name: autotune-ca
        mountPath: /autotune-ca
        readOnly: true
    {{- end }}
{{- if $.Values.store.caConfigMap }}
volumes:
  - {{- include "autotune-cache.caVolume" $ | nindent 4 }}
{{- end }}
{{- end }}
