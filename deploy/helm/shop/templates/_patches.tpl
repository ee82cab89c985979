{{/* Merging of objects, and the value `patches`. */}}

{{/* The templates with objects. */}}
{{- define "shop.objects" -}}
config cronjobs extra-objects facing hpa httproute ingress kafka kafka-exporter keda management mongodb monitoring networkpolicy pdb secrets serviceaccount services tests topic-job volume
{{- end -}}

{{/* Merges a patch into an object in place: (list OBJECT PATCH). Values document how. */}}
{{- define "shop.merge" -}}
{{- $into := index . 0 -}}
{{- range $name, $value := index . 1 -}}
{{- $own := trimSuffix "+" $name -}}
{{- $known := get $into $own -}}
{{- if kindIs "invalid" $value -}}
{{- $_ := unset $into $own -}}
{{- else if kindIs "map" $value -}}
{{- $_ := set $into $own (kindIs "map" $known | ternary $known dict) -}}
{{- include "shop.merge" (list (get $into $own) $value) -}}
{{- else if not (and (kindIs "slice" $value) (kindIs "slice" $known)) -}}
{{- $_ := set $into $own (deepCopy $value) -}}
{{- else if hasSuffix "+" $name -}}
{{- $_ := set $into $own (concat $known (deepCopy $value)) -}}
{{- else -}}
{{- include "shop.mergeItems" (list $into $own $value) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Merges the items of a list by a name that all items of the patch have, or else replaces the list:
(list OBJECT MEMBER ITEMS). */}}
{{- define "shop.mergeItems" -}}
{{- $known := get (index . 0) (index . 1) -}}
{{- $given := index . 2 -}}
{{- $key := "" -}}
{{- range $candidate := list "name" "alert" "mountPath" -}}
{{- $isKey := true -}}
{{- range $given -}}
{{- $isKey = and $isKey (kindIs "map" .) (hasKey . $candidate) -}}
{{- end -}}
{{- if $isKey -}}{{- $key = $candidate -}}{{- end -}}
{{- end -}}
{{- $result := list -}}
{{- $merged := list -}}
{{- range $item := ternary $known list (ne $key "") -}}
{{- $isKept := true -}}
{{- range $patch := $given -}}
{{- if eq (toString (get $item $key)) (toString (get $patch $key)) -}}
{{- $merged = append $merged (toString (get $patch $key)) -}}
{{- $isKept = ne (get $patch "$patch") "delete" -}}
{{- include "shop.merge" (list $item $patch) -}}
{{- end -}}
{{- end -}}
{{- if $isKept -}}{{- $result = append $result $item -}}{{- end -}}
{{- end -}}
{{- range $patch := $given -}}
{{- if not (and $key (has (toString (get $patch $key)) $merged)) -}}
{{- $result = append $result (deepCopy $patch) -}}
{{- end -}}
{{- end -}}
{{- $_ := set (index . 0) (index . 1) $result -}}
{{- end -}}

{{/* Members of an object, as YAML, merged with those of a value: (list "a: 1" .Values.more). */}}
{{- define "shop.merged" -}}
{{- if index . 1 -}}
{{- $members := fromYaml (index . 0) -}}
{{- include "shop.merge" (list $members (index . 1)) -}}
{{- toYaml $members -}}
{{- else -}}
{{- index . 0 -}}
{{- end -}}
{{- end -}}

{{/* The objects of a template, patched: (list $ "services"). */}}
{{- define "shop.patched" -}}
{{- $root := index . 0 -}}
{{- $text := include (printf "shop.objects.%s" (index . 1)) $root -}}
{{- if not $root.Values.patches -}}
{{- $text -}}
{{- else -}}
{{- range regexSplit "(?m)^---$" $text -1 -}}
{{- with fromYaml . -}}
{{- $object := . -}}
{{- range include "shop.patches.of" $object | splitList " " -}}
{{- include "shop.merge" (list $object (get $root.Values.patches . | default dict)) -}}
{{- end }}
---
{{ toYaml $object }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The names under which an object is patched. */}}
{{- define "shop.patches.of" -}}
* {{ .kind }} {{ .kind }}/{{ dig "metadata" "labels" "app.kubernetes.io/component" "" . }}
{{- end -}}

{{/* Rejects a patch of no object. */}}
{{- define "shop.checks.patches" }}
{{- if .Values.patches }}
{{- $known := list }}
{{- range splitList " " (include "shop.objects" .) }}
{{- range regexSplit "(?m)^---$" (include (printf "shop.objects.%s" .) $) -1 }}
{{- with fromYaml . }}
{{- $known = concat $known (include "shop.patches.of" . | splitList " ") }}
{{- end }}
{{- end }}
{{- end }}
{{- range $name, $_ := .Values.patches }}
{{- if not (has $name $known) }}
- patches.{{ $name }}: the release has no such object, only {{ without (uniq $known) "*" | sortAlpha | join ", " }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
