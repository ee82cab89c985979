{{/* Who may send requests to a service. */}}
{{- define "shop.auth.variables" -}}
{{- $service := index . 1 -}}
{{- with (index . 0).Values.auth -}}
SHOP_AUTH: {{ .mode | quote }}
{{- if eq .mode "jwt" }}
SHOP_AUTH_ISSUER: {{ .issuer | quote }}
SHOP_AUTH_AUDIENCE: {{ .audience | quote }}
SHOP_AUTH_JWKS_URL: {{ .jwksUrl | quote }}
{{- end }}
{{- if .keysSecret }}
SHOP_API_KEYS_FILE: /etc/shop/secrets/api-keys
{{- end }}
{{- if and .serviceTokenSecret (eq $service "facing") }}
SHOP_SERVICE_TOKEN_FILE: /etc/shop/secrets/service-token
{{- end }}
{{- end }}
{{- end -}}

{{/* The secret files of a service for authentication. */}}
{{- define "shop.auth.files" -}}
{{- $service := index . 1 -}}
{{- with (index . 0).Values.auth -}}
{{- if .keysSecret }}
{{- include "shop.secretFiles" (list .keysSecret (dict "api-keys" "keys")) }}
{{- end }}
{{- if and .serviceTokenSecret (eq $service "facing") }}
{{- include "shop.secretFiles" (list .serviceTokenSecret (dict "service-token" "token")) }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The port of the keys of the issuer; empty without one. */}}
{{- define "shop.auth.port" -}}
{{- with .Values.auth.jwksUrl -}}
{{- include "shop.port" . -}}
{{- end -}}
{{- end -}}

{{/* The port in a URL. */}}
{{- define "shop.port" -}}
{{- $url := urlParse . -}}
{{- default (ternary "443" "80" (eq $url.scheme "https")) (regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host)) -}}
{{- end -}}

{{- define "shop.checks.auth" }}
{{- with .Values.auth }}
{{- $jwt := or .issuer .audience .jwksUrl }}
{{- if not .mode }}
- auth.mode is not set: set it to jwt or keys to authenticate requests, or to off if everybody who reaches the services may read and write everything
{{- else if and (eq .mode "off") (or $jwt .keysSecret .serviceTokenSecret) }}
- auth.mode off with other values of auth: unset them, or set auth.mode to jwt or keys
{{- end }}
{{- if and (eq .mode "jwt") (not (and .issuer .audience .jwksUrl)) }}
- auth.mode jwt without auth.issuer, auth.audience or auth.jwksUrl: set all three
{{- end }}
{{- if and (eq .mode "keys") $jwt }}
- auth.mode keys with auth.issuer, auth.audience or auth.jwksUrl: unset them, or set auth.mode to jwt
{{- end }}
{{- if and (eq .mode "keys") (not .keysSecret) }}
- auth.mode keys without auth.keysSecret: set it to a Secret with API keys
{{- end }}
{{- if and (has .mode (list "jwt" "keys")) (eq $.Values.mode "cluster") (has "purchases" $.Values.settings.roles) (not .serviceTokenSecret) }}
- auth.serviceTokenSecret is not set: facing calls management with its token
{{- end }}
{{- end }}
{{- end }}
