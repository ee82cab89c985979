{{/* Parts of the internal Kafka and MongoDB, one server each. */}}

{{/* The headless Service of a server, whose port has its name: (list $ "kafka" NAME 9092). */}}
{{- define "shop.internal.service" -}}
{{- $component := index . 1 -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ index . 2 }}
  labels:
    {{- include "shop.labels" . | nindent 4 }}
spec:
  clusterIP: None
  selector:
    {{- include "shop.selector" . | nindent 4 }}
  ports:
    - name: {{ $component }}
      port: {{ index . 3 }}
      targetPort: {{ $component }}
{{- end -}}

{{/* The probes of a server, which opens its port when it is ready: the name of the port. */}}
{{- define "shop.internal.probes" -}}
startupProbe:
  tcpSocket: {port: {{ . }}}
  periodSeconds: 3
  failureThreshold: 60
livenessProbe:
  tcpSocket: {port: {{ . }}}
  periodSeconds: 20
  timeoutSeconds: 5
readinessProbe:
  tcpSocket: {port: {{ . }}}
  periodSeconds: 5
  timeoutSeconds: 5
{{- end -}}

{{/* The spec of a claim of a volume: a value with `size` and `storageClass`. */}}
{{- define "shop.claim" -}}
accessModes: [ReadWriteOnce]
{{- with .storageClass }}
storageClassName: {{ . }}
{{- end }}
resources:
  requests:
    storage: {{ .size }}
{{- end -}}
