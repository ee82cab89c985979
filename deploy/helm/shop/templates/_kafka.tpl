{{/* Where Kafka is, and how to log in there. */}}

{{- define "shop.kafka.servers" -}}
{{- if .Values.kafka.internal.enabled -}}
{{- printf "%s:9092" (include "shop.kafka.name" .) -}}
{{- else -}}
{{- tpl .Values.kafka.bootstrapServers . -}}
{{- end -}}
{{- end -}}

{{/* The same as KEDA sees it, which runs in a namespace of its own. */}}
{{- define "shop.kafka.serversFromAfar" -}}
{{- if .Values.kafka.internal.enabled -}}
{{- printf "%s.%s.svc:9092" (include "shop.kafka.name" .) .Release.Namespace -}}
{{- else -}}
{{- include "shop.kafka.servers" . -}}
{{- end -}}
{{- end -}}

{{- define "shop.kafka.secret" -}}
{{- default (printf "%s-kafka-login" (include "shop.fullname" .)) .Values.kafka.sasl.existingSecret -}}
{{- end -}}

{{- define "shop.kafka.variables" -}}
{{- with .Values.kafka -}}
KAFKA_BOOTSTRAP_SERVERS: {{ include "shop.kafka.servers" $ | quote }}
KAFKA_TOPIC: {{ .topic | quote }}
KAFKA_GROUP_ID: {{ .groupId | quote }}
KAFKA_PARTITIONS: {{ .partitions | quote }}
KAFKA_COMPRESSION: {{ .compression | quote }}
{{- if .sasl.mechanism }}
KAFKA_SASL_MECHANISM: {{ .sasl.mechanism | quote }}
KAFKA_USERNAME: {{ .sasl.username | quote }}
KAFKA_PASSWORD_FILE: /etc/shop/secrets/kafka-password
{{- end }}
{{- if .tls.enabled }}
KAFKA_TLS: "on"
{{- if .tls.caSecret }}
KAFKA_CA_FILE: /etc/shop/secrets/kafka-ca.crt
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Its files among the pod's secrets. */}}
{{- define "shop.kafka.files" -}}
{{- with .Values.kafka -}}
{{- if .sasl.mechanism }}
- secret:
    name: {{ include "shop.kafka.secret" $ }}
    items:
      - key: {{ .sasl.passwordKey }}
        path: kafka-password
{{- end }}
{{- if and .tls.enabled .tls.caSecret }}
- secret:
    name: {{ .tls.caSecret }}
    items:
      - key: {{ .tls.caKey }}
        path: kafka-ca.crt
{{- end }}
{{- end }}
{{- end -}}

{{/* The ports where it listens, as far as its addresses tell. */}}
{{- define "shop.kafka.ports" -}}
{{- $ports := list -}}
{{- range regexFindAll ":[0-9]+" (include "shop.kafka.servers" .) -1 -}}
{{- $ports = append $ports (trimPrefix ":" .) -}}
{{- end -}}
{{- $ports | uniq | join " " -}}
{{- end -}}
