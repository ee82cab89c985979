{{/* Rejects contradictory values. Reports all contradictions at once, as the services do for their settings: each check
writes a line for each that it finds, nothing if there is none. */}}

{{- define "shop.checks" -}}
{{- $ofMode := list "kafka" "names" "mongodb" "postgres" "replicas" -}}
{{- if eq .Values.mode "embedded" -}}
{{- $ofMode = list "embedded" -}}
{{- end -}}
{{- range concat $ofMode (list "settings" "auth" "tls" "others" "store") -}}
{{- include (printf "shop.checks.%s" .) $ -}}
{{- end -}}
{{- end -}}

{{- define "shop.checks.embedded" }}
{{- with .Values }}
{{- if gt (int .facing.replicas) 1 }}
- mode embedded with facing.replicas: only one process can use the volume; unset facing.replicas
{{- end }}
{{- if ne .facing.autoscaling.type "none" }}
- mode embedded with facing.autoscaling.type: only one process can use the volume; set it to none
{{- end }}
{{- if ne .management.autoscaling.type "none" }}
- mode embedded with management.autoscaling.type: there is no management; set it to none
{{- end }}
{{- if or .kafka.bootstrapServers .kafka.internal.enabled .kafkaExporter.enabled .topicJob.enabled }}
- mode embedded with kafka.bootstrapServers, kafka.internal, kafkaExporter or topicJob: the log is on the volume; unset them, or set mode to cluster
{{- end }}
{{- if or .mongodb.uri .mongodb.hosts .mongodb.existingSecret .mongodb.internal.enabled .postgres.existingSecret }}
- mode embedded with mongodb or postgres: the store is on the volume; unset it, or set mode to cluster
{{- end }}
{{- if or .users.enabled .orders.enabled }}
- mode embedded with users.enabled or orders.enabled: facing already has these roles; unset them, or set mode to cluster
{{- end }}
{{- if not (has "purchases" .settings.roles) }}
- mode embedded with settings.roles without purchases: facing is the only service and requires purchases; add it
{{- end }}
{{- end }}
{{- end }}

{{- define "shop.checks.kafka" }}
{{- with .Values.kafka }}
{{- if and .internal.enabled .bootstrapServers }}
- kafka.internal.enabled with kafka.bootstrapServers: unset one of them
{{- else if not (or .internal.enabled .bootstrapServers) }}
- kafka.bootstrapServers is not set: set it to the brokers, or set kafka.internal.enabled for a trial, or mode to embedded
{{- end }}
{{- if and .internal.enabled (or .sasl.mechanism .oauth.tokenUrl .tls.enabled) }}
- kafka.internal.enabled with kafka.sasl, kafka.oauth or kafka.tls: the internal broker supports none of them
{{- end }}
{{- if and .internal.enabled (gt (default .replicationFactor $.Values.topicJob.replicationFactor | int) 1) }}
- kafka.internal.enabled with kafka.replicationFactor or topicJob.replicationFactor: the internal Kafka has one broker, so one replica
{{- end }}
{{- if .sasl.mechanism }}
{{- if not (or .sasl.username .sasl.usernameKey) }}
- kafka.sasl.mechanism with neither kafka.sasl.username nor kafka.sasl.usernameKey
{{- end }}
{{- if and .sasl.usernameKey (or .sasl.username (not .sasl.existingSecret)) }}
- kafka.sasl.usernameKey is a key of kafka.sasl.existingSecret: set that, and unset kafka.sasl.username
{{- end }}
{{- if not (or .sasl.password .sasl.existingSecret) }}
- kafka.sasl.mechanism with neither kafka.sasl.password nor kafka.sasl.existingSecret
{{- end }}
{{- else if or .sasl.username .sasl.usernameKey .sasl.password .sasl.existingSecret }}
- kafka.sasl has credentials but no kafka.sasl.mechanism
{{- end }}
{{- if and .sasl.password .sasl.existingSecret }}
- kafka.sasl.password with kafka.sasl.existingSecret: unset one of them
{{- end }}
{{- if .oauth.tokenUrl }}
{{- if not (and .oauth.clientId .oauth.existingSecret) }}
- kafka.oauth.tokenUrl without kafka.oauth.clientId or kafka.oauth.existingSecret
{{- end }}
{{- if .sasl.mechanism }}
- kafka.oauth.tokenUrl with kafka.sasl.mechanism: unset one of them
{{- end }}
{{- if or $.Values.topicJob.enabled $.Values.kafkaExporter.enabled (eq $.Values.management.autoscaling.type "keda") }}
- kafka.oauth with topicJob, kafkaExporter or management.autoscaling.type keda: these have no token
{{- end }}
{{- else if or .oauth.clientId .oauth.existingSecret .oauth.scope }}
- kafka.oauth has values but no kafka.oauth.tokenUrl
{{- end }}
{{- if and .tls.certSecret (not .tls.enabled) }}
- kafka.tls.certSecret without kafka.tls.enabled
{{- end }}
{{- if and .tls.caSecret (not .tls.enabled) }}
- kafka.tls.caSecret without kafka.tls.enabled
{{- end }}
{{- end }}
{{- end }}

{{/* Rejects an upgrade that would change topics or groups of the release by default, and so lose their records. */}}
{{- define "shop.checks.names" }}
{{- range $service := splitList " " (include "shop.services" .) }}
{{- $had := (lookup "v1" "ConfigMap" $.Release.Namespace (printf "%s-config" (include "shop.name" (list $ $service)))).data | default dict }}
{{- $has := include "shop.kafka.variables" (list $ $service) | fromYaml }}
{{- range $part := list "kafka" "users" "orders" }}
{{- range $value, $ending := dict "topic" "TOPIC" "groupId" "GROUP_ID" }}
{{- $variable := printf "%s_%s" (eq $part "kafka" | ternary "KAFKA" (printf "SHOP_%s" (upper $part))) $ending }}
{{- $before := get $had $variable }}
{{- if and $before (not (get (get $.Values $part) $value)) (ne $before (get $has $variable)) }}
- {{ $part }}.{{ $value }} is not set: its default is {{ get $has $variable }}, but this release uses {{ $before }}, whose records would not be ingested; set {{ $part }}.{{ $value }}={{ $before }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "shop.checks.mongodb" }}
{{- with .Values.mongodb }}
{{- if and .internal.enabled (or .uri .hosts) }}
- mongodb.internal.enabled with mongodb.uri or mongodb.hosts: unset one of them
{{- else if and (include "shop.mongodb.used" $) (not (or .internal.enabled .uri .hosts .existingSecret)) }}
- none of mongodb.uri, mongodb.hosts, mongodb.existingSecret and postgres.existingSecret is set: set one of them, or set mongodb.internal.enabled for a trial, or mode to embedded
{{- end }}
{{- if and .caSecret (or .hosts .internal.enabled) }}
- mongodb.caSecret with mongodb.hosts or mongodb.internal: only a connection string names its file; set mongodb.uri or mongodb.existingSecret
{{- end }}
{{- if and .uri (or .hosts .username .password .existingSecret) }}
- mongodb.uri with mongodb.hosts, username, password or existingSecret: the URI includes them; unset the others
{{- end }}
{{- if and .hosts .username (not (or .password .existingSecret)) }}
- mongodb.username with neither mongodb.password nor mongodb.existingSecret
{{- end }}
{{- if and .hosts (or .password .existingSecret) (not .username) }}
- mongodb.password or mongodb.existingSecret without mongodb.username
{{- end }}
{{- if and .password .existingSecret }}
- mongodb.password with mongodb.existingSecret: unset one of them
{{- end }}
{{- end }}
{{- end }}

{{- define "shop.checks.replicas" }}
{{- if and (eq .Values.management.autoscaling.type "keda") (not (include "shop.has" (list $ "management" "purchases"))) }}
- management.autoscaling.type is keda, but management ingests no purchases: KEDA scales it by their consumer lag; set it to hpa or none
{{- end }}
{{- range $service := splitList " " (include "shop.services" .) }}
{{- $own := get $.Values $service }}
{{- $by := $own.autoscaling }}
{{- if ne $by.type "none" }}
{{- if gt (int $by.minReplicas) (int $by.maxReplicas) }}
- {{ $service }}.autoscaling.minReplicas is above maxReplicas
{{- end }}
{{- if and (int $by.cpuPercent) (not (dig "requests" "cpu" "" $own.resources)) }}
- {{ $service }}.autoscaling.cpuPercent without {{ $service }}.resources.requests.cpu, which it is a percentage of
{{- end }}
{{- if and (eq $by.type "hpa") (int $by.memoryPercent) (not (dig "requests" "memory" "" $own.resources)) }}
- {{ $service }}.autoscaling.memoryPercent without {{ $service }}.resources.requests.memory, which it is a percentage of
{{- end }}
{{- end }}
{{- if and (eq $by.type "hpa") (not (or (int $by.cpuPercent) (int $by.memoryPercent) (int $by.requestsPerSecond))) }}
- {{ $service }}.autoscaling.type is hpa, but no metric is enabled: set cpuPercent, memoryPercent or requestsPerSecond
{{- end }}
{{- if and (eq $by.type "keda") (or (int $by.memoryPercent) (int $by.requestsPerSecond)) }}
- {{ $service }}.autoscaling.type is keda with memoryPercent or requestsPerSecond, which only hpa supports: a deployment has one autoscaler; set the type to hpa or unset them
{{- end }}
{{- end }}
{{- if and (eq .Values.facing.autoscaling.type "keda") (not (int .Values.facing.autoscaling.cpuPercent)) }}
- facing.autoscaling.type is keda, but cpuPercent is 0: KEDA scales facing by CPU
{{- end }}
{{- end }}

{{- define "shop.checks.others" }}
{{- range $role := list "users" "orders" }}
{{- if and (get $.Values $role).enabled (not (has $role $.Values.settings.roles)) }}
- {{ $role }}.enabled without {{ $role }} in settings.roles: add the role there
{{- end }}
{{- end }}
{{- range $service := list "facing" "management" "users" "orders" }}
{{- $exposed := get $.Values $service }}
{{- if and (has $service (splitList " " (include "shop.services" $))) (eq (int $.Values.settings.adminPort) (int $exposed.port)) }}
- settings.adminPort is {{ $service }}.port: set it to another port
{{- end }}
{{- if and (int $exposed.service.nodePort) (ne $exposed.service.type "NodePort") }}
- {{ $service }}.service.nodePort with {{ $service }}.service.type {{ $exposed.service.type }}: set it to NodePort
{{- end }}
{{- end }}
{{- with .Values }}
{{- if and (ne .mode "embedded") (or .settings.logRetention .settings.logMaxSize) }}
- settings.logRetention or logMaxSize with mode cluster: set the retention of the topic on Kafka
{{- end }}
{{- if and .verify.schedule (eq .mode "cluster") (not (include "shop.has" (list $ "management" "purchases"))) }}
- verify.schedule without purchases in settings.roles: only purchases are verified
{{- end }}
{{- if and .backup.schedule (ne .mode "embedded") }}
- backup.schedule with mode cluster: back up MongoDB or PostgreSQL with their tools
{{- end }}
{{- if and .backup.schedule (not .backup.existingClaim) }}
- backup.schedule without backup.existingClaim: name the volume of the backups
{{- end }}
{{- if and .httpRoute.caConfigMap (not (and .httpRoute.enabled .tls.secret)) }}
- httpRoute.caConfigMap without httpRoute.enabled and tls.secret: the Gateway calls the services by plain HTTP
{{- end }}
{{- end }}
{{- with .Values.ingress }}
{{- if and .enabled .tls.enabled (not .tls.secretName) }}
- ingress.tls.enabled without ingress.tls.secretName
{{- end }}
{{- if and $.Values.httpRoute.enabled (not $.Values.httpRoute.parentRefs) }}
- httpRoute.enabled without httpRoute.parentRefs: name the Gateway
{{- end }}
{{- if or .enabled $.Values.httpRoute.enabled }}
{{- range concat .paths .extraPaths }}
{{- if not (has .service (splitList " " (include "shop.services" $))) }}
- mode {{ $.Values.mode }} with the ingress path {{ .path }} to {{ .service }}: the release does not have this service; remove the path
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
