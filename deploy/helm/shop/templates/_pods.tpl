{{/* Settings that all pods share. */}}

{{/* The restricted Pod Security Standard, for the user and the group of an image: (list $ 10001). */}}
{{- define "shop.podSecurity" -}}
{{- include "shop.merged" (list (include "shop.podSecurity.default" (index . 1)) (index . 0).Values.podSecurityContext) -}}
{{- end -}}

{{- define "shop.podSecurity.default" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "shop.containerSecurity" -}}
{{- include "shop.merged" (list (include "shop.containerSecurity.default" .) .Values.containerSecurityContext) -}}
{{- end -}}

{{- define "shop.containerSecurity.default" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* No pod uses the Kubernetes API. Service links are disabled: they are variables such as KAFKA_PORT and MONGO_PORT, which
the services and Kafka's image read as settings. */}}
{{- define "shop.podBasics" -}}
serviceAccountName: {{ include "shop.serviceAccount" . }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Scheduling constraints of a pod: (dict "own" .Values.facing "selector" (include …)). */}}
{{- define "shop.placement" -}}
topologySpreadConstraints:
{{- if .own.topologySpreadConstraints }}
  {{- toYaml .own.topologySpreadConstraints | nindent 2 }}
{{- else }}
  {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- $.selector | nindent 8 }}
  {{- end }}
{{- end }}
{{- with .own.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .own.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .own.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The volume with secret files, which fsGroup can read: its sources, as YAML. */}}
{{- define "shop.secretsVolume" -}}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      {{- . | nindent 6 }}
{{- end -}}

{{/* Files of a Secret, as a source of a projected volume: (list "name" (dict "path of the file" "key")). */}}
{{- define "shop.secretFiles" }}
- secret:
    name: {{ index . 0 }}
    items:
      {{- range $path, $key := index . 1 }}
      - key: {{ $key }}
        path: {{ $path }}
      {{- end }}
{{- end -}}
