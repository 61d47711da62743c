{{/* Never these, whatever the binding's selector says */}}
{{- define "autotune-cache.policy.namespaces" -}}
matchExpressions:
  - key: kubernetes.io/metadata.name
    operator: NotIn
    values: [kube-system, kube-public, kube-node-lease]
{{- end }}

{{/*
CEL that the mutating policy (for a pod) and the warning policy (for a pod or a workload's template) share, so that all
of them come to the same sentence. The caller defines `pod`, a dyn with metadata and spec. Everything below is dyn:
Object types do not exist in variables, and a wrong type would only show when a pod is created.
*/}}
{{- define "autotune-cache.policy.variables" -}}
{{- $mount := .Values.cache.mountPath -}}
- name: ann
  expression: "variables.pod.?metadata.?annotations.orValue({})"
- name: spec
  expression: "variables.pod.spec"
- name: inits
  expression: "variables.spec.?initContainers.orValue([])"
- name: containers
  expression: "variables.spec.containers"
- name: volumes
  expression: "variables.spec.?volumes.orValue([])"
- name: wanting
  expression: >-
    variables.containers.filter(c, has(c.resources) && (c.resources.?claims.orValue([]).size() > 0 ||
      [c.resources.?limits.orValue({}), c.resources.?requests.orValue({})].exists(m,
        m.exists(k, k.startsWith('nvidia.com/') || k.contains('gpu')))))
- name: name
  expression: >-
    'autotune-cache.dev/container' in variables.ann ? variables.ann['autotune-cache.dev/container'] :
    variables.containers.size() == 1 ? variables.containers[0].name :
    variables.wanting.size() == 1 ? variables.wanting[0].name : ''
- name: index
  expression: "variables.containers.map(c, c.name).indexOf(variables.name)"
- name: engine
  expression: "variables.index < 0 ? dyn({}) : variables.containers[variables.index]"
- name: env
  expression: "variables.engine.?env.orValue([])"
- name: envNames
  expression: "variables.env.map(e, e.name)"
- name: paths # where the owner has mounted something
  expression: >-
    variables.engine.?volumeMounts.orValue([]).map(m, m.mountPath.endsWith('/') ? m.mountPath : m.mountPath + '/')
- name: taken # there, and where he has a block device, which is no directory
  expression: >-
    variables.paths + variables.engine.?volumeDevices.orValue([]).map(d, d.devicePath.endsWith('/') ? d.devicePath : d.devicePath + '/')
- name: line # the engine's own command line, as far as the pod says it
  expression: "variables.engine.?command.orValue([]) + variables.engine.?args.orValue([])"
- name: kind
  expression: >-
    string(variables.ann[?'autotune-cache.dev/engine'].orValue({{ .Values.tuning.engine | toJson }}))
- name: tuner
  expression: >-
    string(variables.ann[?'autotune-cache.dev/tuner'].orValue({{ include "autotune-cache.podTuner" . | toJson }}))
- name: keepsDevices
  expression: "{{ if ne .Values.tuning.mode "init" }}variables.tuner in ['engine', 'flashinfer-ops', 'command']{{ else }}true{{ end }}"
- name: gpuName
  expression: >-
    string(variables.ann[?'autotune-cache.dev/gpu-name'].orValue({{ .Values.gpu.name | toJson }}))
- name: stated
  expression: "string(variables.ann[?'autotune-cache.dev/cache-dir'].orValue(''))"
- name: own # the variables that say where the engines keep their results
  expression: >-
    [{'n': 'SGLANG_CACHE_DIR', 'd': 'sglang'}, {'n': 'VLLM_FLASHINFER_AUTOTUNE_CACHE_DIR', 'd': 'vllm'},
     {'n': 'FLASHINFER_AUTOTUNE_CACHE_DIR', 'd': 'flashinfer'}].filter(v, variables.kind == '' || v.d == variables.kind)
- name: unset
  expression: >-
    variables.own.filter(v, !(v.n in variables.envNames)).map(v, {'name': v.n,
      'value': variables.stated != '' ? variables.stated : {{ printf "%s/" $mount | toJson }} + v.d})
- name: given # the last of a name is the one that counts
  expression: >-
    variables.own.filter(v, v.n in variables.envNames).map(v, variables.env[variables.envNames.lastIndexOf(v.n)])
- name: unclear
  expression: >-
    variables.stated != '' ? [] : variables.given.filter(e, has(e.valueFrom) ||
      !e.?value.orValue('').matches('^(/[A-Za-z0-9_.@-]+)+/?$') || (e.value + '/').matches('/\\.\\.?/')).map(e, e.name)
- name: contradicting
  expression: >-
    variables.stated == '' ? [] : variables.given.filter(e, !has(e.valueFrom) && e.?value.orValue('') != '' &&
      e.value != variables.stated && e.value != variables.stated + '/').map(e, e.name)
- name: places # where the engine keeps its results
  expression: >-
    variables.stated != '' ? [variables.stated] :
      (variables.unset.size() > 0 ? [{{ $mount | toJson }}] : []) + variables.given.map(e, e.?value.orValue(''))
- name: targets # those of them that no mount of the owner covers
  expression: >-
    variables.places.map(p, p.endsWith('/') ? p : p + '/').filter(p, !variables.paths.exists(m, p.startsWith(m)))
- name: toMount
  expression: >-
    variables.targets.filter(p, !variables.targets.exists(q, q != p && p.startsWith(q))).map(p, p.substring(0, p.size() - 1))
- name: hiding # a volume there would hide what the image has there
  expression: >-
    variables.toMount.filter(p, p.matches('^/(proc|sys|dev|etc|usr|bin|sbin|lib|lib64|boot|run|var/run)(/.*)?$') ||
      p.matches('^/(root|home|home/[^/]+|root/\\.cache|home/[^/]+/\\.cache|root/\\.cache/huggingface)$') ||
      p in ['', '/opt', '/var', '/tmp', '/mnt', '/srv', '/app', '/workspace', '/sgl-workspace', '/vllm-workspace'] ||
      variables.taken.exists(m, m == p + '/') || ('/opt/autotune/').startsWith(p + '/') || (variables.engine.?workingDir.orValue('') + '/').startsWith(p + '/'))
- name: whyNot
  expression: >-
    variables.spec.?os.?name.orValue('') == 'windows' ||
      variables.spec.?nodeSelector[?'kubernetes.io/os'].orValue('') == 'windows' ?
      'it is a Windows pod' :
    variables.inits.exists(c, c.name in ['autotune-program', 'autotune-init'] ||
        c.?command[?0].orValue('') in ['/opt/autotune/start', '/opt/autotune/opt/autotune/start']) ||
      variables.containers.exists(c, c.name in ['autotune-program', 'autotune-init']) ?
      'it has a container of ours already, so it is attached in another way; take one of the two away' :
    'autotune-cache.dev/container' in variables.ann && variables.index < 0 ?
      'it has no container ' + variables.name + ', which the annotation autotune-cache.dev/container names' :
    variables.index < 0 ?
      'of its ' + string(variables.containers.size()) + ' containers ' +
        (variables.wanting.size() == 0 ? 'none asks' : string(variables.wanting.size()) + ' ask') +
        ' for a GPU; name the engine by the annotation autotune-cache.dev/container' :
    !(variables.kind in ['', 'sglang', 'vllm', 'flashinfer']) ?
      'the annotation autotune-cache.dev/engine is ' + variables.kind + '; it may be sglang, vllm or flashinfer' :
    !(variables.tuner in ['none', 'wait', 'engine', 'flashinfer-ops', 'command']) ?
      'the annotation autotune-cache.dev/tuner is ' + variables.tuner + '; it may be none, wait, engine, flashinfer-ops or command' :
    variables.line.size() == 0 ?
      'container ' + variables.name + ' has neither command nor args: its command line is in the image, where a policy cannot read it' :
{{- if and .Values.gpu.perPod (not .Values.gpu.facts) (not .Values.gpu.name) }}
    !variables.keepsDevices && variables.gpuName == '' ?
      'its GPU is not known: say it by the annotation autotune-cache.dev/gpu-name' :
{{- end }}
    variables.volumes.exists(v, v.name in ['autotune-program', 'autotune-cache', 'autotune-ca', 'autotune-token']) ?
      'it has a volume whose name is one of ours (autotune-program, autotune-cache, autotune-ca, autotune-token)' :
    variables.taken.exists(m, m.startsWith('/opt/autotune/') || '/opt/autotune/'.startsWith(m)) ?
      'container ' + variables.name + ' has a mount over /opt/autotune, where our program has to be' :
    variables.taken.exists(m, m.startsWith('/autotune-ca/')) ?
      'container ' + variables.name + ' has a mount at /autotune-ca' :
    variables.stated != '' && !variables.stated.matches('^(/[A-Za-z0-9_.@-]+)+$') ?
      'the annotation autotune-cache.dev/cache-dir is no absolute path' :
    variables.unclear.size() > 0 ?
      variables.unclear[0] + ' is not a plain path; say where the engine keeps its results by the annotation autotune-cache.dev/cache-dir' :
    variables.contradicting.size() > 0 ?
      variables.contradicting[0] + ' and the annotation autotune-cache.dev/cache-dir say different paths' :
    variables.hiding.size() > 0 ?
      'its results would be in ' + variables.hiding[0] + ', and a volume there would hide what the image has there; mount a volume of your own or choose another path' :
{{- if .Values.cache.hostPath.allowed }}
    namespaceObject.metadata.?labels[?'pod-security.kubernetes.io/enforce'].orValue('privileged') != 'privileged' && variables.toMount.size() > 0 ?
      'its namespace enforces a PodSecurity level that refuses hostPath, and cache.hostPath is on' :
{{- end }}
    ''
{{- end }}
