{{/* The Deployment of a service: (list $ "facing"). */}}
{{- define "shop.deployment" -}}
{{- $root := index . 0 -}}
{{- $service := index . 1 -}}
{{- $own := get $root.Values $service -}}
{{- $name := include "shop.name" . -}}
{{- $embedded := eq $root.Values.mode "embedded" -}}
{{- $files := include "shop.files" . -}}
{{- $waits := and (not $embedded) $root.Values.topicJob.enabled -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ $name }}
  labels:
    {{- include "shop.labels" . | nindent 4 }}
  {{- with $own.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- if $embedded }}
  replicas: 1
  # Two processes must not use the volume at the same time.
  strategy:
    type: Recreate
  {{- else }}
  {{- /* Omitted with an autoscaler: an upgrade must not reset the number that it set. */}}
  {{- if eq $own.autoscaling.type "none" }}
  replicas: {{ default 2 $own.replicas }}
  {{- end }}
  strategy:
    type: RollingUpdate
    rollingUpdate:
      maxUnavailable: 0
      maxSurge: 1
  {{- end }}
  selector:
    matchLabels:
      {{- include "shop.selector" . | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "shop.podLabels" . | nindent 8 }}
        {{- with $own.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      annotations:
        # Settings are read at startup: a change must replace the pods.
        checksum/settings: {{ include "shop.variables" . | sha256sum }}
        {{- with include "shop.secretsRead" . }}
        # Readable by anyone who can list pods. derivePassword applies scrypt, salted with the release, which makes
        # a dictionary attack on the secrets expensive.
        checksum/secrets: {{ derivePassword 1 "maximum" . (include "shop.fullname" $root) $root.Release.Namespace | sha256sum }}
        {{- end }}
        {{- if $root.Values.metrics.annotations }}
        prometheus.io/scrape: "true"
        {{- if and $root.Values.tls.secret (not $root.Values.settings.adminPort) }}
        prometheus.io/scheme: https
        {{- end }}
        prometheus.io/path: /metrics
        prometheus.io/port: {{ $root.Values.settings.adminPort | default $own.port | int64 | quote }}
        {{- end }}
        {{- with $own.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      {{- include "shop.podBasics" $root | nindent 6 }}
      {{- with $own.priorityClassName }}
      priorityClassName: {{ . }}
      {{- end }}
      # Longer than preStop and drain together, so a shutdown is not cut short.
      terminationGracePeriodSeconds: {{ add $root.Values.preStopSeconds $root.Values.settings.drainSeconds 5 }}
      securityContext:
        {{- include "shop.podSecurity" (list $root 10001) | nindent 8 }}
      {{- include "shop.placement" (dict "own" $own "selector" (include "shop.selector" .)) | nindent 6 }}
      {{- if $waits }}
      initContainers:
        {{- include "shop.topics.container" (list $root "topics.sh" "wait") | nindent 8 }}
          env:
            - {name: TOPICS, value: {{ include "shop.topics.of" . | quote }}}
            {{- include "shop.topics.variables" $root | nindent 12 }}
      {{- end }}
      containers:
        - name: {{ $service }}
          image: {{ include "shop.image" $root }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          command: [/usr/local/bin/{{ ternary "facing" "management" (eq $service "facing") }}]
          securityContext:
            {{- include "shop.containerSecurity" $root | nindent 12 }}
          envFrom:
            - configMapRef:
                name: {{ $name }}-config
          {{- with include "shop.env" . | trim }}
          env:
            {{- . | nindent 12 }}
          {{- end }}
          ports:
            - name: http
              containerPort: {{ $own.port }}
            {{- if $root.Values.settings.adminPort }}
            - name: admin
              containerPort: {{ $root.Values.settings.adminPort | int }}
            {{- end }}
          # An unavailable Kafka or MongoDB fails no probe: requests that do not need it are still served.
          startupProbe:
            {{- include "shop.tls.probe" (append . "/livez") | nindent 12 }}
            periodSeconds: 2
            failureThreshold: 60
          livenessProbe:
            {{- include "shop.tls.probe" (append . "/livez") | nindent 12 }}
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 3
          readinessProbe:
            {{- include "shop.tls.probe" (append . "/readyz") | nindent 12 }}
            periodSeconds: 5
            timeoutSeconds: 5
            failureThreshold: 2
          {{- if $root.Values.preStopSeconds }}
          lifecycle:
            preStop:
              sleep:
                seconds: {{ $root.Values.preStopSeconds }}
          {{- end }}
          resources:
            {{- toYaml $own.resources | nindent 12 }}
          {{- if or $files $embedded $own.extraVolumeMounts }}
          volumeMounts:
            {{- with $own.extraVolumeMounts }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
            {{- if $files }}
            - name: secrets
              mountPath: /etc/shop/secrets
              readOnly: true
            {{- end }}
            {{- if $embedded }}
            - name: data
              mountPath: /data
            {{- end }}
          {{- end }}
      {{- if or $files $embedded $waits $own.extraVolumes }}
      volumes:
        {{- with $own.extraVolumes }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
        {{- if $waits }}
        {{- include "shop.topics.volumes" $root | nindent 8 }}
        {{- end }}
        {{- if $files }}
        {{- include "shop.secretsVolume" $files | nindent 8 }}
        {{- end }}
        {{- if $embedded }}
        {{- include "shop.data.volume" $root | nindent 8 }}
        {{- end }}
      {{- end }}
{{- end -}}

{{/* The volume of the mode embedded. */}}
{{- define "shop.data.volume" -}}
- name: data
  persistentVolumeClaim:
    claimName: {{ default (printf "%s-data" (include "shop.name" (list . "facing"))) .Values.persistence.existingClaim }}
{{- end -}}

{{/* The settings of a service, without secrets: (list $ "facing"). */}}
{{- define "shop.variables" -}}
{{ include "shop.variables.own" . }}
{{- include "shop.settings.variables" . }}
{{- end -}}

{{/* The settings of a service that do not come from `settings` alone: (list $ "facing"). */}}
{{- define "shop.variables.own" -}}
{{- $root := index . 0 -}}
{{- $service := index . 1 -}}
HOST: "::"
{{ include "shop.auth.variables" . }}
{{- include "shop.tls.variables" . }}
PORT: {{ get (get $root.Values $service) "port" | int64 | quote }}
SHOP_ROLES: {{ include "shop.roles" . | quote }}
LOG_FORMAT: json
SHOP_DRAIN_TIMEOUT: {{ $root.Values.settings.drainSeconds | int64 }}s
{{- with $root.Values.settings.adminPort }}
SHOP_ADMIN_ADDR: {{ printf "[::]:%d" (int .) | quote }}
{{- end }}
{{- if eq $root.Values.mode "embedded" }}
SHOP_DATA_DIR: /data
{{- else }}
SHOP_REQUIRE_SERVERS: "on"
{{ include "shop.kafka.variables" . }}
{{- if eq $service "facing" }}
MANAGEMENT_URL: {{ include "shop.address" (list $root "management") }}
{{- range list "users" "orders" }}
{{- if (get $root.Values .).enabled }}
{{ upper . }}_URL: {{ include "shop.address" (list $root .) }}
{{- end }}
{{- end }}
{{- else }}
{{- include "shop.store.variables" . }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The secret files that a service reads. Facing does not connect to the store. */}}
{{- define "shop.files" -}}
{{- $root := index . 0 -}}
{{- printf "%s%s%s" (include "shop.auth.files" .) (include "shop.tls.files" .) (include "shop.files.ofServers" .) | trim -}}
{{- end -}}

{{/* Those that it reads at startup only. */}}
{{- define "shop.files.ofServers" -}}
{{- $root := index . 0 -}}
{{- if eq $root.Values.mode "cluster" -}}
{{- include "shop.kafka.files" $root -}}
{{- if ne (index . 1) "facing" -}}
{{- include "shop.store.files" . -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Secret values that are read at startup: those of the chart, and those in existing Secrets if the cluster can be asked.
Pods are replaced when they change. */}}
{{- define "shop.secretsRead" -}}
{{- $root := index . 0 -}}
{{- $root.Values.kafka.sasl.password -}}
{{- if include "shop.mongodb.usedBy" . -}}
{{- print $root.Values.mongodb.uri $root.Values.mongodb.password -}}
{{- end -}}
{{- $made := list (printf "%s-kafka-login" (include "shop.fullname" $root)) (printf "%s-mongodb-login" (include "shop.fullname" $root)) -}}
{{- range include "shop.files.ofServers" . | fromYamlArray -}}
{{- if and .secret.name (not (has .secret.name $made)) -}}
{{- with (lookup "v1" "Secret" $root.Release.Namespace .secret.name).data }}{{ toJson . }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}
