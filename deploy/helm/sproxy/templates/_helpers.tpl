{{/* Names leave room for "-follower-nodes" and a pod's number in the 63 characters of a name in DNS. */}}
{{- define "sproxy.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "sproxy.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "sproxy.name" .) .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "sproxy.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "sproxy.selector" -}}
app.kubernetes.io/name: {{ include "sproxy.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "sproxy.labels" -}}
{{ include "sproxy.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "sproxy.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ default (include "sproxy.fullname" .) .Values.serviceAccount.name }}{{ else }}{{ default "default" .Values.serviceAccount.name }}{{ end }}
{{- end }}

{{/* The Secret in which one of the chart's secrets is: dict "root" $ "secret" .Values.cluster.secret */}}
{{- define "sproxy.secretName" -}}
{{- default (include "sproxy.fullname" .root) .secret.existingSecret }}
{{- end }}

{{- define "sproxy.httpScheme" -}}{{ if .Values.tls.http.existingSecret }}https{{ else }}http{{ end }}{{- end }}
{{- define "sproxy.grpcScheme" -}}{{ if .Values.tls.grpc.existingSecret }}https{{ else }}http{{ end }}{{- end }}

{{/* The gRPC side of every leader, as a list in TOML. */}}
{{- define "sproxy.leaders" -}}
{{- $leaders := list }}
{{- range $number := until (int .Values.leader.replicas) }}
{{- $name := include "sproxy.fullname" $ }}
{{- $leaders = append $leaders (printf "\"%s://%s-leader-%d.%s-leader-nodes.%s.svc:9001\"" (include "sproxy.grpcScheme" $) $name $number $name $.Release.Namespace) }}
{{- end }}
{{- printf "[%s]" (join ", " $leaders) }}
{{- end }}

{{/* What cannot work is refused here, where the schema cannot say it. */}}
{{- define "sproxy.check" -}}
{{- with .Values }}
{{- if not (or .cluster.secret.value .cluster.secret.existingSecret) }}
{{- fail "cluster.secret has to be set: 32 or more characters as cluster.secret.value (openssl rand -hex 32), or a Secret that holds them as cluster.secret.existingSecret" }}
{{- end }}
{{- if and .cluster.secret.value (lt (len .cluster.secret.value) 32) }}
{{- fail "cluster.secret.value has to have 32 or more characters: openssl rand -hex 32" }}
{{- end }}
{{- if and (gt (int .leader.replicas) 1) (ne .database.kind "postgres") }}
{{- fail "leader.replicas above 1 needs one PostgreSQL for all leaders: database.kind=postgres and database.url; on SQLite one node leads" }}
{{- end }}
{{- if and (eq .database.kind "postgres") (not (or .database.url.value .database.url.existingSecret)) }}
{{- fail "database.kind=postgres needs database.url.value (postgres://user:password@host/database), or database.url.existingSecret" }}
{{- end }}
{{- end }}
{{- end }}
