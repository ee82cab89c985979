{{/* Names and labels. */}}

{{- define "shop.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The name of facing or management: (list $ "facing"). */}}
{{- define "shop.name" -}}
{{- $root := index . 0 -}}
{{- $own := get $root.Values (index . 1) -}}
{{- $whole := printf "%s-%s" (include "shop.fullname" $root) $own.suffix -}}
{{- default $whole $own.fullnameOverride | trunc 63 | trimSuffix "-" -}}
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

{{/* What a Service, a policy and a Deployment find pods by: (list $ "facing"). */}}
{{- define "shop.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ default $root.Chart.Name $root.Values.nameOverride }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* Of pods: without the chart's version, which would replace them all. */}}
{{- define "shop.podLabels" -}}
{{ include "shop.selector" . }}
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | quote }}
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

{{/* The services that this mode runs. */}}
{{- define "shop.services" -}}
{{- if eq .Values.mode "embedded" }}facing{{ else }}facing management{{ end -}}
{{- end -}}
