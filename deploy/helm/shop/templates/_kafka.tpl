{{/* Addresses and credentials of Kafka. */}}

{{- define "shop.kafka.servers" -}}
{{- if .Values.kafka.internal.enabled -}}
{{- printf "%s:9092" (include "shop.kafka.name" .) -}}
{{- else -}}
{{- tpl .Values.kafka.bootstrapServers . -}}
{{- end -}}
{{- end -}}

{{/* The same addresses for KEDA, which runs in another namespace. */}}
{{- define "shop.kafka.qualifiedServers" -}}
{{- if .Values.kafka.internal.enabled -}}
{{- printf "%s.%s.svc:9092" (include "shop.kafka.name" .) .Release.Namespace -}}
{{- else -}}
{{- include "shop.kafka.servers" . -}}
{{- end -}}
{{- end -}}

{{- define "shop.kafka.secret" -}}
{{- default (printf "%s-kafka-login" (include "shop.fullname" .)) .Values.kafka.sasl.existingSecret -}}
{{- end -}}

{{/* The user as an entry of `env`. */}}
{{- define "shop.kafka.user" -}}
- name: KAFKA_USERNAME
{{- with .Values.kafka.sasl }}
  {{- if .usernameKey }}
  valueFrom:
    secretKeyRef: {name: {{ .existingSecret }}, key: {{ .usernameKey | quote }}}
  {{- else }}
  value: {{ .username | quote }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* The `env` of a service: (list $ "management"). */}}
{{- define "shop.env" -}}
{{- $root := index . 0 -}}
{{- if and (eq $root.Values.mode "cluster") $root.Values.kafka.sasl.usernameKey }}
{{ include "shop.kafka.user" $root }}
{{- end }}
{{- with (get $root.Values (index . 1)).extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Topics and groups. Default names begin with the namespace and the release, so two releases on one Kafka do not consume
each other's records. They are unambiguous, because a namespace contains no dot. */}}
{{- define "shop.kafka.topic" -}}
{{- default (include "shop.kafka.named" (list . "purchases")) .Values.kafka.topic -}}
{{- end -}}

{{/* The topic of the events of users or orders: (list $ "users"). */}}
{{- define "shop.kafka.eventTopic" -}}
{{- $default := get (dict "users" "user_created" "orders" "order_created") (index . 1) -}}
{{- default (include "shop.kafka.named" (list (index . 0) $default)) (get (index . 0).Values (index . 1)).topic -}}
{{- end -}}

{{/* The consumer group of a role: (list $ "purchases"). */}}
{{- define "shop.kafka.group" -}}
{{- $values := (index . 0).Values -}}
{{- $default := get (dict "purchases" "purchase-group" "users" "user_service_group" "orders" "order_service_group") (index . 1) -}}
{{- $own := eq (index . 1) "purchases" | ternary $values.kafka (get $values (index . 1)) -}}
{{- default (include "shop.kafka.named" (list (index . 0) $default)) $own.groupId -}}
{{- end -}}

{{- define "shop.kafka.named" -}}
{{- $root := index . 0 -}}
{{- printf "%s.%s.%s" $root.Release.Namespace (include "shop.fullname" $root) (index . 1) -}}
{{- end -}}

{{/* The Kafka settings of a service: (list $ "management"). */}}
{{- define "shop.kafka.variables" -}}
{{- $root := index . 0 -}}
{{- $service := index . 1 -}}
{{- with $root.Values.kafka -}}
KAFKA_BOOTSTRAP_SERVERS: {{ include "shop.kafka.servers" $root | quote }}
{{- if include "shop.has" (list $root $service "purchases") }}
KAFKA_TOPIC: {{ include "shop.kafka.topic" $root | quote }}
KAFKA_GROUP_ID: {{ include "shop.kafka.group" (list $root "purchases") | quote }}
{{- end }}
{{- if ne $service "facing" }}
{{- range list "users" "orders" }}
{{- if include "shop.has" (list $root $service .) }}
SHOP_{{ upper . }}_GROUP_ID: {{ include "shop.kafka.group" (list $root .) | quote }}
{{- end }}
{{- if include "shop.hasEntities" (list $root $service) }}
SHOP_{{ upper . }}_TOPIC: {{ include "shop.kafka.eventTopic" (list $root .) | quote }}
{{- end }}
{{- end }}
{{- end }}
KAFKA_PARTITIONS: {{ .partitions | int64 | quote }}
{{- if $root.Values.topicJob.enabled }}
KAFKA_CREATE_TOPICS: "off"
{{- else if int .replicationFactor }}
KAFKA_REPLICAS: {{ .replicationFactor | int64 | quote }}
{{- end }}
KAFKA_COMPRESSION: {{ .compression | quote }}
{{- if .sasl.mechanism }}
KAFKA_SASL_MECHANISM: {{ .sasl.mechanism | quote }}
{{- if not .sasl.usernameKey }}
KAFKA_USERNAME: {{ .sasl.username | quote }}
{{- end }}
KAFKA_PASSWORD_FILE: /etc/shop/secrets/kafka-password
{{- end }}
{{- with .oauth }}
{{- if .tokenUrl }}
KAFKA_SASL_MECHANISM: OAUTHBEARER
KAFKA_OAUTH_TOKEN_URL: {{ .tokenUrl | quote }}
KAFKA_OAUTH_CLIENT_ID: {{ .clientId | quote }}
KAFKA_OAUTH_CLIENT_SECRET_FILE: /etc/shop/secrets/kafka-oauth-secret
{{- with .scope }}
KAFKA_OAUTH_SCOPE: {{ . | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- if .tls.enabled }}
KAFKA_TLS: "on"
{{- if .tls.caSecret }}
KAFKA_CA_FILE: /etc/shop/secrets/kafka-ca.crt
{{- end }}
{{- if .tls.certSecret }}
KAFKA_CERT_FILE: /etc/shop/secrets/kafka-client.crt
KAFKA_KEY_FILE: /etc/shop/secrets/kafka-client.key
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Whether a service has the role users or orders: (list $ "management"); empty if not. It gets the topics of both. */}}
{{- define "shop.hasEntities" -}}
{{- $roles := splitList "," (include "shop.roles" .) -}}
{{- if or (has "users" $roles) (has "orders" $roles) }}yes{{ end -}}
{{- end -}}

{{/* The topics of events, separated by spaces; empty without users and orders. */}}
{{- define "shop.kafka.eventTopics" -}}
{{- if or (has "users" .Values.settings.roles) (has "orders" .Values.settings.roles) -}}
{{ include "shop.kafka.eventTopic" (list $ "users") }} {{ include "shop.kafka.eventTopic" (list $ "orders") }}
{{- end -}}
{{- end -}}

{{/* The consumed topics, as a regular expression. The groups likewise. */}}
{{- define "shop.kafka.topics" -}}
{{- $names := list -}}
{{- if has "purchases" .Values.settings.roles -}}
{{- $names = append $names (include "shop.kafka.topic" .) -}}
{{- end -}}
{{- $names = concat $names (without (splitList " " (include "shop.kafka.eventTopics" .)) "") -}}
{{- include "shop.alternatives" $names -}}
{{- end -}}

{{- define "shop.kafka.groups" -}}
{{- $names := list -}}
{{- range .Values.settings.roles -}}
{{- $names = append $names (include "shop.kafka.group" (list $ .)) -}}
{{- end -}}
{{- include "shop.alternatives" $names -}}
{{- end -}}

{{- define "shop.alternatives" -}}
{{- $quoted := list -}}
{{- range . -}}
{{- $quoted = append $quoted (regexQuoteMeta .) -}}
{{- end -}}
{{- if gt (len $quoted) 1 }}({{ join "|" $quoted }}){{ else }}{{ first $quoted }}{{ end -}}
{{- end -}}

{{/* The secret files for Kafka. */}}
{{- define "shop.kafka.files" -}}
{{- with .Values.kafka -}}
{{- if .sasl.mechanism }}
{{- include "shop.secretFiles" (list (include "shop.kafka.secret" $) (dict "kafka-password" .sasl.passwordKey)) }}
{{- end }}
{{- include "shop.kafka.tlsFiles" $ }}
{{- if .oauth.tokenUrl }}
{{- include "shop.secretFiles" (list .oauth.existingSecret (dict "kafka-oauth-secret" .oauth.secretKey)) }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "shop.kafka.tlsFiles" -}}
{{- with .Values.kafka.tls -}}
{{- if and .enabled .caSecret }}
{{- include "shop.secretFiles" (list .caSecret (dict "kafka-ca.crt" .caKey)) }}
{{- end }}
{{- if and .enabled .certSecret }}
{{- include "shop.secretFiles" (list .certSecret (dict "kafka-client.crt" "tls.crt" "kafka-client.key" "tls.key")) }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The ports in the addresses of Kafka and of its token endpoint. */}}
{{- define "shop.kafka.ports" -}}
{{- $ports := list -}}
{{- with .Values.kafka.oauth.tokenUrl -}}
{{- $ports = append $ports (include "shop.port" .) -}}
{{- end -}}
{{- range regexFindAll ":[0-9]+" (include "shop.kafka.servers" .) -1 -}}
{{- $ports = append $ports (trimPrefix ":" .) -}}
{{- end -}}
{{- $ports | uniq | join " " -}}
{{- end -}}
