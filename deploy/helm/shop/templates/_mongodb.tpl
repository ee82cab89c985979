{{/* Where MongoDB is, and how to log in there. */}}

{{- define "shop.mongodb.hosts" -}}
{{- if .Values.mongodb.internal.enabled -}}
{{- printf "%s:27017" (include "shop.mongodb.name" .) -}}
{{- else -}}
{{- tpl .Values.mongodb.hosts . -}}
{{- end -}}
{{- end -}}

{{- define "shop.mongodb.username" -}}
{{- if .Values.mongodb.internal.enabled -}}
{{- default "shop" .Values.mongodb.username -}}
{{- else -}}
{{- .Values.mongodb.username -}}
{{- end -}}
{{- end -}}

{{- define "shop.mongodb.secret" -}}
{{- default (printf "%s-mongodb-login" (include "shop.fullname" .)) .Values.mongodb.existingSecret -}}
{{- end -}}

{{/* The database of users, or of orders: (list $ "users"). The same whoever keeps them, management or a deployment of
their own. */}}
{{- define "shop.mongodb.database" -}}
{{- $root := index . 0 -}}
{{- default (printf "%s_%s" $root.Values.mongodb.database (index . 1)) (get $root.Values (index . 1)).database -}}
{{- end -}}

{{/* All databases that are used, as a JSON array. */}}
{{- define "shop.mongodb.databases" -}}
{{- $databases := list -}}
{{- if has "purchases" .Values.settings.roles -}}
{{- $databases = append $databases .Values.mongodb.database -}}
{{- end -}}
{{- range without .Values.settings.roles "purchases" -}}
{{- $databases = append $databases (include "shop.mongodb.database" (list $ .)) -}}
{{- end -}}
{{- toJson $databases -}}
{{- end -}}

{{/* What a service is told of it: (list $ "management"). */}}
{{- define "shop.mongodb.variables" -}}
{{- $root := index . 0 -}}
{{- $service := index . 1 -}}
{{- if include "shop.has" (list $root $service "purchases") -}}
MONGODB_DATABASE: {{ $root.Values.mongodb.database | quote }}
MONGODB_COLLECTION: {{ $root.Values.mongodb.collection | quote }}
{{- end }}
{{- range list "users" "orders" }}
{{- if include "shop.has" (list $root $service .) }}
SHOP_{{ upper . }}_DATABASE: {{ include "shop.mongodb.database" (list $root .) | quote }}
{{- end }}
{{- end }}
{{- with include "shop.mongodb.hosts" $root }}
MONGODB_HOSTS: {{ . | quote }}
{{- with include "shop.mongodb.username" $root }}
MONGODB_USERNAME: {{ . | quote }}
MONGODB_AUTHDB: {{ $root.Values.mongodb.authDatabase | quote }}
MONGODB_PASSWORD_FILE: /etc/shop/secrets/mongodb-password
{{- end }}
{{- else }}
MONGODB_URI_FILE: /etc/shop/secrets/mongodb-uri
{{- end }}
{{- end -}}

{{- define "shop.mongodb.files" -}}
{{- if not (include "shop.mongodb.hosts" .) }}
- secret:
    name: {{ include "shop.mongodb.secret" . }}
    items:
      - key: {{ .Values.mongodb.uriKey }}
        path: mongodb-uri
{{- else if include "shop.mongodb.username" . }}
- secret:
    name: {{ include "shop.mongodb.secret" . }}
    items:
      - key: {{ .Values.mongodb.passwordKey }}
        path: mongodb-password
{{- end }}
{{- end -}}

{{/* The ports of what is known of its address; 27017 where it does not tell. */}}
{{- define "shop.mongodb.ports" -}}
{{- $ports := list -}}
{{- $hosts := include "shop.mongodb.hosts" . -}}
{{- if not $hosts -}}
{{- $hosts = tpl .Values.mongodb.uri . | trimPrefix "mongodb://" | trimPrefix "mongodb+srv://" | splitList "/" | first | splitList "@" | last -}}
{{- end -}}
{{- range regexFindAll ":[0-9]+" $hosts -1 -}}
{{- $ports = append $ports (trimPrefix ":" .) -}}
{{- end -}}
{{- default (list "27017") $ports | uniq | join " " -}}
{{- end -}}
