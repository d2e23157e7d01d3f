{{/* The nodes of a role: dict "root" $ "role" "leader" "nodes" .Values.leader */}}
{{- define "sproxy.nodes" -}}
{{- $root := .root }}
{{- $name := include "sproxy.fullname" $root }}
{{- $ours := dict "root" $root }}
{{- with $root.Values }}
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: {{ $name }}-{{ $.role }}
  labels:
    {{- include "sproxy.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ $.role }}
spec:
  replicas: {{ $.nodes.replicas }}
  serviceName: {{ $name }}-{{ $.role }}-nodes
  # Nodes need nobody to be there before them.
  podManagementPolicy: Parallel
  selector:
    matchLabels:
      {{- include "sproxy.selector" $root | nindent 6 }}
      app.kubernetes.io/component: {{ $.role }}
  template:
    metadata:
      labels:
        {{- include "sproxy.selector" $root | nindent 8 }}
        app.kubernetes.io/component: {{ $.role }}
        {{- with $.nodes.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      annotations:
        # Nodes are restarted, one after the other, when what the chart tells them changes. Secrets of others are followed
        # by sproxy itself where they are files, and need a restart where they are variables.
        checksum/config: {{ .config | sha256sum }}
        checksum/secrets: {{ list .cluster.secret.value .database.url.value .adminPassword.value .providerKeys.values | toJson | sha256sum }}
        {{- with $.nodes.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      serviceAccountName: {{ include "sproxy.serviceAccount" $root }}
      automountServiceAccountToken: false
      enableServiceLinks: false
      # http.shutdown_delay, http.shutdown_timeout, and what the books take at most.
      terminationGracePeriodSeconds: {{ add .shutdown.delaySeconds .shutdown.timeoutSeconds 15 }}
      securityContext:
        {{- toYaml .podSecurityContext | nindent 8 }}
      {{- with .imagePullSecrets }}
      imagePullSecrets:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $.nodes.priorityClassName }}
      priorityClassName: {{ . }}
      {{- end }}
      {{- with $.nodes.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $.nodes.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- if $.nodes.affinity }}
      affinity:
        {{- toYaml $.nodes.affinity | nindent 8 }}
      {{- else }}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              {{- include "sproxy.selector" $root | nindent 14 }}
              app.kubernetes.io/component: {{ $.role }}
      {{- end }}
      containers:
        - name: sproxy
          image: "{{ .image.repository }}:{{ default $root.Chart.AppVersion .image.tag }}"
          imagePullPolicy: {{ .image.pullPolicy }}
          args: ["serve", "--config", "/etc/sproxy/config/sproxy.toml"]
          securityContext:
            {{- toYaml .securityContext | nindent 12 }}
          env:
            - name: POD_NAME
              valueFrom: { fieldRef: { fieldPath: metadata.name } }
            - { name: SPROXY_NODE__ID, value: "$(POD_NAME)" }
            - { name: SPROXY_NODE__DATA_DIR, value: /var/lib/sproxy }
            - { name: SPROXY_HTTP__LISTEN, value: "0.0.0.0:9000" }
            - { name: SPROXY_HTTP__SHUTDOWN_DELAY, value: "{{ .shutdown.delaySeconds }}s" }
            - { name: SPROXY_HTTP__SHUTDOWN_TIMEOUT, value: "{{ .shutdown.timeoutSeconds }}s" }
            # Followers serve it as well: `sproxy promote` can make any of them the leader.
            - { name: SPROXY_CLUSTER__LISTEN, value: "0.0.0.0:9001" }
            - name: SPROXY_CLUSTER__ADVERTISE
              value: "{{ include "sproxy.httpScheme" $root }}://$(POD_NAME).{{ $name }}-{{ $.role }}-nodes.{{ $root.Release.Namespace }}.svc:9000"
            - { name: SPROXY_CLUSTER__SECRET_FILE, value: /etc/sproxy/secrets/cluster-secret }
            {{- if eq $.role "follower" }}
            - name: SPROXY_CLUSTER__LEADER
              value: {{ include "sproxy.leaders" $root | squote }}
            {{- else }}
            {{- if eq .database.kind "postgres" }}
            - { name: SPROXY_STORE__URL_FILE, value: /etc/sproxy/secrets/database-url }
            {{- end }}
            {{- if or .adminPassword.value .adminPassword.existingSecret }}
            - name: SPROXY_ADMIN_PASSWORD
              valueFrom:
                secretKeyRef:
                  name: {{ include "sproxy.secretName" (set $ours "secret" .adminPassword) }}
                  key: {{ .adminPassword.key }}
            {{- end }}
            {{- end }}
            {{- if .tls.http.existingSecret }}
            - { name: SPROXY_HTTP__TLS_CERT, value: /etc/sproxy/tls/http/tls.crt }
            - { name: SPROXY_HTTP__TLS_KEY, value: /etc/sproxy/tls/http/tls.key }
            {{- end }}
            {{- if .tls.grpc.existingSecret }}
            - { name: SPROXY_CLUSTER__TLS_CERT, value: /etc/sproxy/tls/grpc/tls.crt }
            - { name: SPROXY_CLUSTER__TLS_KEY, value: /etc/sproxy/tls/grpc/tls.key }
            - { name: SPROXY_CLUSTER__TLS_CA, value: /etc/sproxy/tls/grpc/ca.crt }
            - { name: SPROXY_CLUSTER__TLS_CLIENT_AUTH, value: "{{ .tls.grpc.clientAuth }}" }
            {{- end }}
            {{- with concat .extraEnv $.nodes.extraEnv }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          {{- if or .providerKeys.values .providerKeys.existingSecret .extraEnvFrom }}
          envFrom:
            {{- if .providerKeys.values }}
            - secretRef: { name: {{ $name }}-providers }
            {{- end }}
            {{- with .providerKeys.existingSecret }}
            - secretRef: { name: {{ . }} }
            {{- end }}
            {{- with .extraEnvFrom }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          {{- end }}
          ports:
            - { name: http, containerPort: 9000 }
            - { name: grpc, containerPort: 9001 }
          # Until its database is open and its schema changed, which may take long once.
          startupProbe:
            httpGet: { path: /healthz, port: http, scheme: {{ include "sproxy.httpScheme" $root | upper }} }
            periodSeconds: 2
            failureThreshold: 150
          livenessProbe:
            httpGet: { path: /healthz, port: http, scheme: {{ include "sproxy.httpScheme" $root | upper }} }
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 6
          readinessProbe:
            httpGet: { path: /readyz, port: http, scheme: {{ include "sproxy.httpScheme" $root | upper }} }
            periodSeconds: 3
            timeoutSeconds: 3
            failureThreshold: 2
          {{- with $.nodes.resources }}
          resources:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          volumeMounts:
            - { name: data, mountPath: /var/lib/sproxy }
            - { name: config, mountPath: /etc/sproxy/config, readOnly: true }
            - { name: secrets, mountPath: /etc/sproxy/secrets, readOnly: true }
            - { name: tmp, mountPath: /tmp }
            {{- if .tls.http.existingSecret }}
            - { name: tls-http, mountPath: /etc/sproxy/tls/http, readOnly: true }
            {{- end }}
            {{- if .tls.grpc.existingSecret }}
            - { name: tls-grpc, mountPath: /etc/sproxy/tls/grpc, readOnly: true }
            {{- end }}
            {{- with .extraVolumeMounts }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
      volumes:
        - name: config
          configMap: { name: {{ $name }} }
        - name: secrets
          projected:
            defaultMode: 0440
            sources:
              - secret:
                  name: {{ include "sproxy.secretName" (set $ours "secret" .cluster.secret) }}
                  items: [{ key: {{ .cluster.secret.key }}, path: cluster-secret }]
              {{- if and (eq $.role "leader") (eq .database.kind "postgres") }}
              - secret:
                  name: {{ include "sproxy.secretName" (set $ours "secret" .database.url) }}
                  items: [{ key: {{ .database.url.key }}, path: database-url }]
              {{- end }}
        - name: tmp
          emptyDir: { sizeLimit: 256Mi }
        {{- if .tls.http.existingSecret }}
        - name: tls-http
          secret: { secretName: {{ .tls.http.existingSecret }}, defaultMode: 0440 }
        {{- end }}
        {{- if .tls.grpc.existingSecret }}
        - name: tls-grpc
          secret: { secretName: {{ .tls.grpc.existingSecret }}, defaultMode: 0440 }
        {{- end }}
        {{- with .extraVolumes }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumeClaimTemplates:
    - metadata:
        name: data
        labels:
          {{- include "sproxy.selector" $root | nindent 10 }}
          app.kubernetes.io/component: {{ $.role }}
      spec:
        accessModes: [ReadWriteOnce]
        {{- with $.nodes.persistence.storageClass }}
        storageClassName: {{ . }}
        {{- end }}
        resources: { requests: { storage: {{ $.nodes.persistence.size }} } }
{{- end }}
{{- end }}
