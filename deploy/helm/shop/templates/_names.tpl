{{/* Names and labels. */}}

{{- define "shop.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $default := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{- include "shop.cut" (list (default $default .Values.fullnameOverride) 40) -}}
{{- end -}}

{{/* Shortens a name to a maximum length. A hash keeps shortened names distinct: (list "name" 40). */}}
{{- define "shop.cut" -}}
{{- $name := index . 0 -}}
{{- $max := index . 1 -}}
{{- if gt (len $name) $max -}}
{{- printf "%s-%s" (trunc (int (sub $max 9)) $name | trimSuffix "-") (sha256sum $name | trunc 8) -}}
{{- else -}}
{{- trimSuffix "-" $name -}}
{{- end -}}
{{- end -}}

{{/* The name of a service: (list $ "facing"). */}}
{{- define "shop.name" -}}
{{- $root := index . 0 -}}
{{- $own := get $root.Values (index . 1) -}}
{{- $whole := printf "%s-%s" (include "shop.fullname" $root) $own.suffix -}}
{{- include "shop.cut" (list (default $whole $own.fullnameOverride) 63) -}}
{{- end -}}

{{- define "shop.kafka.name" -}}
{{- default (printf "%s-kafka" (include "shop.fullname" .)) .Values.kafka.internal.fullnameOverride -}}
{{- end -}}

{{- define "shop.mongodb.name" -}}
{{- default (printf "%s-mongodb" (include "shop.fullname" .)) .Values.mongodb.internal.fullnameOverride -}}
{{- end -}}

{{- define "shop.exporter.name" -}}
{{- default (printf "%s-kafka-exporter" (include "shop.fullname" .)) .Values.kafkaExporter.fullnameOverride -}}
{{- end -}}

{{- define "shop.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "shop.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* The labels by which Services, policies and Deployments select pods: (list $ "facing"). */}}
{{- define "shop.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ default $root.Chart.Name $root.Values.nameOverride }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* Labels of pods, without the chart version, which would replace all pods when it changes. */}}
{{- define "shop.podLabels" -}}
{{ include "shop.selector" . }}
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | quote }}
{{- with (index . 0).Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "shop.labels" -}}
{{- $root := index . 0 -}}
{{ include "shop.podLabels" . }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "shop.image" -}}
{{- $tag := default .Chart.AppVersion .Values.image.tag -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository $tag -}}
{{- end -}}
{{- end -}}

{{/* The roles of a service, separated by commas: (list $ "management"). Facing has all roles of the release, management
those without a separate deployment. */}}
{{- define "shop.roles" -}}
{{- $root := index . 0 -}}
{{- $service := index . 1 -}}
{{- $roles := list -}}
{{- range list "purchases" "users" "orders" -}}
{{- $separate := and (ne . "purchases") (get $root.Values .).enabled -}}
{{- if and (has . $root.Values.settings.roles) (or (eq $service "facing") (eq $service .) (and (eq $service "management") (not $separate))) -}}
{{- $roles = append $roles . -}}
{{- end -}}
{{- end -}}
{{- join "," $roles -}}
{{- end -}}

{{/* Whether a service has a role: (list $ "management" "users"); empty if not. */}}
{{- define "shop.has" -}}
{{- if has (index . 2) (splitList "," (include "shop.roles" .)) }}yes{{ end -}}
{{- end -}}

{{/* The services of the release, separated by spaces. Facing requires the role purchases. */}}
{{- define "shop.services" -}}
{{- $services := list -}}
{{- if or (eq .Values.mode "embedded") (has "purchases" .Values.settings.roles) -}}
{{- $services = append $services "facing" -}}
{{- end -}}
{{- if eq .Values.mode "cluster" -}}
{{- if include "shop.roles" (list $ "management") -}}
{{- $services = append $services "management" -}}
{{- end -}}
{{- range list "users" "orders" -}}
{{- if (get $.Values .).enabled -}}
{{- $services = append $services . -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- join " " $services -}}
{{- end -}}

{{/* The URL of a service: (list $ "management"). */}}
{{- define "shop.address" -}}
{{- $own := get (index . 0).Values (index . 1) -}}
{{ include "shop.tls.scheme" (index . 0) }}://{{ include "shop.name" . }}:{{ $own.service.port }}
{{- end -}}
