{{/* Rejects an upgrade to another mode or store, where the purchases of the release are not. */}}
{{- define "shop.checks.store" }}
{{- with ternary "" (include "shop.store.changes" .) .Values.allowStoreChange }}
{{- . }}
- if you move the purchases, set allowStoreChange=true
{{- end }}
{{- end -}}

{{/* The differences between the store of the release and that of the values, a line for each. */}}
{{- define "shop.store.changes" }}
{{- range $service := list "facing" "management" }}
{{- $had := (lookup "v1" "ConfigMap" $.Release.Namespace (printf "%s-config" (include "shop.name" (list $ $service)))).data | default dict }}
{{- $before := ternary "embedded" "cluster" (hasKey $had "SHOP_DATA_DIR") }}
{{- if and $had (ne $before $.Values.mode) }}
- mode is {{ $.Values.mode }}, but this release has its purchases in the mode {{ $before }}; set mode={{ $before }}
{{- else if and $had (eq $service "management") (contains "purchases" (get $had "SHOP_ROLES")) (include "shop.has" (list $ $service "purchases")) }}
{{- $has := include "shop.store.variables" (list $ $service) | fromYaml }}
{{- range $variable, $what := dict "MONGODB_DATABASE" "mongodb.database" "MONGODB_COLLECTION" "mongodb.collection" }}
{{- $was := get $had $variable | default "PostgreSQL" }}
{{- $is := get $has $variable | default "PostgreSQL" }}
{{- if ne $was $is }}
- {{ $what }}: this release has its purchases in {{ $was }}, not in {{ $is }}
{{- end }}
{{- end }}
{{- $was := without (splitList "," (include "shop.store.hostsBefore" (list $ $had))) "" }}
{{- $is := without (splitList "," (include "shop.mongodb.hostsGiven" $)) "" }}
{{- $left := $was }}
{{- range $is -}}{{- $left = without $left . -}}{{- end }}
{{- if and $was $is (eq (len $left) (len $was)) }}
- mongodb: this release has its purchases at {{ join "," $was }}, not at {{ join "," $is }}
{{- end }}
{{- end }}
{{- end }}
{{- range $service := splitList " " (include "shop.services" .) }}
{{- $had := lookup "v1" "ConfigMap" $.Release.Namespace (printf "%s-config" (include "shop.name" (list $ $service))) }}
{{- $was := dig "metadata" "annotations" "checksum/postgres" "" $had }}
{{- $is := include "shop.postgres.checksum" (list $ $service) }}
{{- if and $was $is (ne $was $is) }}
- postgres: {{ $service }} has its data in another database than the one in the Secret {{ (include "shop.postgres.secret" (list $ $service) | fromJson).existingSecret }}
{{- end }}
{{- end }}
{{- if eq .Values.mode "embedded" }}
{{- $was := include "shop.store.claimBefore" . }}
{{- $is := (include "shop.data.volume" . | fromYamlArray | first).persistentVolumeClaim.claimName }}
{{- if and $was (ne $was $is) }}
- persistence.existingClaim: this release has its purchases on {{ $was }}, not on {{ $is }}
{{- end }}
{{- end }}
{{- end }}

{{/* The servers of MongoDB of a release, by its ConfigMap and the Secret of the chart, separated by commas. */}}
{{- define "shop.store.hostsBefore" -}}
{{- $root := index . 0 -}}
{{- $had := index . 1 -}}
{{- if hasKey $had "MONGODB_HOSTS" -}}
{{- get $had "MONGODB_HOSTS" -}}
{{- else if and (hasKey $had "MONGODB_URI_FILE") (not $root.Values.mongodb.existingSecret) -}}
{{- $secret := (lookup "v1" "Secret" $root.Release.Namespace (include "shop.mongodb.secret" $root)).data | default dict -}}
{{- include "shop.mongodb.hostsOf" (get $secret $root.Values.mongodb.uriKey | b64dec) -}}
{{- end -}}
{{- end -}}

{{/* The claim of the volume of a release. */}}
{{- define "shop.store.claimBefore" -}}
{{- $deployment := lookup "apps/v1" "Deployment" .Release.Namespace (include "shop.name" (list . "facing")) -}}
{{- range dig "spec" "template" "spec" "volumes" list $deployment -}}
{{- if eq .name "data" }}{{ dig "persistentVolumeClaim" "claimName" "" . }}{{ end -}}
{{- end -}}
{{- end -}}
