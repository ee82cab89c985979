{{/* The Secret with the PostgreSQL URL of a service, as JSON; {} if it uses MongoDB: (list $ "users"). */}}
{{- define "shop.postgres.secret" -}}
{{- $values := (index . 0).Values -}}
{{- $own := $values.postgres -}}
{{- if has (index . 1) (list "users" "orders") -}}
{{- with (get $values (index . 1)).postgres -}}
{{- if .existingSecret -}}{{- $own = . -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- if $own.existingSecret }}{{ pick $own "existingSecret" "urlKey" | toJson }}{{ else }}{}{{ end -}}
{{- end -}}

{{/* The settings of the store of a service: (list $ "management"). */}}
{{- define "shop.store.variables" -}}
{{- if include "shop.postgres.secret" . | fromJson -}}
POSTGRES_URL_FILE: /etc/shop/secrets/postgres-url
{{- with (index . 0).Values.postgres }}
POSTGRES_MAX_CONNECTIONS: {{ .maxConnections | int | quote }}
{{- if .adoptTables }}
SHOP_ADOPT_TABLES: "on"
{{- end }}
{{- end }}
{{- else -}}
{{- include "shop.mongodb.variables" . -}}
{{- end -}}
{{- end -}}

{{/* The secret files of the store of a service: (list $ "management"). */}}
{{- define "shop.store.files" -}}
{{- $secret := include "shop.postgres.secret" . | fromJson -}}
{{- if $secret }}
- secret:
    name: {{ $secret.existingSecret }}
    items:
      - key: {{ $secret.urlKey }}
        path: postgres-url
{{- else -}}
{{- include "shop.mongodb.files" . -}}
{{- end -}}
{{- end -}}

{{/* The ports of the store of a service: (list $ "management"). */}}
{{- define "shop.store.ports" -}}
{{- if include "shop.postgres.secret" . | fromJson -}}
{{- (index . 0).Values.postgres.port -}}
{{- else -}}
{{- include "shop.mongodb.ports" . -}}
{{- end -}}
{{- end -}}

{{/* Whether a service uses MongoDB. */}}
{{- define "shop.mongodb.used" -}}
{{- range $service := without (splitList " " (include "shop.services" .)) "facing" -}}
{{- if not (include "shop.postgres.secret" (list $ $service) | fromJson) -}}{{ $service }}{{- end -}}
{{- end -}}
{{- end -}}

{{- define "shop.checks.postgres" -}}
{{- $faults := list -}}
{{- with .Values.mongodb -}}
{{- if and (not (include "shop.mongodb.used" $)) (or .uri .hosts .existingSecret .internal.enabled) -}}
{{- $faults = append $faults "postgres.existingSecret with mongodb: each service has PostgreSQL; unset one of them" -}}
{{- end -}}
{{- end -}}
{{- range $role := list "users" "orders" -}}
{{- with get $.Values $role -}}
{{- if and .postgres.existingSecret (not .enabled) -}}
{{- $faults = append $faults (printf "%s.postgres.existingSecret, but management stores %s in its own store: unset it, or set %s.enabled" $role $role $role) -}}
{{- else if and .postgres.existingSecret (or .mongodb.uri .mongodb.username .mongodb.existingSecret) -}}
{{- $faults = append $faults (printf "%s.postgres with %s.mongodb: unset one of them" $role $role) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $faults | toJson -}}
{{- end -}}
