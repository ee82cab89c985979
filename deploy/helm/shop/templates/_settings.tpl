{{/* The values below `settings`. Roles, adminPort and drainSeconds also shape other objects. Each of the others is a setting
of the services: files/settings.json, which is generated from their source, has its name, its programs and the kind of its
value. */}}

{{/* The settings of files/settings.json as JSON, by their names here: SHOP_LOG_LEVEL is logLevel. */}}
{{- define "shop.settings.known" -}}
{{- $known := dict -}}
{{- range include "shop.file" (list . "files/settings.json" "settings") | fromJsonArray -}}
{{- $_ := set $known (trimPrefix "SHOP_" .name | lower | camelcase | untitle) . -}}
{{- end -}}
{{- $known | toJson -}}
{{- end -}}

{{/* The values of settings that are set, as JSON: by the name here, as the text of the variable. */}}
{{- define "shop.settings.given" -}}
{{- $given := dict -}}
{{- range $name, $value := omit .Values.settings "roles" "adminPort" "drainSeconds" -}}
{{- $text := toString $value -}}
{{- if kindIs "float64" $value -}}
{{- $text = $value | int64 | toString -}}
{{- else if and (kindIs "bool" $value) (not (hasPrefix "otel" $name)) -}}
{{- /* YAML reads on and off as true and false. The variables OTEL_* are true or false. */ -}}
{{- $text = ternary "on" "off" $value -}}
{{- end -}}
{{- if not (or (kindIs "invalid" $value) (eq $text "")) -}}
{{- $_ := set $given $name $text -}}
{{- end -}}
{{- end -}}
{{- $given | toJson -}}
{{- end -}}

{{/* The variables of a service that come from `settings`: (list $ "facing"). */}}
{{- define "shop.settings.variables" -}}
{{- $root := index . 0 -}}
{{- $service := index . 1 -}}
{{- $known := include "shop.settings.known" $root | fromJson -}}
{{- range $name, $text := include "shop.settings.given" $root | fromJson }}
{{- with get $known $name }}
{{- if include "shop.settings.applies" (list $root $service .) }}
{{ .name }}: {{ $text | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Whether a service reads a setting: (list $ "facing" SETTING); empty if not. A service refuses settings of roles that it
does not have, and clients are limited where they connect, not where facing calls the other services. */}}
{{- define "shop.settings.applies" -}}
{{- $root := index . 0 -}}
{{- $service := index . 1 -}}
{{- $setting := index . 2 -}}
{{- $ofClients := list "SHOP_RATE_WRITES" "SHOP_RATE_READS" "SHOP_CLIENT_CONNECTIONS" "SHOP_TRUSTED_PROXIES" -}}
{{- $ofPurchases := list "SHOP_PURCHASE_RETENTION" "SHOP_CURRENCY" "SHOP_REFUNDS" -}}
{{- $program := ternary "facing" "management" (eq $service "facing") -}}
{{- $applies := has $program $setting.programs -}}
{{- if has $setting.name $ofClients -}}
{{- $applies = eq $service "facing" -}}
{{- else if has $setting.name $ofPurchases -}}
{{- $applies = include "shop.has" (list $root $service "purchases") -}}
{{- else if eq $setting.name "SHOP_ORDER_USER_WAIT" -}}
{{- $stores := or (ne $service "facing") (eq $root.Values.mode "embedded") -}}
{{- $applies = and $stores (include "shop.has" (list $root $service "orders")) -}}
{{- end -}}
{{- if $applies }}yes{{ end -}}
{{- end -}}

{{/* Rejects values below `settings` that the services would not accept, or that contradict other values of the chart. */}}
{{- define "shop.checks.settings" }}
{{- $known := include "shop.settings.known" . | fromJson }}
{{- $own := dict }}
{{- range $service := splitList " " (include "shop.services" .) }}
{{- $own = merge $own (include "shop.variables.own" (list $ $service) | fromYaml) }}
{{- end }}
{{- range $name, $text := include "shop.settings.given" . | fromJson }}
{{- $setting := get $known $name }}
{{- if not $setting }}
- settings.{{ $name }}: there is no such setting; docs/settings.md lists them, here without SHOP_ and in camel case
{{- else if $setting.secret }}
- settings.{{ $name }} is a secret: put it into a Secret, and name that in extraEnv of the service
{{- else }}
{{- range $variable := prepend $setting.other_names $setting.name }}
{{- if hasKey $own $variable }}
- settings.{{ $name }}: other values of the chart set {{ $variable }}
{{- end }}
{{- end }}
{{- with include "shop.settings.expected" (list $setting $text) }}
- settings.{{ $name }} is {{ $text }}: it must be {{ . }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Describes the kind of a setting, if a value is not of this kind; else empty: (list SETTING "value"). */}}
{{- define "shop.settings.expected" -}}
{{- $setting := index . 0 -}}
{{- $text := index . 1 -}}
{{- if and (eq $setting.value "enum") (not (has $text $setting.values)) -}}
one of {{ join ", " $setting.values }}
{{- else if and (eq $setting.value "switch") (not (has $text (list "on" "off" "true" "false"))) -}}
on or off
{{- else if and (eq $setting.value "number") (not (regexMatch "^[0-9]+$" $text)) -}}
a whole number
{{- else if and (eq $setting.value "duration") (not (regexMatch "^[0-9]+(ms|s|m|h|d)$" $text)) -}}
a duration, such as 500ms or 14d
{{- else if and (eq $setting.value "size") (not (regexMatch "^[0-9]+(B|KiB|MiB|GiB)$" $text)) -}}
a size, such as 10GiB
{{- end -}}
{{- end -}}
