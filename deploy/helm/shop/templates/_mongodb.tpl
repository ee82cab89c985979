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

{{- define "shop.mongodb.variables" -}}
MONGODB_DATABASE: {{ .Values.mongodb.database | quote }}
MONGODB_COLLECTION: {{ .Values.mongodb.collection | quote }}
{{- with include "shop.mongodb.hosts" . }}
MONGODB_HOSTS: {{ . | quote }}
{{- with include "shop.mongodb.username" $ }}
MONGODB_USERNAME: {{ . | quote }}
MONGODB_AUTHDB: {{ $.Values.mongodb.authDatabase | quote }}
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
