{{/* Certificates of the services, and of facing as their client. */}}

{{/* Whether clients of a service need a certificate: (list $ "management"); empty if not. Facing is for everybody. */}}
{{- define "shop.tls.ofClients" -}}
{{- if and (index . 0).Values.tls.clientCaSecret (ne (index . 1) "facing") }}yes{{ end -}}
{{- end -}}

{{- define "shop.tls.scheme" -}}
{{- ternary "https" "http" (not (empty .Values.tls.secret)) -}}
{{- end -}}

{{/* Whether a service calls others: (list $ "facing"); empty if not. */}}
{{- define "shop.tls.calls" -}}
{{- if and (eq (index . 1) "facing") (eq (index . 0).Values.mode "cluster") }}yes{{ end -}}
{{- end -}}

{{- define "shop.tls.variables" -}}
{{- $calls := include "shop.tls.calls" . -}}
{{- $ofClients := include "shop.tls.ofClients" . -}}
{{- with (index . 0).Values.tls -}}
{{- if .secret }}
SHOP_TLS_CERT_FILE: /etc/shop/secrets/tls/tls.crt
SHOP_TLS_KEY_FILE: /etc/shop/secrets/tls/tls.key
{{- if $ofClients }}
SHOP_TLS_CLIENT_CA_FILE: /etc/shop/secrets/tls/client-ca.crt
{{- end }}
{{- end }}
{{- if and $calls .caSecret }}
SHOP_SERVICE_CA_FILE: /etc/shop/secrets/tls/service-ca.crt
{{- end }}
{{- if and $calls .clientSecret }}
SHOP_SERVICE_CERT_FILE: /etc/shop/secrets/tls/client.crt
SHOP_SERVICE_KEY_FILE: /etc/shop/secrets/tls/client.key
{{- end }}
{{- end }}
{{- end -}}

{{/* The secret files of a service. */}}
{{- define "shop.tls.files" -}}
{{- $calls := include "shop.tls.calls" . -}}
{{- $ofClients := include "shop.tls.ofClients" . -}}
{{- with (index . 0).Values.tls -}}
{{- if .secret }}
{{- include "shop.secretFiles" (list .secret (dict "tls/tls.crt" "tls.crt" "tls/tls.key" "tls.key")) }}
{{- if $ofClients }}
{{- include "shop.secretFiles" (list .clientCaSecret (dict "tls/client-ca.crt" "ca.crt")) }}
{{- end }}
{{- end }}
{{- if and $calls .caSecret }}
{{- include "shop.secretFiles" (list .caSecret (dict "tls/service-ca.crt" "ca.crt")) }}
{{- end }}
{{- if and $calls .clientSecret }}
{{- include "shop.secretFiles" (list .clientSecret (dict "tls/client.crt" "tls.crt" "tls/client.key" "tls.key")) }}
{{- end }}
{{- end }}
{{- end -}}

{{/* A probe of a service: (list $ "management" "/readyz"). The kubelet has no certificate, so a service that requires one
checks its readiness by itself. */}}
{{- define "shop.tls.probe" -}}
{{- $root := index . 0 -}}
{{- if $root.Values.settings.adminPort -}}
httpGet: {path: {{ index . 2 }}, port: admin}
{{- else if not (include "shop.tls.ofClients" .) -}}
httpGet: {path: {{ index . 2 }}, port: http{{ if $root.Values.tls.secret }}, scheme: HTTPS{{ end }}}
{{- else if eq (index . 2) "/readyz" -}}
exec: {command: [/usr/local/bin/management, --healthcheck]}
{{- else -}}
tcpSocket: {port: http}
{{- end -}}
{{- end -}}

{{- define "shop.checks.tls" }}
{{- with .Values.tls }}
{{- if and .clientCaSecret (not .secret) }}
- tls.clientCaSecret without tls.secret: clients can have a certificate over https only
{{- end }}
{{- if and (or .caSecret .clientSecret) (not .secret) }}
- tls.caSecret or tls.clientSecret without tls.secret: the services serve plain HTTP
{{- end }}
{{- if and .clientCaSecret (eq $.Values.mode "cluster") (has "purchases" $.Values.settings.roles) (not .clientSecret) }}
- tls.clientCaSecret without tls.clientSecret: facing calls the other services with its certificate
{{- end }}
{{- end }}
{{- end }}
