{{/* The Secret with the PostgreSQL URL of a service, as JSON; {} if it has none: (list $ "users"). */}}
{{- define "shop.postgres.secret" -}}
{{- $root := index . 0 -}}
{{- $own := $root.Values.postgres -}}
{{- if has (index . 1) (list "users" "orders") -}}
{{- with (get $root.Values (index . 1)).postgres -}}
{{- if .existingSecret -}}{{- $own = . -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- $stores := or (include "shop.has" (append . "users")) (include "shop.has" (append . "orders")) (not (include "shop.mongodb.used" $root)) -}}
{{- if and $stores $own.existingSecret }}{{ pick $own "existingSecret" "urlKey" | toJson }}{{ else }}{}{{ end -}}
{{- end -}}

{{/* A checksum of the servers and the database in that URL; empty if the cluster cannot be asked: (list $ "users"). */}}
{{- define "shop.postgres.checksum" -}}
{{- with ternary dict (include "shop.postgres.secret" . | fromJson) (eq (index . 1) "facing") -}}
{{- $data := (lookup "v1" "Secret" (index $ 0).Release.Namespace .existingSecret).data | default dict -}}
{{- with get $data .urlKey | b64dec | splitList "?" | first | trim -}}
{{- regexReplaceAll "^(.*@|[a-z]+://)" . "" | sha256sum -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The settings of the stores of a service: (list $ "management"). */}}
{{- define "shop.store.variables" -}}
{{- if include "shop.mongodb.usedBy" . }}
{{ include "shop.mongodb.variables" (index . 0) }}
{{- end }}
{{- if include "shop.postgres.secret" . | fromJson }}
POSTGRES_URL_FILE: /etc/shop/secrets/postgres-url
{{- with (index . 0).Values.postgres }}
POSTGRES_MAX_CONNECTIONS: {{ .maxConnections | int64 | quote }}
{{- if and .adoptTables (include "shop.hasEntities" $) }}
SHOP_ADOPT_TABLES: "on"
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The secret files of the stores of a service: (list $ "management"). */}}
{{- define "shop.store.files" -}}
{{- if include "shop.mongodb.usedBy" . -}}
{{- include "shop.mongodb.files" (index . 0) -}}
{{- end -}}
{{- with include "shop.postgres.secret" . | fromJson }}
{{- include "shop.secretFiles" (list .existingSecret (dict "postgres-url" .urlKey)) }}
{{- end -}}
{{- end -}}

{{/* The ports of the stores of a service: (list $ "management"). */}}
{{- define "shop.store.ports" -}}
{{- $ports := list -}}
{{- if include "shop.mongodb.usedBy" . -}}
{{- $ports = append $ports (include "shop.mongodb.ports" (index . 0)) -}}
{{- end -}}
{{- if include "shop.postgres.secret" . | fromJson -}}
{{- $ports = append $ports ((index . 0).Values.postgres.port | int | toString) -}}
{{- end -}}
{{- join " " $ports -}}
{{- end -}}

{{- define "shop.checks.postgres" }}
{{- $entities := without .Values.settings.roles "purchases" }}
{{- if include "shop.mongodb.configured" . }}
{{- if not (include "shop.mongodb.used" .) }}
- mongodb with settings.roles without purchases: PostgreSQL stores users and orders; unset mongodb
{{- else if and .Values.postgres.existingSecret (not $entities) }}
- postgres.existingSecret with mongodb: both would store the purchases; unset one of them, or add users or orders to settings.roles
{{- end }}
{{- end }}
{{- range $role := $entities }}
{{- with get $.Values $role }}
{{- $service := ternary $role "management" .enabled }}
{{- if not (include "shop.postgres.secret" (list $ $service) | fromJson) }}
- settings.roles has {{ $role }}, which are stored in PostgreSQL: set postgres.existingSecret{{ ternary (printf " or %s.postgres.existingSecret" $role) "" .enabled }}, or mode to embedded
{{- end }}
{{- end }}
{{- end }}
{{- range $role := list "users" "orders" }}
{{- with get $.Values $role }}
{{- if and .postgres.existingSecret (not .enabled) }}
- {{ $role }}.postgres.existingSecret, but management stores {{ $role }} in its own store: unset it, or set {{ $role }}.enabled
{{- end }}
{{- end }}
{{- end }}
{{- end }}
