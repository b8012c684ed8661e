{{- define "skrei.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}{{ end -}}
{{- end -}}

{{- define "skrei.selector" -}}
app.kubernetes.io/name: skrei
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "skrei.labels" -}}
{{ include "skrei.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{- define "skrei.image" -}}
{{- $image := .root.Values.image -}}
{{ $image.registry }}{{ $image.repository }}/{{ .target }}:{{ $image.tag | default .root.Chart.AppVersion }}
{{- end -}}

{{- define "skrei.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end -}}

{{/* What the restricted profile of Pod Security wants of a pod, and of each container. */}}
{{- define "skrei.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "skrei.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "skrei.probes" -}}
startupProbe: {httpGet: {path: /healthz, port: health}, periodSeconds: 2, failureThreshold: 90}
livenessProbe: {httpGet: {path: /healthz, port: health}, periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 6}
readinessProbe: {httpGet: {path: /readyz, port: health}, periodSeconds: 5, timeoutSeconds: 5, failureThreshold: 3}
{{- end -}}

{{- define "skrei.natsUrl" -}}
{{- if .Values.nats.bundled }}tls://{{ include "skrei.name" . }}-nats:4222{{ else }}{{ required "nats.external.url: where nats.bundled is false" .Values.nats.external.url }}{{ end -}}
{{- end -}}

{{/* The door of results, as whoever is in the cluster reaches it. */}}
{{- define "skrei.door" -}}
http://{{ include "skrei.name" . }}-publisher:1235
{{- end -}}

{{/* What the certificate of NATS is for beside the names of the cluster, each with a comma before it: `tls://` alone. */}}
{{- define "skrei.natsHosts" -}}
{{- range $url := append (compact (splitList "," .Values.nats.publicUrl)) (ternary .Values.nats.leaf.hub "" .Values.nats.leaf.enabled) | uniq -}}
{{- if hasPrefix "tls:" $url }},{{ (urlParse $url).hostname }}{{ end -}}
{{- end -}}
{{- end -}}

{{/* Sites as `init` reads them: farm=farm.lan+10.1.0.1,ship=ship.lan. One that is null is named no more. */}}
{{- define "skrei.sites" -}}
{{- $told := list -}}
{{- range $name := keys .sites | sortAlpha -}}
{{- with get $.sites $name }}{{ $told = append $told (printf "%s=%s" $name (join "+" .)) }}{{ end -}}
{{- end -}}
{{ join "," $told }}
{{- end -}}

{{/* How a service is reached from outside: its type, and the port of all machines where one was chosen. */}}
{{- define "skrei.nodePort" -}}
{{- if and .nodePort (ne .type "ClusterIP") }}, nodePort: {{ .nodePort }}{{ end -}}
{{- end -}}

{{/* Nodes outside of the cluster need all three ways in. */}}
{{- define "skrei.edge" -}}
{{- if .Values.nats.publicUrl -}}
{{- range $name := list "url" "resultsUrl" -}}
{{- if not (get $.Values.api $name) -}}
{{- fail (printf "nats.publicUrl lets nodes outside of the cluster in: they need api.%s too, as they reach it (docs/KUBERNETES.md)" $name) -}}
{{- end -}}
{{- end -}}
{{- if and (contains "wss://" .Values.nats.publicUrl) .Values.nats.bundled (not .Values.nats.websocket.enabled) -}}
{{- fail "nats.publicUrl names a way by wss://, for which nats.websocket.enabled has to be true" -}}
{{- end -}}
true
{{- end -}}
{{- end -}}

{{/* What the services that keep the record are told. */}}
{{- define "skrei.record" -}}
{{- if .Values.postgres.bundled }}
- {name: SKREI_DATABASE_URL, value: "postgresql://skrei@{{ include "skrei.name" . }}-postgres:5432/skrei"}
- name: PGPASSWORD
  valueFrom: {secretKeyRef: {name: {{ include "skrei.name" . }}-keys-postgres, key: postgres.password}}
{{- else }}
- name: SKREI_DATABASE_URL
  valueFrom: {secretKeyRef: {name: {{ required "postgres.external.secret: where postgres.bundled is false" .Values.postgres.external.secret }}, key: {{ .Values.postgres.external.key }}}}
{{- end }}
{{- end -}}

{{- define "skrei.common" -}}
- {name: SKREI_NATS_URL, value: {{ include "skrei.natsUrl" . | quote }}}
- {name: SKREI_NATS_CA, value: {{ if .Values.nats.bundled }}/run/skrei/nats-ca.pem{{ else if .Values.nats.external.caSecret }}/run/nats-ca/{{ .Values.nats.external.caKey }}{{ end }}}
- {name: SKREI_LOG_LEVEL, value: {{ .Values.logLevel }}}
- {name: SKREI_HEALTH_LISTEN, value: "0.0.0.0:1236"}
{{- with .Values.otlpEndpoint }}
- {name: SKREI_OTLP_ENDPOINT, value: {{ . | quote }}}
{{- end }}
{{- range $name, $value := .Values.settings }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end -}}

{{- define "skrei.natsCaMount" -}}
{{- if and (not .Values.nats.bundled) .Values.nats.external.caSecret }}
- {name: nats-ca, mountPath: /run/nats-ca, readOnly: true}
{{- end }}
{{- end -}}
{{- define "skrei.natsCaVolume" -}}
{{- if and (not .Values.nats.bundled) .Values.nats.external.caSecret }}
- {name: nats-ca, secret: {secretName: {{ .Values.nats.external.caSecret }}}}
{{- end }}
{{- end -}}

{{/* The first install has no hook that could come after Postgres: whoever needs the record sees that it is there. */}}
{{- define "skrei.migrateFirst" -}}
- name: migrate
  image: {{ include "skrei.image" (dict "root" . "target" "tools") }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  # What another minute does not mend is told by the pod's state; Kubernetes tries again, ever more rarely.
  command:
    - sh
    - -c
    - |
      end=$(($(date +%s) + 60))
      until python -P -m skrei_store.migrate; do
        [ "$(date +%s)" -lt "$end" ] || exit 1
        sleep 1
      done
  terminationMessagePolicy: FallbackToLogsOnError
  env:
    {{- include "skrei.record" . | nindent 4 }}
  resources: {requests: {cpu: 50m, memory: 128Mi}, limits: {memory: 512Mi}}
  securityContext: {{- include "skrei.containerSecurity" . | nindent 4 }}
  volumeMounts:
    - {name: tmp, mountPath: /tmp}
{{- end -}}

{{/* Where an agent's jobs have their pods. Never beside our keys: who may make pods there, or exec, has them all. */}}
{{- define "skrei.jobSpace" -}}
{{- $pods := .agent.pods | default dict -}}
{{- if and (eq .agent.engine "kubernetes") (eq ($pods.namespace | default "") .root.Release.Namespace) -}}
{{- fail (printf "agents.%s.pods.namespace: %s is the release's own, where its keys are: whoever may make pods there can read them. Leave it empty for %s-jobs, or name another" .kind .root.Release.Namespace .root.Release.Namespace) -}}
{{- end -}}
{{- $pods.namespace | default (printf "%s-jobs" .root.Release.Namespace) -}}
{{- end -}}

{{/* A volume for each replica. It goes with the release, and with nothing else: a smaller number keeps it. */}}
{{- define "skrei.claim" -}}
persistentVolumeClaimRetentionPolicy: {whenDeleted: Delete, whenScaled: Retain}
volumeClaimTemplates:
  - metadata: {name: data}
    spec:
      accessModes: [ReadWriteOnce]
      {{- with .store.storageClass }}
      storageClassName: {{ . }}
      {{- end }}
      resources: {requests: {storage: {{ .store.size }}}}
{{- end -}}

{{/*
What the owner does for a new join token, and so that a transport of his own refuses a key, beside those that were put there
by hand. (The release's own hears it from keep-out.)
($$: Kubernetes reads $(NAME). By stdin: arguments are there for all to read.)
*/}}
{{- define "skrei.rotateHint" -}}
{{- $keys := printf "%s-keys" (include "skrei.name" .) -}}
run: token=$$(openssl rand -hex 32); for of in orchestrator-api compute-agent; do printf '{"stringData":{"join.token":"%s"}}' "$token" | kubectl -n {{ .Release.Namespace }} patch secret {{ $keys }}-$of --patch-file /dev/stdin; done; the API follows within two minutes
{{- end -}}
{{- define "skrei.revokeHint" -}}
{{- $name := include "skrei.name" . -}}
{{- $secret := printf "%s-keys-orchestrator-api" $name -}}
keys=$$({ kubectl -n {{ .Release.Namespace }} get secret {{ $secret }} -o 'jsonpath={.data.revoked}' | base64 -d; echo ' {keys}'; } | grep -oE 'U[A-Z2-7]{55}' | sort -u | tr '\n' ' '); printf '{"stringData":{"revoked":"%s"}}' "$keys" | kubectl -n {{ .Release.Namespace }} patch secret {{ $secret }} --patch-file /dev/stdin; then `helm upgrade` as you installed it; then have your nats-server read trust.conf of the Secret {{ $name }}-keys-nats again
{{- end -}}
