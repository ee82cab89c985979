{{/* Addresses and credentials of MongoDB. */}}

{{- define "shop.mongodb.hosts" -}}
{{- if .Values.mongodb.internal.enabled -}}
{{- printf "%s:27017" (include "shop.mongodb.name" .) -}}
{{- else -}}
{{- tpl .Values.mongodb.hosts . -}}
{{- end -}}
{{- end -}}

{{/* The role if its deployment has its own credentials, otherwise "" for the shared login: (list $ "users"). */}}
{{- define "shop.mongodb.loginOf" -}}
{{- if has (index . 1) (list "users" "orders") -}}
{{- with (get (index . 0).Values (index . 1)) -}}
{{- if and .enabled (or .mongodb.uri .mongodb.username .mongodb.password .mongodb.existingSecret) }}{{ index $ 1 }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The values of a login, as JSON: (list $ "users"), with "" for the shared login. */}}
{{- define "shop.mongodb.login" -}}
{{- $values := (index . 0).Values -}}
{{- $own := $values.mongodb -}}
{{- with index . 1 }}{{ $own = (get $values .).mongodb }}{{ end -}}
{{- pick $own "uri" "username" "password" "existingSecret" "uriKey" "passwordKey" | toJson -}}
{{- end -}}

{{/* All logins, as a JSON array that begins with "", the shared login. */}}
{{- define "shop.mongodb.logins" -}}
{{- $logins := list "" -}}
{{- range list "users" "orders" -}}
{{- $logins = append $logins (include "shop.mongodb.loginOf" (list $ .)) -}}
{{- end -}}
{{- uniq $logins | toJson -}}
{{- end -}}

{{- define "shop.mongodb.username" -}}
{{- $own := include "shop.mongodb.login" . | fromJson -}}
{{- if and (index . 0).Values.mongodb.internal.enabled (not (index . 1)) -}}
{{- default "shop" $own.username -}}
{{- else -}}
{{- $own.username -}}
{{- end -}}
{{- end -}}

{{- define "shop.mongodb.secret" -}}
{{- $own := include "shop.mongodb.login" . | fromJson -}}
{{- default (printf "%s-%s" (include "shop.fullname" (index . 0)) (trimPrefix "-" (printf "%s-mongodb-login" (index . 1)))) $own.existingSecret -}}
{{- end -}}

{{/* The database of users or orders: (list $ "users"). The same for management and for a separate deployment. */}}
{{- define "shop.mongodb.database" -}}
{{- $root := index . 0 -}}
{{- default (printf "%s_%s" $root.Values.mongodb.database (index . 1)) (get $root.Values (index . 1)).database -}}
{{- end -}}

{{/* The databases of a login, as a JSON array: (list $ "users"), with "" for the shared login. */}}
{{- define "shop.mongodb.databases" -}}
{{- $root := index . 0 -}}
{{- $login := index . 1 -}}
{{- $databases := list -}}
{{- range $root.Values.settings.roles -}}
{{- if eq $login (include "shop.mongodb.loginOf" (list $root .)) -}}
{{- if eq . "purchases" -}}
{{- $databases = append $databases $root.Values.mongodb.database -}}
{{- else -}}
{{- $databases = append $databases (include "shop.mongodb.database" (list $root .)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $databases -}}
{{- end -}}

{{/* The MongoDB settings of a service: (list $ "management"). */}}
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
{{- with include "shop.mongodb.username" (list $root (include "shop.mongodb.loginOf" $)) }}
MONGODB_USERNAME: {{ . | quote }}
MONGODB_AUTHDB: {{ $root.Values.mongodb.authDatabase | quote }}
MONGODB_PASSWORD_FILE: /etc/shop/secrets/mongodb-password
{{- end }}
{{- else }}
MONGODB_URI_FILE: /etc/shop/secrets/mongodb-uri
{{- end }}
{{- end -}}

{{/* The secret file with the login of a service: (list $ "management"). */}}
{{- define "shop.mongodb.files" -}}
{{- $login := list (index . 0) (include "shop.mongodb.loginOf" .) -}}
{{- $own := include "shop.mongodb.login" $login | fromJson -}}
{{- if not (include "shop.mongodb.hosts" (index . 0)) }}
- secret:
    name: {{ include "shop.mongodb.secret" $login }}
    items:
      - key: {{ $own.uriKey }}
        path: mongodb-uri
{{- else if include "shop.mongodb.username" $login }}
- secret:
    name: {{ include "shop.mongodb.secret" $login }}
    items:
      - key: {{ $own.passwordKey }}
        path: mongodb-password
{{- end }}
{{- with (index . 0).Values.mongodb }}
{{- if .caSecret }}
- secret:
    name: {{ .caSecret }}
    items:
      - key: {{ .caKey }}
        path: mongodb-ca.crt
{{- end }}
{{- end }}
{{- end -}}

{{/* The ports in the addresses of MongoDB, 27017 by default: (list $ "management"). */}}
{{- define "shop.mongodb.ports" -}}
{{- $ports := list -}}
{{- $hosts := include "shop.mongodb.hosts" (index . 0) -}}
{{- if not $hosts -}}
{{- $own := include "shop.mongodb.login" (list (index . 0) (include "shop.mongodb.loginOf" .)) | fromJson -}}
{{- $hosts = tpl $own.uri (index . 0) | trimPrefix "mongodb://" | trimPrefix "mongodb+srv://" | splitList "/" | first | splitList "@" | last -}}
{{- end -}}
{{- range regexFindAll ":[0-9]+" $hosts -1 -}}
{{- $ports = append $ports (trimPrefix ":" .) -}}
{{- end -}}
{{- default (list "27017") $ports | uniq | join " " -}}
{{- end -}}
