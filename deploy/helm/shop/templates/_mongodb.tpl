{{/* Addresses and credentials of MongoDB, which stores purchases. */}}

{{/* Whether MongoDB stores the purchases: unless only PostgreSQL is configured. */}}
{{- define "shop.mongodb.used" -}}
{{- if and (has "purchases" .Values.settings.roles) (or (include "shop.mongodb.configured" .) (not .Values.postgres.existingSecret)) }}yes{{ end -}}
{{- end -}}

{{- define "shop.mongodb.configured" -}}
{{- with .Values.mongodb -}}
{{- if or .uri .hosts .existingSecret .internal.enabled }}yes{{ end -}}
{{- end -}}
{{- end -}}

{{/* Whether a service connects to MongoDB: (list $ "management"). */}}
{{- define "shop.mongodb.usedBy" -}}
{{- if and (eq (index . 1) "management") (include "shop.mongodb.used" (index . 0)) }}yes{{ end -}}
{{- end -}}

{{- define "shop.mongodb.hosts" -}}
{{- if .Values.mongodb.internal.enabled -}}
{{- printf "%s:27017" (include "shop.mongodb.name" .) -}}
{{- else -}}
{{- tpl .Values.mongodb.hosts . -}}
{{- end -}}
{{- end -}}

{{- define "shop.mongodb.username" -}}
{{- default (ternary "shop" "" .Values.mongodb.internal.enabled) .Values.mongodb.username -}}
{{- end -}}

{{- define "shop.mongodb.secret" -}}
{{- default (printf "%s-mongodb-login" (include "shop.fullname" .)) .Values.mongodb.existingSecret -}}
{{- end -}}

{{/* The MongoDB settings of management. */}}
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

{{/* The secret files with the login and the CA certificates. */}}
{{- define "shop.mongodb.files" -}}
{{- if not (include "shop.mongodb.hosts" .) }}
{{- include "shop.secretFiles" (list (include "shop.mongodb.secret" .) (dict "mongodb-uri" .Values.mongodb.uriKey)) }}
{{- else if include "shop.mongodb.username" . }}
{{- include "shop.secretFiles" (list (include "shop.mongodb.secret" .) (dict "mongodb-password" .Values.mongodb.passwordKey)) }}
{{- end }}
{{- with .Values.mongodb }}
{{- if .caSecret }}
{{- include "shop.secretFiles" (list .caSecret (dict "mongodb-ca.crt" .caKey)) }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The ports in the addresses of MongoDB, 27017 by default. */}}
{{- define "shop.mongodb.ports" -}}
{{- $ports := list -}}
{{- $hosts := include "shop.mongodb.hostsGiven" . -}}
{{- range regexFindAll ":[0-9]+" $hosts -1 -}}
{{- $ports = append $ports (trimPrefix ":" .) -}}
{{- end -}}
{{- default (list "27017") $ports | uniq | join " " -}}
{{- end -}}

{{/* The servers in the values; empty if a Secret has them. */}}
{{- define "shop.mongodb.hostsGiven" -}}
{{- include "shop.mongodb.hosts" . | default (include "shop.mongodb.hostsOf" (tpl .Values.mongodb.uri .)) -}}
{{- end -}}

{{/* The servers in a connection string. */}}
{{- define "shop.mongodb.hostsOf" -}}
{{- . | trimPrefix "mongodb://" | trimPrefix "mongodb+srv://" | splitList "/" | first | splitList "@" | last -}}
{{- end -}}
